"""What schedules start: jobs and messages, as they are stored, and as they are started."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final

from agent_runtime.errors import InvalidInput, UnknownJob, UnknownMessage
from agent_runtime.inbox.manager import InboxManager
from agent_runtime.jobs.manager import JobManager
from agent_runtime.kernel.request import ExecutionRequest
from agent_runtime.ports.agents import MessageKind
from agent_runtime.ports.readers import JobReader
from agent_runtime.ports.schedules import StoredSchedule
from agent_runtime.residents.manager import AgentManager, check_task
from agent_runtime.residents.settings import as_priority
from agent_runtime.values.content import content_aside, decode, encode
from agent_runtime.values.context import BudgetSpec, PolicyRef, RunVersions
from agent_runtime.values.message import MAX_MESSAGE_BYTES, check_identity
from agent_runtime.values.retry_policy import RetryPolicy

_OF_ONE: Final = {
    "idempotency_key": "the key is the schedule's, one for each due time",
    "retry_failed": "a due time starts its job once",
    "traceparent": "each due time begins a trace of its own",
}
"""What a request may say that is started once, and one that is started often may not."""
_FOLDED: Final = ("prompt", "messages")
"""They are a part of the input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledMessage:
    """A message that a schedule sends: whoever receives under `identity` is told that it is time."""

    identity: str
    body: Any = None
    """JSON values, up to 256 KiB."""

    def __post_init__(self) -> None:
        check_identity("identity", self.identity)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledTask:
    """A task that a schedule gives to a resident agent; it wakes one that sleeps."""

    agent_id: str
    task: str
    """What to do."""
    data: Any = None
    """JSON values that belong to it; with the task up to 256 KiB."""
    priority: str = "normal"

    def __post_init__(self) -> None:
        check_identity("agent_id", self.agent_id)
        check_task(self.task)
        as_priority("priority", self.priority)


Started = ExecutionRequest | ScheduledMessage | ScheduledTask
"""What a schedule starts."""


def dump_started(given: Started) -> bytes:
    """Return what a schedule starts as JSON.

    Raises:
        InvalidInput: It is neither a request nor a message, or a request that can be started only once.
        ResultNotSerializable: Its input is not made of JSON values.
        ContentTooLarge: It is too large.
    """
    if isinstance(given, ScheduledMessage):
        encode(given.body, limit=MAX_MESSAGE_BYTES)
        return encode({"message": {"identity": given.identity, "body": given.body}})
    if isinstance(given, ScheduledTask):
        encode(asdict(given), limit=MAX_MESSAGE_BYTES)
        return encode({"task": asdict(given)})
    if not isinstance(given, ExecutionRequest):
        raise InvalidInput("a schedule starts an ExecutionRequest, a ScheduledMessage or a ScheduledTask")
    for name, why in _OF_ONE.items():
        if getattr(given, name):
            raise InvalidInput(f"{name} is not for schedules: {why}")
    said = {
        field.name: _plain(getattr(given, field.name))
        for field in fields(given)
        if field.name not in (*_OF_ONE, *_FOLDED)
    }
    return encode({"job": {**said, "input": given.job_input()}})


def load_started(content: bytes) -> Started:
    """Build what a schedule starts from what `dump_started` gave."""
    told = decode(content)
    if "message" in told:
        return ScheduledMessage(**told["message"])
    if "task" in told:
        return ScheduledTask(**told["task"])
    values = dict(told["job"])
    for name, build in _BUILDERS.items():
        if values.get(name) is not None:
            values[name] = build(values[name])
    return ExecutionRequest(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, BudgetSpec | RetryPolicy):
        return value.to_dict()
    if isinstance(value, PolicyRef | RunVersions):
        return asdict(value)
    return dict(value) if isinstance(value, Mapping) else value


_BUILDERS: Final[Mapping[str, Callable[[dict[str, Any]], object]]] = {
    "budgets": BudgetSpec.from_dict,
    "retry": RetryPolicy.from_dict,
    "policy_ref": lambda told: PolicyRef(**told),
    "versions": lambda told: RunVersions(**told),
}


class KernelStarter:
    """Starts what schedules start: with a key for each due time, so that nothing is started twice.

    Args:
        storage: Where jobs are found by their keys.
        jobs: All there are.
        inbox: Sends messages.
        agents: Gives tasks to resident agents.
        execute: Accepts a job, and returns its id.
    """

    def __init__(
        self,
        storage: JobReader,
        *,
        jobs: JobManager,
        inbox: InboxManager,
        agents: AgentManager,
        execute: Callable[[ExecutionRequest], Awaitable[str]],
    ) -> None:
        self._storage = storage
        self._jobs = jobs
        self._inbox = inbox
        self._agents = agents
        self._execute = execute

    async def started(self, schedule: StoredSchedule, due_at: datetime) -> str | None:
        """Return the job that was started for a due time, or `None`. Messages are not looked for: to send one again sends nothing."""
        job = await self._storage.find_job(schedule.scope_id, key_of(schedule.schedule_id, due_at))
        return None if job is None else job.job_id

    async def start(self, schedule: StoredSchedule, due_at: datetime) -> str:
        """Start a job or send a message, and return its id. What was started before for the due time is returned again.

        Raises:
            AgentRuntimeError: It is refused; nothing was started.
        """
        key, started = key_of(schedule.schedule_id, due_at), await _loaded(schedule)
        if isinstance(started, ScheduledMessage):
            sent = await self._inbox.send(
                started.identity, started.body, dedupe_key=key, scope_id=schedule.scope_id
            )
            return sent.message_id
        if isinstance(started, ScheduledTask):
            posted = await self._agents.post(
                started.agent_id,
                {"task": started.task, "data": started.data, "due_at": _text(due_at)},
                kind=MessageKind.TIMER,
                name=schedule.schedule_id,
                priority=started.priority,
                dedupe_key=key,
                scope_id=schedule.scope_id,
            )
            return posted.message_id
        told = {"schedule_id": schedule.schedule_id, "due_at": _text(due_at)}
        request = replace(
            started,
            idempotency_key=key,
            session_id=started.session_id or f"schedule:{schedule.schedule_id}",
            metadata={**started.metadata, **told},
        )
        return await self._execute(request)

    async def goes_on(self, schedule: StoredSchedule) -> bool:
        """Whether what a schedule has started last goes on: a job, or those that go on in its place, or a message that waits."""
        if schedule.last_id is None:
            return False
        try:
            started = await _loaded(schedule)
            if isinstance(started, ScheduledTask):
                task = await self._agents.get_message(schedule.last_id, scope_id=schedule.scope_id)
                return task.status.is_open
            if isinstance(started, ScheduledMessage):
                message = await self._inbox.get(schedule.last_id, scope_id=schedule.scope_id)
                return message.claimed_by is None
            job = await self._jobs.head(schedule.last_id, scope_id=schedule.scope_id)
        except (UnknownJob, UnknownMessage):  # pruned, or the schedule started messages before
            return False
        return not job.status.is_terminal


async def _loaded(schedule: StoredSchedule) -> Started:
    """Return what a schedule starts, read aside where it is long."""
    return await content_aside(schedule.content, lambda: load_started(schedule.content))


def key_of(schedule_id: str, due_at: datetime) -> str:
    """Return the key under which a due time of a schedule starts something."""
    return f"schedule:{schedule_id}:{_text(due_at)}"


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
