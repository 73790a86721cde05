"""`AsyncAgentSession`: a resident agent as it was when somebody looked, and its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from agent_runtime.errors import RunError
from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.ports.agents import AgentMessage, AgentState, MessageStatus, Priority
from agent_runtime.residents.channels import Channel
from agent_runtime.residents.manager import session_of
from agent_runtime.residents.resident import ResidentAgent
from agent_runtime.residents.turn import operator_of
from agent_runtime.values.content import decode
from agent_runtime.values.job import JobFilter, JobStatus
from llm_client.turns import aside

if TYPE_CHECKING:
    from llm_client.agent.agent import Agent
    from llm_client.engine.engine import ExecutionEngine

LOOK_SECONDS: Final = 1.0
"""How often somebody who waits for a task looks whether it is over, where the history tells nothing: of one that expires, for example."""
MAX_SHOWN: Final = 1000
"""Tasks of one agent that are shown as waiting."""
_ACTIVE: Final = frozenset(status for status in JobStatus if status.is_active)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """What has become of a task that was done."""

    task_id: str
    content: str
    """The answer: what was said in the channel `final`."""
    channels: Sequence[Mapping[str, str]] = ()
    """All that was said, in order: `channel` is `analysis`, `commentary` or `final`, `text` what was said in it."""
    continuations: int = 0
    """How often the agent has gone on after an answer."""
    job_id: str | None = None
    """The job of its turn."""

    def said_in(self, channel: Channel | str) -> str:
        """Return what was said in a channel, with an empty line between its parts."""
        return "\n\n".join(one["text"] for one in self.channels if one["channel"] == channel)

    @classmethod
    def of(cls, message: AgentMessage) -> TaskResult:
        """Return the result of a message that is done."""
        told: Mapping[str, Any] = {} if message.result is None else decode(message.result)
        return cls(
            task_id=message.message_id,
            content=str(told.get("content", "")),
            channels=tuple(told.get("channels", ())),
            continuations=int(told.get("continuations", 0)),
            job_id=message.job_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncAgentSession:
    """A resident agent, as it was when it was looked at; `refreshed` looks again. Everything that changes it goes through the manager."""

    session_id: str
    """The session that all its turns belong to, in logs, budgets and bills."""
    resident: ResidentAgent
    """All there is to know of it."""
    task_queue: Sequence[AgentMessage]
    """What waits for it, the oldest first; of very many the newest thousand."""
    background_task: ExecutionHandle | None
    """The job of the turn that has begun last, while it goes on."""
    kernel: Kernel = field(repr=False)

    @property
    def agent_id(self) -> str:
        """The agent's name."""
        return self.resident.agent_id

    @property
    def state(self) -> AgentState:
        """What it does."""
        return self.resident.state

    @property
    def wake_events(self) -> frozenset[str]:
        """Types of events that wake it."""
        return frozenset(self.resident.wake_events)

    @property
    def sleep_until(self) -> datetime | None:
        """When it wakes at the latest."""
        return self.resident.sleep_until

    @property
    def agent(self) -> Agent | None:
        """What runs its turns; `None` where this process does not know what it is made of."""
        operators, name = self.kernel.operators, operator_of(self.resident.definition)
        if name not in operators:
            return None
        return cast("Agent | None", getattr(operators.get(name), "agent", None))

    @property
    def ai_loop(self) -> ExecutionEngine | None:
        """What sends its requests to models."""
        return None if self.agent is None else self.agent.engine

    @classmethod
    async def of(cls, kernel: Kernel, resident: ResidentAgent) -> AsyncAgentSession:
        """Look at what waits for an agent, and at what it does."""
        waiting = await kernel.agents.messages(
            resident.agent_id,
            statuses=[MessageStatus.WAITING],
            limit=MAX_SHOWN,
            scope_id=resident.scope_id,
        )
        session_id, job = session_of(resident.agent_id), None
        if resident.running:
            wanted = JobFilter(scope_id=resident.scope_id, session_id=session_id, status=_ACTIVE, limit=1)
            job = next(iter(await kernel.jobs.list(wanted)), None)
        handle = None if job is None else kernel.handle(job.job_id, scope_id=resident.scope_id)
        return cls(
            session_id=session_id,
            resident=resident,
            task_queue=tuple(reversed(waiting)),
            background_task=handle,
            kernel=kernel,
        )

    async def refreshed(self) -> AsyncAgentSession:
        """Return the session as it is now. Raises `UnknownAgent` when the agent was removed."""
        found = await self.kernel.agents.get(self.agent_id, scope_id=self.resident.scope_id)
        return await AsyncAgentSession.of(self.kernel, found)

    async def process_task_async(
        self,
        task: str,
        *,
        data: object = None,
        priority: Priority | str = Priority.NORMAL,
        dedupe_key: str | None = None,
        sender: str | None = None,
        timeout: float | None = None,
    ) -> TaskResult:
        """Give the agent something to do, and return what has come of it. The task is done, whether or not somebody waits for it.

        Args:
            task: What to do.
            data: JSON values that belong to it.
            priority: How much it matters.
            dedupe_key: A second task with the same key is not begun: its result is that of the first.
            sender: Who asks.
            timeout: Seconds to wait; the task goes on after that.

        Raises:
            RunError: It was not done: its turns have failed too often, or it was cancelled.
            InboxFull: Too many messages wait for the agent.
            TimeoutError: It has not ended in time.
        """
        agents, scope = self.kernel.agents, self.resident.scope_id
        after = await self.kernel.agent_events.last_seq(scope_id=scope)
        sent = await agents.send_task(
            self.agent_id,
            task,
            data=data,
            priority=priority,
            dedupe_key=dedupe_key,
            sender=sender,
            scope_id=scope,
        )
        async with asyncio.timeout(timeout):
            while True:
                message = await agents.get_message(sent.message_id, scope_id=scope)
                if message.status is MessageStatus.DONE:
                    return await aside(TaskResult.of, message)
                if not message.status.is_open:
                    raise RunError(message.error or f"the task is {message.status}")
                after = await self._news(sent.message_id, after)

    async def _news(self, message_id: str, after: int) -> int:
        """Wait until the history tells something of a message, for a while; return up to where it was read."""
        follow = self.kernel.agent_events.follow(after=after, scope_id=self.resident.scope_id)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                async for event in follow:
                    after = event.seq
                    if event.data.get("message_id") == message_id:
                        break
        except TimeoutError:
            pass
        finally:
            await follow.aclose()
        return after
