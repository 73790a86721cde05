"""`AgentHistory`: what has happened to the agents of a scope, and telling them that something has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from agent_runtime.errors import InboxFull, UnknownAgent
from agent_runtime.ports.agents import (
    BROADCAST,
    AgentChange,
    AgentEvent,
    AgentMessage,
    Agents,
    AgentView,
    Look,
    MessageKind,
    MessageStatus,
    NewAgentEvent,
    Priority,
)
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.ids import new_id
from agent_runtime.residents import states
from agent_runtime.residents.manager import BROADCASTS
from agent_runtime.residents.settings import as_priority
from agent_runtime.residents.sleep import patterns_of
from agent_runtime.values.checks import MAX_COUNT, check_json, check_text, check_whole
from agent_runtime.values.content import encode
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.message import MAX_MESSAGE_BYTES, check_identity
from llm_client.logs import logger_of
from llm_client.turns import aside

logger = logger_of(__name__)

MAX_PAGE: Final = 1000
MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
"""Content of entries in one page."""
AT_ONCE: Final = 32
"""Agents to whom a broadcast is brought at the same time."""
ABANDONED_SECONDS: Final = 10.0
"""After how long others bring a broadcast on its way whose sender may have died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A broadcast."""

    event_id: str
    delivered: int | None
    """To how many agents it was brought; zero makes it a dead letter. `None`: it was sent before, under the same key."""


@after_the_journal()
class AgentHistory:
    """The history of each scope's agents: entries in order, without gaps.

    Args:
        agents: Where it is kept.
        clock: What time it is.
        sweep_interval: Seconds after which followers look in any case: another process may have written something.
    """

    def __init__(self, agents: Agents, clock: Clock, *, sweep_interval: float) -> None:
        self._agents = agents
        self._clock = clock
        self._sweep_interval = sweep_interval
        self._followers: set[asyncio.Event] = set()

    def notify(self) -> None:
        """Have followers look: something was written."""
        for follower in self._followers:
            follower.set()

    async def events(
        self,
        *,
        after: int = 0,
        agent_id: str | None = None,
        types: Sequence[str] = (),
        dead: bool = False,
        limit: int = 100,
        scope_id: str = DEFAULT_SCOPE,
    ) -> Sequence[AgentEvent]:
        """Return entries of a scope's history, in order.

        Args:
            after: `seq` of the last one of the page before.
            agent_id: Of this agent, and what was told to all; `None` for all.
            types: Of one of these types; none for all.
            dead: Only broadcasts to which no agent listened.
            limit: How many at most; there are fewer where they are long.
            scope_id: The scope.
        """
        check_whole("after", after, most=MAX_COUNT)
        check_whole("limit", limit, least=1, most=MAX_PAGE)
        return await self._agents.agent_events(
            check_text("scope_id", scope_id),
            after=after,
            agent_id=None if agent_id is None else check_text("agent_id", agent_id),
            types=[check_text("type", one) for one in types],
            dead=dead,
            limit=limit,
            max_bytes=MAX_PAGE_BYTES,
        )

    async def last_seq(self, *, scope_id: str = DEFAULT_SCOPE) -> int:
        """Return the place of the newest entry of a scope's history, or zero."""
        return await self._agents.last_agent_seq(check_text("scope_id", scope_id))

    async def follow(self, *, after: int, scope_id: str = DEFAULT_SCOPE) -> AsyncGenerator[AgentEvent]:
        """Yield entries of a scope's history from the one after `after`, first what is there and then what comes: each once, in order."""
        news = asyncio.Event()
        self._followers.add(news)
        try:
            while True:
                news.clear()
                page = await self.events(after=after, limit=100, scope_id=scope_id)
                for event in page:
                    yield event
                    after = event.seq
                if not page:
                    try:
                        async with asyncio.timeout(self._sweep_interval):
                            await news.wait()
                    except TimeoutError:
                        continue
        finally:
            self._followers.discard(news)

    async def broadcast(
        self,
        event: str,
        data: Mapping[str, Any] | None = None,
        *,
        priority: Priority | str = Priority.NORMAL,
        sender: str | None = None,
        dedupe_key: str | None = None,
        scope_id: str = DEFAULT_SCOPE,
    ) -> Told:
        """Tell all agents of a scope that listen to an event, or sleep until it happens, that it has happened.

        Whatever becomes of this process then, each of them is told, and none twice.

        Args:
            event: Its type, as `orders.late`; everybody may read it.
            data: JSON values that belong to it.
            priority: How much it matters; an urgent one wakes whoever listens.
            sender: Who tells it.
            dedupe_key: A second event with the same key is not told.
            scope_id: The scope.

        Raises:
            InvalidInput: A value cannot be stored.
        """
        scope, now = check_text("scope_id", scope_id), self._clock.now()
        check_identity("event", event)
        if sender is not None:
            check_identity("sender", sender)
        level, event_id = as_priority("priority", priority), new_id("event")
        content = await aside(_content, event, data, sender)
        entry = NewAgentEvent(
            type=BROADCAST,
            priority=level,
            data={"event": event, "event_id": event_id, "from": sender},
            content=content,
        )
        if dedupe_key is None:
            written = await self._agents.add_agent_event(scope, entry, at=now)
            return Told(event_id=event_id, delivered=await self._bring(written))
        before = await self._agents.last_agent_seq(scope)
        first = await self._tell_once(scope, entry, check_text("dedupe_key", dedupe_key), now)
        if first != event_id:
            return Told(event_id=first, delivered=None)
        written = await self._written(scope, event_id, after=before)
        return Told(event_id=event_id, delivered=await self._bring(written))

    async def _tell_once(self, scope_id: str, entry: NewAgentEvent, key: str, now: datetime) -> str:
        """Write a broadcast that has a key, if it is the first one of that; return the id of the first."""
        event_id = str(entry.data["event_id"])
        known = AgentMessage(
            message_id=event_id,
            scope_id=scope_id,
            mailbox=BROADCASTS,
            kind=MessageKind.EVENT,
            status=MessageStatus.DONE,
            name=str(entry.data["event"]),
            dedupe_key=key,
            sent_at=now,
            not_before=now,
            ended_at=now,
        )

        def told(view: AgentView) -> AgentChange[str]:
            if view.known is not None:
                return AgentChange(answer=view.known.message_id)
            return AgentChange(answer=event_id, messages=[known], events=[entry])

        look = Look(dedupe_key=key)
        return await self._agents.change_agent(scope_id, BROADCASTS, told, at=now, look=look)

    async def _written(self, scope_id: str, event_id: str, *, after: int) -> AgentEvent:
        """Return the entry of a broadcast that was written after another one."""
        async with aclosing(self.follow(after=after, scope_id=scope_id)) as entries:
            async for entry in entries:
                if entry.type == BROADCAST and entry.data["event_id"] == event_id:
                    return entry
        raise AssertionError("a history does not end")

    async def bring_abandoned(self) -> None:
        """Bring broadcasts on their way whose sender may have died."""
        before = self._clock.now() - timedelta(seconds=ABANDONED_SECONDS)
        for event in await self._agents.undelivered_events(before=before):
            await self._bring(event)

    async def _bring(self, event: AgentEvent) -> int:
        """Bring a broadcast to all who listen, and write to how many it was brought."""
        patterns, after, count = sorted(patterns_of(str(event.data["event"]))), "", 0
        room = asyncio.Semaphore(AT_ONCE)

        async def bring(agent_id: str) -> bool:
            async with room:
                return await self._deliver(event, agent_id)

        while page := await self._agents.subscribers(event.scope_id, patterns, after=after):
            count += sum(await asyncio.gather(*map(bring, page)))
            after = page[-1]
        await self._agents.event_delivered(event.scope_id, event.seq, delivered=count)
        return count

    async def _deliver(self, event: AgentEvent, agent_id: str) -> bool:
        """Put an event into the inbox of an agent; return whether it is there."""
        now, key = self._clock.now(), f"event:{event.seq}"
        message = AgentMessage(
            message_id=new_id("event"),
            scope_id=event.scope_id,
            mailbox=agent_id,
            kind=MessageKind.EVENT,
            priority=event.priority,
            sender=None if event.data.get("from") is None else str(event.data["from"]),
            name=str(event.data["event"]),
            dedupe_key=key,
            sent_at=now,
            not_before=now,
            content=event.content,
        )
        try:
            await self._agents.change_agent(
                event.scope_id,
                agent_id,
                lambda view: states.arrived(view, message, now),
                at=now,
                look=Look(dedupe_key=key),
            )
        except UnknownAgent:  # removed meanwhile
            return False
        except InboxFull as error:
            logger.warning("event %d of scope %r is not told: %s", event.seq, event.scope_id, error)
            return False
        return True


def _content(event: str, data: Mapping[str, Any] | None, sender: str | None) -> bytes:
    told = {"event": event, "data": dict(data or {}), "from": sender}
    check_json("data", told, limit=MAX_MESSAGE_BYTES)
    return encode(told, limit=MAX_MESSAGE_BYTES)
