"""`AgentManager`: resident agents and their tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from agent_runtime.errors import InvalidInput, UnknownAgent, UnknownMessage
from agent_runtime.ledger.ledger import Ledger
from agent_runtime.ports import agents as port
from agent_runtime.ports.agents import (
    AgentChange,
    AgentMessage,
    Agents,
    AgentState,
    AgentView,
    Answer,
    Look,
    MessageKind,
    MessageStatus,
    NewAgentEvent,
    Priority,
    StoredAgent,
)
from agent_runtime.ports.audit import Note
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.ids import new_id
from agent_runtime.residents import states
from agent_runtime.residents.resident import ResidentAgent
from agent_runtime.residents.settings import AgentSettings, as_priority
from agent_runtime.residents.sleep import Sleep
from agent_runtime.values.checks import (
    can_be_id,
    check_json,
    check_seconds,
    check_text,
    check_time,
    check_whole,
)
from agent_runtime.values.content import encode
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.message import MAX_MESSAGE_BYTES, check_identity
from agent_runtime.values.standing_budget import Budget
from llm_client.turns import aside

MAX_PAGE: Final = 1000
"""Agents, or messages, that one look returns at most."""
MAX_PAGE_BYTES: Final = 4 * 1024 * 1024
"""Content of messages in one page."""
MAX_NAME_BYTES: Final = 200
"""Bytes of an agent's name: keys of its turns have it, too."""
BROADCASTS: Final = "*"
"""The mailbox in which broadcasts are known by their keys; no agent has this name."""
_READY: Final = Look(ready=1)
_UNKNOWN: Final = "no agent has this name, or none of this scope"


def session_of(agent_id: str) -> str:
    """Return the session that all turns of an agent belong to: for budgets, logs and bills."""
    return f"agent:{agent_id}"


@after_the_journal()
class AgentManager:
    """The resident agents of a kernel's storage. Processes that execute look after them.

    Args:
        agents: Where they are kept.
        clock: What time it is.
        ledger: Knows what they may spend.
        check_definition: Raises `UnknownOperator` or the like when no process here could run turns of a definition.
        defaults: How agents of a definition are looked after, as far as this process knows.
        cancel_turn: Asks the turn that handles a message to stop; returns whether one does.
        max_agents: How many one scope may have.
    """

    def __init__(
        self,
        agents: Agents,
        clock: Clock,
        *,
        ledger: Ledger,
        check_definition: Callable[[str], Awaitable[None]],
        defaults: Callable[[str], AgentSettings | None],
        cancel_turn: Callable[[AgentMessage], Awaitable[bool]],
        max_agents: int,
    ) -> None:
        self._agents = agents
        self._clock = clock
        self._ledger = ledger
        self._check_definition = check_definition
        self._defaults = defaults
        self._cancel_turn = cancel_turn
        self._max_agents = max_agents

    async def create(
        self,
        agent_id: str,
        *,
        definition: str = "agent",
        config: AgentSettings | Mapping[str, object] | None = None,
        principal_id: str | None = None,
        start: bool = True,
        scope_id: str = DEFAULT_SCOPE,
        by: str | None = None,
    ) -> ResidentAgent:
        """Make an agent, or change how the one of this name is looked after; its state, memory and inbox stay.

        So an application says at each start which agents it has, and no deploy is noticed by them.

        Args:
            agent_id: Its name, among those of its scope; everybody may read it.
            definition: What it is made of, by a name that processes know.
            config: How it is looked after; what a mapping does not say is as the definition says.
            principal_id: On whose behalf its turns run.
            start: Whether a new one handles messages at once; otherwise it is stopped.
            scope_id: Whose it is.
            by: Who does so, for the list and for the trail.

        Raises:
            InvalidInput: A value cannot be stored, or the scope has as many agents as it may.
            UnknownOperator: Nobody knows the definition.
        """
        _check_name(agent_id)
        check_identity("definition", definition)
        settings = self._settings(definition, config)
        scope, by = check_text("scope_id", scope_id), _by(by)
        principal = None if principal_id is None else check_text("principal_id", principal_id)
        await self._check_definition(definition)
        if await self._agents.get_agent(scope, agent_id) is None:
            await self._check_room(scope)
        now = self._clock.now()
        state = AgentState.IDLE if start else AgentState.STOPPED
        wanted = StoredAgent(
            scope_id=scope,
            agent_id=agent_id,
            definition=definition,
            config=settings.to_json(),
            principal_id=principal,
            state=state,
            listens_to=settings.subscriptions,
            last_active=now,
            look_at=now if start and settings.idle_timeout is not None else None,
            created_at=now,
            created_by=by,
            updated_at=now,
        )
        made = await self._change(scope, agent_id, lambda view: _created(view, wanted, by), at=now)
        await self._set_budget(made)
        return ResidentAgent.of(made)

    def _settings(
        self, definition: str, config: AgentSettings | Mapping[str, object] | None
    ) -> AgentSettings:
        if isinstance(config, AgentSettings):
            return config
        defaults, said = self._defaults(definition), AgentSettings.from_json(config or {})
        if defaults is None:
            return said
        return AgentSettings.from_json({**defaults.to_json(), **said.to_json()})

    async def _check_room(self, scope_id: str) -> None:
        if await self._agents.count_agents(scope_id, most=self._max_agents) >= self._max_agents:
            raise InvalidInput(f"a scope has at most {self._max_agents:,} agents")

    async def _set_budget(self, agent: StoredAgent) -> None:
        """Have the ledger hold what an agent may spend in a day."""
        budget = budget_of(agent)
        if budget is not None:
            await self._ledger.save_budget(budget)
        else:
            await self._ledger.delete_budget(_budget(agent, 1).budget_id)

    async def start(
        self, agent_id: str, *, scope_id: str = DEFAULT_SCOPE, by: str | None = None
    ) -> ResidentAgent:
        """Let a stopped agent handle messages again, as one that has not failed. Raises `UnknownAgent`."""
        now = self._clock.now()
        note = Note(port.STARTED, {"agent_id": agent_id, "by": _by(by)})
        return await self._moved(scope_id, agent_id, lambda view: states.started(view, now), now, note)

    async def stop(
        self,
        agent_id: str,
        *,
        scope_id: str = DEFAULT_SCOPE,
        cancel: bool = False,
        reason: str | None = None,
        by: str | None = None,
    ) -> ResidentAgent:
        """Let an agent begin no further turn; what is sent to it waits.

        Args:
            agent_id: The agent.
            scope_id: Its scope.
            cancel: Whether turns that go on are asked to stop; otherwise they come to their end.
            reason: Why, for whoever looks.
            by: Who does so.

        Raises:
            UnknownAgent: There is no such agent.
        """
        now = self._clock.now()
        note = Note(port.STOPPED, {"agent_id": agent_id, "by": _by(by)})
        made = await self._moved(
            scope_id, agent_id, lambda view: states.stopped(view, now, reason=reason), now, note
        )
        if cancel:
            await self._cancel_turns(scope_id, agent_id)
        return made

    async def _cancel_turns(self, scope_id: str, agent_id: str) -> None:
        claimed = [MessageStatus.CLAIMED]
        for message in await self._agents.list_agent_messages(
            scope_id, agent_id, statuses=claimed, limit=MAX_PAGE
        ):
            await self._give_up(message)

    async def sleep(
        self,
        agent_id: str,
        *,
        until: datetime | None = None,
        seconds: float | None = None,
        wake_events: Sequence[str] = (),
        wake_on_mail_priority: Priority | str | None = None,
        wake_when_load_below: float | None = None,
        reason: str | None = None,
        scope_id: str = DEFAULT_SCOPE,
    ) -> ResidentAgent:
        """Have an agent sleep until any one of the conditions is met; from the end of its turns on, if some go on.

        It does not fall asleep where what would wake it is there already. Without a priority the agent's own counts.

        Args:
            agent_id: The agent.
            until: A time at which it wakes.
            seconds: A time after which it wakes, in place of `until`.
            wake_events: Types of events that wake it; `*` stands for all, or after a dot for any rest.
            wake_on_mail_priority: Mail and tasks that matter at least as much wake it.
            wake_when_load_below: It wakes when the machine's load over a minute is below this.
            reason: Why, for whoever looks.
            scope_id: Its scope.

        Raises:
            UnknownAgent: There is no such agent.
            InvalidTransition: It is stopped.
            InvalidInput: A condition cannot be kept.
        """
        now = self._clock.now()
        if seconds is not None:
            if until is not None:
                raise InvalidInput("sleep takes either seconds or until")
            check_seconds("seconds", seconds)
            until = now + timedelta(seconds=seconds)
        asked = None
        if wake_on_mail_priority is not None:
            asked = as_priority("wake_on_mail_priority", wake_on_mail_priority)
        check_time("until", until)
        wish = Sleep(
            until=until,
            events=tuple(wake_events),
            load_below=wake_when_load_below,
            reason=reason,
            priority=asked,
        )

        def slept(view: AgentView) -> AgentChange[StoredAgent]:
            sleep = wish
            if asked is None and view.agent is not None:
                sleep = replace(wish, priority=AgentSettings.from_json(view.agent.config).wake_on_priority)
            return states.slept(view, sleep, now)

        return await self._moved(scope_id, agent_id, slept, now)

    async def wake(
        self, agent_id: str, *, reason: str = "by hand", scope_id: str = DEFAULT_SCOPE
    ) -> ResidentAgent:
        """Wake an agent whatever it waits for, and although it has failed. One that is awake stays as it is.

        Raises:
            UnknownAgent: There is no such agent.
            InvalidTransition: It is stopped.
        """
        now = self._clock.now()
        return await self._moved(scope_id, agent_id, lambda view: states.woken(view, now, reason=reason), now)

    async def remove(self, agent_id: str, *, scope_id: str = DEFAULT_SCOPE, by: str | None = None) -> None:
        """Take an agent away, with its messages and its memory; turns that go on are cancelled. Raises `UnknownAgent`."""
        note = Note(port.REMOVED, {"agent_id": agent_id, "by": _by(by)})
        stored = await self._stored(agent_id, scope_id)
        await self._cancel_turns(scope_id, agent_id)

        def removed(view: AgentView) -> AgentChange[None]:
            if view.agent is None:
                raise UnknownAgent(_UNKNOWN)
            gone = NewAgentEvent(type=port.REMOVED, agent_id=agent_id)
            return AgentChange(answer=None, remove=True, note=note, events=[gone])

        await self._change(scope_id, agent_id, removed)
        await self._ledger.delete_budget(_budget(stored, 1).budget_id)

    async def get(self, agent_id: str, *, scope_id: str = DEFAULT_SCOPE) -> ResidentAgent:
        """Return an agent. Raises `UnknownAgent`."""
        return ResidentAgent.of(await self._stored(agent_id, scope_id))

    async def _stored(self, agent_id: str, scope_id: str) -> StoredAgent:
        scope, found = check_text("scope_id", scope_id), None
        if can_be_id(agent_id):
            found = await self._agents.get_agent(scope, agent_id)
        if found is None:
            raise UnknownAgent(_UNKNOWN)
        return found

    async def list(
        self, *, scope_id: str | None = None, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[ResidentAgent]:
        """Return agents by scope and name.

        Args:
            scope_id: Whose; `None` for those of all scopes.
            after: Scope and name of the last one of the page before.
            limit: How many at most.
        """
        check_whole("limit", limit, least=1, most=MAX_PAGE)
        scope = None if scope_id is None else check_text("scope_id", scope_id)
        found = await self._agents.list_agents(scope, after=after, limit=limit)
        return await aside(lambda: [ResidentAgent.of(one) for one in found])

    async def send_task(
        self,
        agent_id: str,
        task: str,
        *,
        data: object = None,
        priority: Priority | str = Priority.NORMAL,
        dedupe_key: str | None = None,
        expires_in: float | None = None,
        sender: str | None = None,
        scope_id: str = DEFAULT_SCOPE,
    ) -> AgentMessage:
        """Give an agent something to do, and return the message as it waits.

        Args:
            agent_id: The agent.
            task: What to do.
            data: JSON values that belong to it.
            priority: How much it matters.
            dedupe_key: A second message with the same key, to the same agent, is not sent: the first one is returned.
            expires_in: Seconds after which it is not begun any more.
            sender: Who sends it.
            scope_id: The agent's scope.

        Raises:
            UnknownAgent: There is no such agent.
            InboxFull: Too many messages wait for it; nothing was sent.
            InvalidInput: A value cannot be stored.
        """
        check_task(task)
        return await self.post(
            agent_id,
            {"task": task, "data": data},
            kind=MessageKind.TASK,
            priority=priority,
            dedupe_key=dedupe_key,
            expires_in=expires_in,
            sender=sender,
            scope_id=scope_id,
        )

    async def post(
        self,
        agent_id: str,
        body: Mapping[str, Any],
        *,
        kind: MessageKind,
        name: str | None = None,
        priority: Priority | str = Priority.NORMAL,
        dedupe_key: str | None = None,
        expires_in: float | None = None,
        sender: str | None = None,
        scope_id: str = DEFAULT_SCOPE,
    ) -> AgentMessage:
        """Put a message of any kind but mail into an agent's inbox. Raises like `send_task`."""
        now, scope = self._clock.now(), check_text("scope_id", scope_id)
        if expires_in is not None:
            check_seconds("expires_in", expires_in, zero=False)
        if sender is not None:
            check_identity("sender", sender)
        message = AgentMessage(
            message_id=new_id(kind.value),
            scope_id=scope,
            mailbox=check_text("agent_id", agent_id),
            kind=kind,
            priority=as_priority("priority", priority),
            sender=sender,
            name=name,
            dedupe_key=None if dedupe_key is None else check_text("dedupe_key", dedupe_key),
            sent_at=now,
            not_before=now,
            expires_at=None if expires_in is None else now + timedelta(seconds=expires_in),
            content=await aside(_encoded, body),
        )
        look = Look(dedupe_key=message.dedupe_key)
        return await self._change(
            scope, agent_id, lambda view: states.arrived(view, message, now), at=now, look=look
        )

    async def get_message(self, message_id: str, *, scope_id: str = DEFAULT_SCOPE) -> AgentMessage:
        """Return a message with what it says and what its turn has answered. Raises `UnknownMessage`."""
        scope, found = check_text("scope_id", scope_id), None
        if can_be_id(message_id):
            found = await self._agents.get_agent_message(scope, message_id)
        if found is None:
            raise UnknownMessage("no message of this scope has this id")
        return found

    async def messages(
        self,
        agent_id: str | None = None,
        *,
        kinds: Sequence[MessageKind] = (),
        statuses: Sequence[MessageStatus] = (),
        before: tuple[datetime, str] | None = None,
        limit: int = 100,
        scope_id: str = DEFAULT_SCOPE,
    ) -> Sequence[AgentMessage]:
        """Return messages of an agent, or of all of a scope, the newest first; dead letters have the status `dead`.

        Args:
            agent_id: The agent; `None` for all.
            kinds: Of these kinds; none for all.
            statuses: With one of these; none for all.
            before: `sent_at` and `message_id` of the last one of the page before.
            limit: How many at most; there are fewer where they are long.
            scope_id: The scope.
        """
        check_whole("limit", limit, least=1, most=MAX_PAGE)
        scope = check_text("scope_id", scope_id)
        if agent_id is not None:
            await self._stored(agent_id, scope)
        return await self._agents.list_agent_messages(
            scope,
            agent_id,
            kinds=kinds,
            statuses=statuses,
            before=before,
            limit=limit,
            max_bytes=MAX_PAGE_BYTES,
        )

    async def cancel_message(self, message_id: str, *, scope_id: str = DEFAULT_SCOPE) -> AgentMessage:
        """Give a message up; a turn that handles it is asked to stop. What is over stays as it is. Raises `UnknownMessage`."""
        message = await self.get_message(message_id, scope_id=scope_id)
        if message.status.is_open:
            await self._give_up(message)
        return await self.get_message(message_id, scope_id=scope_id)

    async def _give_up(self, message: AgentMessage) -> None:
        """Have a turn stop, or see to it that none begins: it may be claimed while its job is not there yet."""
        if await self._cancel_turn(message):
            return
        now, look, name = self._clock.now(), Look(message_ids=[message.message_id]), message.message_id
        await self._change(
            message.scope_id,
            message.mailbox,
            lambda view: states.cancelled(view, name, now),
            at=now,
            look=look,
        )
        await self._cancel_turn(message)  # which may have begun before that was written

    async def requeue(self, message_id: str, *, scope_id: str = DEFAULT_SCOPE) -> AgentMessage:
        """Have a dead letter handled again: what its turns have done is recalled, and what failed is done anew.

        Raises:
            UnknownMessage: There is no such message.
            InvalidTransition: It is no dead letter.
            InboxFull: Too many messages wait for the agent.
        """
        message = await self.get_message(message_id, scope_id=scope_id)
        now, look = self._clock.now(), Look(message_ids=[message_id])
        return await self._change(
            scope_id, message.mailbox, lambda view: states.put_back(view, message_id, now), at=now, look=look
        )

    async def _moved(
        self,
        scope_id: str,
        agent_id: str,
        change: Callable[[AgentView], AgentChange[StoredAgent]],
        now: datetime,
        note: Note | None = None,
    ) -> ResidentAgent:
        def noted(view: AgentView) -> AgentChange[StoredAgent]:
            made = change(view)
            return made if note is None or made.agent is None else replace(made, note=note)

        return ResidentAgent.of(await self._change(scope_id, agent_id, noted, at=now, look=_READY))

    async def _change(
        self,
        scope_id: str,
        agent_id: str,
        change: Callable[[AgentView], AgentChange[Answer]],
        *,
        at: datetime | None = None,
        look: Look = port.NOTHING,
    ) -> Answer:
        if not can_be_id(agent_id):
            raise UnknownAgent(_UNKNOWN)
        scope = check_text("scope_id", scope_id)
        return await self._agents.change_agent(scope, agent_id, change, at=at or self._clock.now(), look=look)


def _created(view: AgentView, wanted: StoredAgent, by: str | None) -> AgentChange[StoredAgent]:
    said = {"agent_id": wanted.agent_id, "by": by}
    seen = view.agent
    if seen is None:
        event = NewAgentEvent(
            type=port.CREATED,
            agent_id=wanted.agent_id,
            data={"definition": wanted.definition, "state": wanted.state},
        )
        return AgentChange(answer=wanted, agent=wanted, events=[event], note=Note(port.CREATED, said))
    names = ("definition", "config", "principal_id")
    if all(getattr(seen, name) == getattr(wanted, name) for name in names):
        return AgentChange(answer=seen)
    changed = replace(
        seen,
        revision=seen.revision + 1,
        definition=wanted.definition,
        config=wanted.config,
        principal_id=wanted.principal_id,
        listens_to=states.patterns_for(seen, wanted.listens_to),
        look_at=wanted.updated_at if seen.state is not AgentState.STOPPED else seen.look_at,
        updated_at=wanted.updated_at,
    )
    return AgentChange(answer=changed, agent=changed, note=Note(port.CHANGED, said))


def budget_of(agent: StoredAgent) -> Budget | None:
    """Return the standing budget that bounds what an agent's turns cost in a day, if something does."""
    most = AgentSettings.from_json(agent.config).max_cost_per_day
    return None if most is None else _budget(agent, most)


def _budget(agent: StoredAgent, most: Any) -> Budget:
    return Budget(
        name=f"agent {agent.agent_id}",
        scope_id=agent.scope_id,
        session_id=session_of(agent.agent_id),
        max_cost_daily=most,
        exceed_strategy="wait",
    )


def _check_name(value: str) -> None:
    check_identity("agent_id", value)
    if len(value.encode()) > MAX_NAME_BYTES:
        raise InvalidInput(f"agent_id is a text of 1 to {MAX_NAME_BYTES} bytes")
    if value == BROADCASTS:
        raise InvalidInput("agent_id: this name stands for all agents")


def check_task(task: object) -> None:
    """Refuse what is no task. Raises `InvalidInput`."""
    if not isinstance(task, str) or not task.strip():
        raise InvalidInput("a task is a text that says what to do")


def _by(by: str | None) -> str | None:
    return None if by is None else check_text("by", by)


def _encoded(body: Mapping[str, Any]) -> bytes:
    told = {name: value for name, value in body.items() if value is not None}
    check_json("a message", told, limit=MAX_MESSAGE_BYTES)
    return encode(told, limit=MAX_MESSAGE_BYTES)
