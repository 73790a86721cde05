"""The port: what commands need of whatever holds the jobs. There are two implementations, a database and a service."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypedDict, Unpack

from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.api_key import ApiKey, Role
from agent_runtime.values.budget import LedgerEntry, LedgerFilter
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus
from agent_runtime.values.standing_budget import Budget, BudgetStatus
from llm_client.json_text import JsonValue

if TYPE_CHECKING:
    from agent_runtime.client.schedule_models import Fire, Schedule
    from agent_runtime.kernel.request import ExecutionRequest, ExecutionResult
    from agent_runtime.ledger.totals import UsageTotal


class StandingJob(NamedTuple):
    """A job, and its status, or that nobody works on it any more."""

    job: JobRecord
    standing: str


class Stopped(NamedTuple):
    """What has become of a job that was to stop."""

    job_id: str
    status: JobStatus | None
    """`None` where it has not ended yet."""


class Sent(NamedTuple):
    """A message that was sent."""

    message_id: str
    position: int
    waiting: int
    """Messages that wait for the identity now."""


class Rotated(NamedTuple):
    """A key that was made in the place of another one."""

    key: ApiKey
    text: str
    ends_at: datetime | None
    """When the other one holds no more."""


class Followed(Protocol):
    """A job that is followed to its end."""

    async def get_pending_actions(self) -> Sequence[ActionRecord]:
        """Return the questions that it waits for."""
        ...

    def events(self, after_seq: int = 0) -> AsyncGenerator[RuntimeEvent, None]:
        """Yield its events after one that is known, and what comes, until it has ended."""
        ...

    async def check_blocked(self) -> None:
        """Raise `JobBlocked` where it cannot go on by itself."""
        ...


class Questions(Protocol):
    """Questions that are shown and answered one by one."""

    async def get(self, action_id: str) -> ActionRecord:
        """Return a question. Raises `UnknownAction`."""
        ...

    async def resolve_by_id(
        self, action_id: str, resolution: Mapping[str, JsonValue], *, resolved_by: str | None = None
    ) -> ActionRecord:
        """Answer a question. Raises `ActionAlreadyResolved`, and `InvalidInput` for what is no answer, or not from this one."""
        ...


class Actions(Questions, Protocol):
    """Questions to people."""

    async def list(
        self,
        *,
        job_id: str | None = None,
        scope_id: str | None = None,
        status: ActionStatus | None = ActionStatus.PENDING,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[ActionRecord]:
        """Return questions, the newest first."""
        ...


class Jobs(Protocol):
    """Jobs, as they are looked at and told what to do."""

    async def list(self, wanted: JobFilter) -> Sequence[StandingJob]:
        """Return jobs, the newest first."""
        ...

    async def get(self, job_id: str) -> StandingJob:
        """Return a job. Raises `UnknownJob`."""
        ...

    async def journal(self, job_id: str) -> Sequence[RuntimeEvent]:
        """Return all that its journal has by now, with the content."""
        ...

    async def submit(self, request: ExecutionRequest, *, scope_id: str | None) -> JobRecord:
        """Store a job, and return it; without a scope, in that of whoever asks."""
        ...

    async def stop(self, job_id: str, reason: str | None) -> Stopped:
        """Have a job end, or the one that goes on in its place, and wait for that for a while.

        Raises:
            InvalidTransition: It has ended before.
        """
        ...

    async def retry(self, job_id: str, *, from_step: str | None, new_keys: bool) -> str:
        """Have another job go on in the place of one, and return its id."""
        ...

    async def unblock(self, job_id: str) -> JobRecord:
        """Have a blocked job tried again."""
        ...

    async def result(self, job_id: str) -> tuple[ExecutionResult, UsageTotal]:
        """Return what a job gave, or the one that goes on in its place, and what that has cost.

        Raises:
            InvalidTransition: It has not ended.
            AgentRuntimeError: It did not succeed; see `handle.result()`.
        """
        ...


class Budgets(Protocol):
    """The stored budgets."""

    async def list(self) -> Sequence[Budget]:
        """Return all of them."""
        ...

    async def statuses(self, *, scope_id: str | None, principal_id: str | None) -> Sequence[BudgetStatus]:
        """Return where each stands for those who are named."""
        ...

    async def change(self, *, save: Sequence[Budget], delete: Sequence[str]) -> None:
        """Store some and delete others: all of it or nothing."""
        ...


class Schedules(Protocol):
    """What is started by cron, by interval or once; a scope that is not given is that of whoever asks, or of a list all of them."""

    async def list(self, *, scope_id: str | None, limit: int) -> Sequence[Schedule]:
        """Return schedules by scope and name."""
        ...

    async def get(self, schedule_id: str, *, scope_id: str | None, upcoming: int) -> Schedule:
        """Return a schedule with what it starts, and its next due times. Raises `UnknownSchedule`."""
        ...

    async def fires(self, schedule_id: str, *, scope_id: str | None, limit: int) -> Sequence[Fire]:
        """Return what became of a schedule's times, the newest first. Raises `UnknownSchedule`."""
        ...

    async def pause(self, schedule_id: str, *, scope_id: str | None) -> Schedule:
        """Let a schedule fire no more. Raises `UnknownSchedule`."""
        ...

    async def resume(self, schedule_id: str, *, scope_id: str | None) -> Schedule:
        """Let a schedule fire again. Raises `UnknownSchedule`."""
        ...

    async def pause_all(self, *, scope_id: str | None) -> int:
        """Pause all; return how many were not paused."""
        ...

    async def resume_all(self, *, scope_id: str | None) -> int:
        """Resume all; return how many were paused."""
        ...

    async def remove(self, schedule_id: str, *, scope_id: str | None) -> None:
        """Remove a schedule. Raises `UnknownSchedule`."""
        ...


class Keys(Protocol):
    """API keys."""

    async def list(self, *, scope_id: str | None, after: str | None, limit: int) -> Sequence[ApiKey]:
        """Return keys in the order in which they were made."""
        ...

    async def create(
        self,
        *,
        name: str,
        role: Role,
        scope_id: str | None,
        principal_id: str | None,
        expires_in: timedelta | None,
        by: str | None,
    ) -> tuple[ApiKey, str]:
        """Make a key, and return it with its text."""
        ...

    async def rotate(
        self, key_id: str, *, overlap: timedelta, scope_id: str | None, by: str | None
    ) -> Rotated:
        """Make a key in the place of another one."""
        ...

    async def revoke(self, key_id: str, *, scope_id: str | None, by: str | None) -> ApiKey:
        """Let a key hold no more."""
        ...

    async def now(self) -> datetime:
        """Return the time by which keys expire."""
        ...


class LogPeriod(TypedDict, total=False):
    """Which logs are added up."""

    scope_id: str | None
    report_id: str | None
    start_date: datetime | None
    end_date: datetime | None


class Logs(Protocol):
    """What agents did and models were asked."""

    async def summary(self, **period: Unpack[LogPeriod]) -> Mapping[str, Any]:
        """Return what a period adds up to."""
        ...

    async def delete(self, execution_id: str, *, scope_id: str | None) -> tuple[int, int]:
        """Delete the rows of an execution, and return how many there were, and of its calls. Raises `UnknownExecution`."""
        ...


class Backend(Protocol):
    """What commands work on."""

    @property
    def logs(self) -> Logs:
        """What agents did and models were asked."""
        ...

    @property
    def jobs(self) -> Jobs:
        """Jobs."""
        ...

    @property
    def actions(self) -> Actions:
        """Questions to people."""
        ...

    @property
    def budgets(self) -> Budgets:
        """The stored budgets."""
        ...

    @property
    def schedules(self) -> Schedules:
        """What is started by cron, by interval or once."""
        ...

    @property
    def keys(self) -> Keys:
        """API keys."""
        ...

    async def knows(self, operator: str | None) -> bool:
        """Whether a worker knows an operator."""
        ...

    async def executes(self) -> bool:
        """Whether anybody executes jobs now."""
        ...

    async def send(
        self, to: str, message: JsonValue, *, dedupe_key: str | None, scope_id: str | None
    ) -> Sent:
        """Send a message to an identity."""
        ...

    def spending(self, wanted: LedgerFilter) -> AsyncGenerator[LedgerEntry, None]:
        """Yield entries of the ledger in the order in which they were written."""
        ...
