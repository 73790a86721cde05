"""`AsyncAgentSessionManager`: the documented face over a kernel's resident agents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self

from agent_runtime.kernel.kernel import Kernel
from agent_runtime.ports.agents import AgentState, MessageStatus, Priority
from agent_runtime.residents.resident import ResidentAgent
from agent_runtime.residents.settings import AgentSettings
from agent_runtime.residents.turn import operator_of
from agent_runtime.sessions.monitor import AgentMonitor, AgentStatus
from agent_runtime.sessions.session import AsyncAgentSession
from agent_runtime.values.context import DEFAULT_SCOPE


class AsyncAgentSessionManager:
    """The resident agents of one scope.

    It keeps nothing of its own: agents are in the kernel's storage, and any process that has a kernel on it sees the same ones. So closing
    it stops no agent, and nothing has to be saved.

    Args:
        kernel: Runs their turns.
        scope_id: Whose agents.
    """

    def __init__(self, kernel: Kernel, *, scope_id: str = DEFAULT_SCOPE) -> None:
        self.kernel = kernel
        self.scope_id = scope_id
        self.monitor = AgentMonitor(kernel, scope_id=scope_id)

    async def create_agent_session(
        self,
        agent_id: str,
        *,
        definition: str | None = None,
        config: AgentSettings | Mapping[str, object] | None = None,
        auto_start: bool = True,
        principal_id: str | None = None,
        by: str | None = None,
    ) -> AsyncAgentSession:
        """Make an agent, or change how the one of this name is looked after; its state, memory and inbox stay.

        Args:
            agent_id: Its name.
            definition: What it is made of; by default the definition of its own name, else the kernel's own agent.
            config: How it is looked after, such as `{"checkMailInterval": 30, "maxConcurrentTasks": 5}`.
            auto_start: Whether a new one handles messages at once.
            principal_id: On whose behalf its turns run.
            by: Who does so, for the trail.

        Raises:
            InvalidInput: A value cannot be stored, or the scope has as many agents as it may.
            UnknownOperator: Nobody knows the definition.
        """
        await self.kernel.start()
        if definition is None:
            definition = agent_id if operator_of(agent_id) in self.kernel.operators else "agent"
        made = await self.kernel.agents.create(
            agent_id,
            definition=definition,
            config=config,
            principal_id=principal_id,
            start=auto_start,
            scope_id=self.scope_id,
            by=by,
        )
        return await AsyncAgentSession.of(self.kernel, made)

    async def get(self, agent_id: str) -> AsyncAgentSession:
        """Return the session of an agent. Raises `UnknownAgent`."""
        found = await self.kernel.agents.get(agent_id, scope_id=self.scope_id)
        return await AsyncAgentSession.of(self.kernel, found)

    async def start_agent(self, agent_id: str, *, by: str | None = None) -> AsyncAgentSession:
        """Let a stopped agent handle messages again. Raises `UnknownAgent`."""
        return await self._session(await self.kernel.agents.start(agent_id, scope_id=self.scope_id, by=by))

    async def stop_agent(
        self, agent_id: str, *, cancel: bool = False, reason: str | None = None, by: str | None = None
    ) -> AsyncAgentSession:
        """Let an agent begin no further turn; what is sent to it waits.

        Args:
            agent_id: The agent.
            cancel: Whether turns that go on are asked to stop; otherwise they come to their end.
            reason: Why, for whoever looks.
            by: Who does so, for the trail.

        Raises:
            UnknownAgent: There is no such agent.
        """
        made = await self.kernel.agents.stop(
            agent_id, scope_id=self.scope_id, cancel=cancel, reason=reason, by=by
        )
        return await self._session(made)

    async def remove_agent(self, agent_id: str, *, by: str | None = None) -> None:
        """Take an agent away, with its messages and its memory. Raises `UnknownAgent`."""
        await self.kernel.agents.remove(agent_id, scope_id=self.scope_id, by=by)

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
    ) -> str:
        """Give an agent something to do, and return the task's id.

        Raises:
            UnknownAgent: There is no such agent.
            InboxFull: Too many messages wait for it; nothing was sent.
        """
        sent = await self.kernel.agents.send_task(
            agent_id,
            task,
            data=data,
            priority=priority,
            dedupe_key=dedupe_key,
            expires_in=expires_in,
            sender=sender,
            scope_id=self.scope_id,
        )
        return sent.message_id

    async def sleep_agent(
        self,
        agent_id: str,
        *,
        until_time: datetime | None = None,
        duration_seconds: float | None = None,
        wake_events: Sequence[str] = (),
        wake_on_mail_priority: Priority | str | None = None,
        wake_when_load_below: float | None = None,
        reason: str | None = None,
    ) -> AsyncAgentSession:
        """Have an agent sleep until any one of the conditions is met, from the end of its turns on.

        Raises:
            UnknownAgent: There is no such agent.
            InvalidTransition: It is stopped.
            InvalidInput: A condition cannot be kept.
        """
        made = await self.kernel.agents.sleep(
            agent_id,
            until=until_time,
            seconds=duration_seconds,
            wake_events=wake_events,
            wake_on_mail_priority=wake_on_mail_priority,
            wake_when_load_below=wake_when_load_below,
            reason=reason,
            scope_id=self.scope_id,
        )
        return await self._session(made)

    async def wake_agent(self, agent_id: str, *, reason: str = "by hand") -> AsyncAgentSession:
        """Wake an agent whatever it waits for. Raises `UnknownAgent`, and `InvalidTransition` for one that is stopped."""
        return await self._session(
            await self.kernel.agents.wake(agent_id, reason=reason, scope_id=self.scope_id)
        )

    async def broadcast_event(
        self,
        event: str,
        data: Mapping[str, object] | None = None,
        *,
        priority: Priority | str = Priority.NORMAL,
        sender: str | None = None,
        dedupe_key: str | None = None,
    ) -> int | None:
        """Tell all agents that listen to an event that it has happened; return to how many it was brought, `None` for one that was told before."""
        told = await self.kernel.agent_events.broadcast(
            event,
            data,
            priority=priority,
            sender=sender,
            dedupe_key=dedupe_key,
            scope_id=self.scope_id,
        )
        return told.delivered

    async def get_agent_states(self) -> dict[str, AgentStatus]:
        """Return how all agents of the scope are, by name."""
        return {status.agent_id: status async for status in self.monitor.statuses()}

    async def list(self, *, state: AgentState | str | None = None) -> Sequence[AsyncAgentSession]:
        """Return the sessions of all agents of the scope, or of those in one state, by name."""
        return [
            await self._session(one) async for one in self._residents() if state is None or one.state == state
        ]

    async def restore(self) -> Sequence[AsyncAgentSession]:
        """Start the kernel, which goes on with everything that an earlier process has left, and return the sessions that are there."""
        await self.kernel.start()
        return await self.list()

    async def requeue(self, task_id: str) -> None:
        """Have a dead letter handled again. Raises `UnknownMessage`, `InvalidTransition`."""
        await self.kernel.agents.requeue(task_id, scope_id=self.scope_id)

    async def dead_letters(self, agent_id: str | None = None) -> Sequence[str]:
        """Return the ids of messages whose turns have failed too often, the newest first."""
        found = await self.kernel.agents.messages(
            agent_id, statuses=[MessageStatus.DEAD], scope_id=self.scope_id
        )
        return [message.message_id for message in found]

    async def aclose(self) -> None:
        """Close nothing: agents live in the storage, and their kernel is closed by who has made it."""

    async def __aenter__(self) -> Self:
        await self.kernel.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _session(self, resident: ResidentAgent) -> AsyncAgentSession:
        return await AsyncAgentSession.of(self.kernel, resident)

    def _residents(self) -> AsyncIterator[ResidentAgent]:
        return self.monitor.residents()
