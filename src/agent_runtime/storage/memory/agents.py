"""Resident agents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from agent_runtime.ports.agents import (
    BROADCAST,
    NOTHING,
    AgentChange,
    AgentEvent,
    AgentMessage,
    AgentView,
    Answer,
    Look,
    MessageKind,
    MessageStatus,
    NewAgentEvent,
    StoredAgent,
)
from agent_runtime.ports.journal import Listener
from agent_runtime.storage.erasing_agents import removed_by_erasure
from agent_runtime.storage.memory.journal import note_in_trail
from agent_runtime.storage.memory.residents import Key, Residents
from agent_runtime.storage.memory.state import State
from agent_runtime.storage.rows.agents import fitting, placed


class Agents:
    """Keeps resident agents, their mailboxes, their memory and the histories of scopes."""

    _state: State
    _listeners: list[Listener]

    async def change_agent(
        self,
        scope_id: str,
        agent_id: str,
        change: Callable[[AgentView], AgentChange[Answer]],
        *,
        at: datetime,
        look: Look = NOTHING,
    ) -> Answer:
        """Show a function an agent and write what it makes of it."""
        state, key = self._state.residents, (scope_id, agent_id)
        mailbox = state.mailboxes.get(key, {})
        made = change(_view(state, key, mailbox, at, look))
        if made.remove:
            state.forget(key)
        if made.agent is not None:
            state.agents[key] = made.agent
        for message in made.messages:
            _put(state.mailboxes.setdefault(key, {}), message)
        if made.memory is not None:
            state.memory[key] = made.memory
        for event in made.events:
            self._write(scope_id, event, at)
        if made.note is not None:
            note_in_trail(self._state, scope_id, at, [made.note])
        if made.remove or made.agent is not None or made.messages or made.events:
            self._tell(scope_id, agent_id)
        return made.answer

    def _write(self, scope_id: str, event: NewAgentEvent, at: datetime) -> AgentEvent:
        history = self._state.residents.histories.setdefault(scope_id, [])
        last = history[-1].seq if history else self._state.residents.forgotten.get(scope_id, 0)
        written = placed(scope_id, event, last + 1, at)
        history.append(written)
        return written

    def _tell(self, scope_id: str, agent_id: str) -> None:
        for listener in tuple(self._listeners):
            listener.agents_changed([(scope_id, agent_id)])

    async def get_agent(self, scope_id: str, agent_id: str) -> StoredAgent | None:
        """Return an agent, or `None`."""
        return self._state.residents.agents.get((scope_id, agent_id))

    async def list_agents(
        self, scope_id: str | None = None, *, after: Key = ("", ""), limit: int = 100
    ) -> Sequence[StoredAgent]:
        """Return agents by scope and name."""
        if scope_id is not None:
            after = (scope_id, after[1])
        agents = self._state.residents.agents
        keys = sorted(key for key in agents if key > after and scope_id in (None, key[0]))
        return [agents[key] for key in keys[:limit]]

    async def count_agents(self, scope_id: str, *, most: int) -> int:
        """Return how many agents a scope has, or `most` if it has more."""
        return min(most, sum(key[0] == scope_id for key in self._state.residents.agents))

    async def due_agents(self, now: datetime, *, limit: int = 100) -> Sequence[StoredAgent]:
        """Return agents that somebody has to look after now."""
        due = [(one.look_at, key) for key, one in self._agents() if one.look_at and one.look_at <= now]
        return [self._state.residents.agents[key] for _, key in sorted(due)[:limit]]

    async def next_agent_look(self) -> datetime | None:
        """Return when the next agent has to be looked after."""
        return min((one.look_at for _, one in self._agents() if one.look_at), default=None)

    async def agents_waiting_for_load(self, load: float, *, limit: int = 100) -> Sequence[StoredAgent]:
        """Return sleeping agents that wait until the load is below something that it is below of."""
        found = [
            (one.wake_load, key) for key, one in self._agents() if one.wake_load and one.wake_load > load
        ]
        return [self._state.residents.agents[key] for _, key in sorted(found)[:limit]]

    def _agents(self) -> Iterable[tuple[Key, StoredAgent]]:
        return self._state.residents.agents.items()

    async def subscribers(
        self, scope_id: str, patterns: Sequence[str], *, after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        """Return names of agents that listen to one of these patterns."""
        wanted = set(patterns)
        names = sorted(
            name
            for (scope, name), one in self._agents()
            if scope == scope_id and name > after and not wanted.isdisjoint(one.listens_to)
        )
        return names[:limit]

    async def agent_memory(self, scope_id: str, agent_id: str) -> bytes | None:
        """Return what an agent remembers."""
        return self._state.residents.memory.get((scope_id, agent_id))

    async def get_agent_message(self, scope_id: str, message_id: str) -> AgentMessage | None:
        """Return a message with its content and its result, or `None`."""
        for (scope, _), mailbox in self._state.residents.mailboxes.items():
            if scope == scope_id and message_id in mailbox:
                return mailbox[message_id]
        return None

    async def list_agent_messages(
        self,
        scope_id: str,
        mailbox: str | None = None,
        *,
        kinds: Sequence[MessageKind] = (),
        statuses: Sequence[MessageStatus] = (),
        thread_id: str | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int = 100,
        max_bytes: int | None = None,
    ) -> Sequence[AgentMessage]:
        """Return messages of a scope, the newest first."""
        found = sorted(
            (
                message
                for (scope, name), messages in self._state.residents.mailboxes.items()
                if scope == scope_id and mailbox in (None, name)
                for message in messages.values()
                if (not kinds or message.kind in kinds)
                and (not statuses or message.status in statuses)
                and thread_id in (None, message.thread_id)
                and (before is None or (message.sent_at, message.message_id) < before)
            ),
            key=lambda one: (one.sent_at, one.message_id),
            reverse=True,
        )
        page = [replace(message, result=None) for message in found[:limit]]
        return page[: fitting((len(message.content or b"") for message in page), max_bytes)]

    async def add_agent_event(self, scope_id: str, event: NewAgentEvent, *, at: datetime) -> AgentEvent:
        """Write an entry into the history of a scope that belongs to no change."""
        written = self._write(scope_id, event, at)
        self._tell(scope_id, "")
        return written

    async def event_delivered(self, scope_id: str, seq: int, *, delivered: int) -> None:
        """Write to how many agents a broadcast was brought."""
        history = self._state.residents.histories.get(scope_id, [])
        for place, event in enumerate(history):
            if event.seq == seq:
                history[place] = replace(event, delivered=delivered)

    async def undelivered_events(self, *, before: datetime, limit: int = 100) -> Sequence[AgentEvent]:
        """Return broadcasts of which nobody has written to how many agents they were brought."""
        found = [
            event
            for history in self._state.residents.histories.values()
            for event in history
            if event.type == BROADCAST and event.delivered is None and event.at < before
        ]
        return sorted(found, key=lambda one: (one.at, one.scope_id, one.seq))[:limit]

    async def agent_events(
        self,
        scope_id: str,
        *,
        after: int = 0,
        agent_id: str | None = None,
        types: Sequence[str] = (),
        dead: bool = False,
        limit: int = 100,
        max_bytes: int | None = None,
    ) -> Sequence[AgentEvent]:
        """Return the history of a scope, in order."""
        page = [
            event
            for event in self._state.residents.histories.get(scope_id, [])
            if event.seq > after
            and (agent_id is None or event.agent_id in (None, agent_id))
            and (not types or event.type in types)
            and (not dead or (event.type == BROADCAST and event.delivered == 0))
        ][:limit]
        return page[: fitting((len(event.content or b"") for event in page), max_bytes)]

    async def last_agent_seq(self, scope_id: str) -> int:
        """Return the place of the newest entry of a scope's history, or zero."""
        history = self._state.residents.histories.get(scope_id)
        return history[-1].seq if history else self._state.residents.forgotten.get(scope_id, 0)


def _view(
    state: Residents, key: Key, mailbox: dict[str, AgentMessage], at: datetime, look: Look
) -> AgentView:
    """Return what a change is shown."""
    messages = [replace(message, content=None, result=None) for message in mailbox.values()]
    waiting = [one for one in messages if one.status is MessageStatus.WAITING]
    expired = [one for one in waiting if one.expires_at is not None and one.expires_at <= at]
    open_ = [one for one in waiting if one.expires_at is None or one.expires_at > at]
    ready = sorted(
        (one for one in open_ if one.not_before <= at), key=lambda one: (-one.priority, one.position)
    )
    return AgentView(
        agent=state.agents.get(key),
        messages={one.message_id: one for one in messages if one.message_id in look.message_ids},
        known=next(
            (one for one in messages if look.dedupe_key is not None and one.dedupe_key == look.dedupe_key),
            None,
        ),
        ready=ready[: look.ready],
        claimed=[one for one in messages if one.status is MessageStatus.CLAIMED] if look.claimed else (),
        expired=expired[: look.expired],
        next_ready=min((one.not_before for one in open_ if one.not_before > at), default=None),
        next_expiry=min((one.expires_at for one in open_ if one.expires_at is not None), default=None),
        memory=state.memory.get(key) if look.memory else None,
    )


def _put(mailbox: dict[str, AgentMessage], message: AgentMessage) -> None:
    """Store a message; of one that is there content stays, and its result where none is given."""
    seen = mailbox.get(message.message_id)
    if seen is None:
        last = next(reversed(mailbox.values())).position if mailbox else 0
        mailbox[message.message_id] = replace(message, position=last + 1)
    else:
        result = seen.result if message.result is None else message.result
        mailbox[message.message_id] = replace(message, content=seen.content, result=result)


def erase_agents(state: State, scope_id: str, principal_id: str, pseudonym: str, at: datetime) -> int:
    """Remove the agents on behalf of a person, and what the person has said to others of the scope."""
    kept, count = state.residents, 0
    for key, agent in sorted(kept.agents.items()):
        if key[0] != scope_id:
            continue
        if agent.principal_id == principal_id:
            kept.forget(key)
            note_in_trail(state, scope_id, at, [removed_by_erasure(key[1], pseudonym)])
            count += 1
        elif agent.created_by == principal_id:
            kept.agents[key] = replace(agent, created_by=pseudonym)
            count += 1
    kept.mailboxes.pop((scope_id, principal_id), None)
    sent: set[str] = set()
    for key, mailbox in kept.mailboxes.items():
        theirs = [one for one in mailbox.values() if key[0] == scope_id and one.sender == principal_id]
        for message in theirs:
            mailbox[message.message_id] = replace(
                message, sender=pseudonym, content=None, result=None, error=None, dedupe_key=None
            )
            sent.add(message.message_id)
        if theirs:
            kept.memory.pop(key, None)
    history = kept.histories.get(scope_id, [])
    for place, event in enumerate(history):
        if event.data.get("from") == principal_id or event.data.get("message_id") in sent:
            history[place] = replace(event, data={}, content=None)
    return count + len(sent)
