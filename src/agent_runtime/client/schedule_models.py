"""Schedules as they are sent and answered."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import AwareDatetime, Field

from agent_runtime.client.model_bounds import Sent, brief, for_example
from agent_runtime.client.models import Answered, JobRequest, Json
from agent_runtime.ports.schedules import FireOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_runtime.kernel.schedules import Schedule as KeptSchedule
    from agent_runtime.ports.schedules import Fire as KeptFire


class ScheduleTiming(Sent):
    """When a schedule is due: exactly one of `cron`, `every` and `at`."""

    cron: str | None = Field(
        default=None,
        max_length=1000,
        description="Five fields, as Debian's cron reads them, or `@daily` and the like.",
    )
    every: float | None = Field(default=None, description="Seconds, counted from `anchor`.")
    at: AwareDatetime | None = Field(default=None, description="The only due time.")
    timezone: str = Field(default="UTC", description="In which `cron` is read, such as `Europe/Berlin`.")
    anchor: AwareDatetime | None = Field(
        default=None, description="The first due time of an interval; the beginning of 1970 by default."
    )


class ScheduleRules(Sent):
    """What becomes of due times that are seen late, or come too soon."""

    catch_up: Literal["none", "last", "all"] = "last"
    window: float = Field(
        default=3600.0, description="Seconds after which a due time is not caught up any more."
    )
    cap: int = Field(default=100, description="Due times that `all` fires at once.")
    grace: float = Field(default=60.0, description="Seconds by which one may be late and is on time.")
    overlap: Literal["skip", "queue", "parallel"] = Field(
        default="skip", description="While what was started last goes on."
    )
    max_per_day: int | None = Field(
        default=None, description="How often it may fire in a day of its time zone."
    )


class ScheduledJob(JobRequest):
    """A job that a schedule starts, under an idempotency key for each due time."""


class ScheduledMessage(Sent):
    """A message that a schedule sends."""

    to: str = Field(description="The identity.")
    message: Json = None


class ScheduledTask(Sent):
    """A task that a schedule gives to a resident agent."""

    agent_id: str
    task: str = Field(description="What to do.")
    data: Json = None
    priority: str = Field(default="normal", description="low, normal, high or urgent.")


class NewSchedule(Sent):
    """A schedule: when it is due, and the `job` that it starts, the `message` that it sends or the `task` that it gives to an agent."""

    model_config = for_example(
        timing={"cron": "*/15 7-19 * * MON-FRI", "timezone": "Europe/Berlin"},
        rules={"overlap": "skip", "max_per_day": 40},
        job={"operator": "sweep"},
    )

    timing: ScheduleTiming
    rules: ScheduleRules = Field(default_factory=ScheduleRules)
    check: str | None = Field(
        default=None, description="Name of a function of the application that is asked before it fires."
    )
    job: ScheduledJob | None = None
    message: ScheduledMessage | None = None
    task: ScheduledTask | None = None


class Schedule(Answered):
    """A schedule, and where it stands."""

    schedule_id: str
    scope_id: str
    timing: dict[str, Json] = Field(description="As it was put, with its times in UTC.")
    rules: dict[str, Json] = Field(description="Those that are not as by default.")
    check: str | None
    starts: Literal["job", "message", "task"]
    to: str | None = Field(description="Of a message: the identity.")
    operator: str | None = Field(description="Of a job, as all that follows; null is the default agent.")
    principal_id: str | None
    session_id: str | None
    run_id: str | None
    identity: str | None
    queue: str | None
    priority: int | None
    deadline_seconds: float | None
    budgets: dict[str, Json] | None
    metadata: dict[str, Json]
    tags: dict[str, str]
    content: Json = Field(
        default=None, description="The job's input or what is sent; only where it is asked for."
    )
    next_due: datetime | None = Field(
        description="Null when it is never due again; while it is paused, it does not fire then."
    )
    upcoming: list[datetime] | None = Field(
        default=None, description="When it is due next; of one schedule alone."
    )
    last_id: str | None = Field(description="The job or message that it has started last.")
    paused_at: datetime | None
    created_at: datetime
    created_by: str | None
    updated_at: datetime
    left_out: list[str] | None = Field(
        default=None,
        description="Fields that are empty in a list because they are long: ask for the schedule.",
    )

    @classmethod
    def of(
        cls, schedule: KeptSchedule, upcoming: Sequence[datetime] | None = None, *, content: bool = False
    ) -> Self:
        """Return what is told of a schedule."""
        own = _of_schedule(schedule, content=content)
        return cls(**own, upcoming=None if upcoming is None else list(upcoming))

    @classmethod
    def in_list(cls, schedule: KeptSchedule, *, content: bool = False) -> Self:
        """Return what is told of a schedule in a list."""
        empty: dict[str, Any] = {"content": None, "metadata": {}, "tags": {}, "timing": {}}
        return cls(**brief(_of_schedule(schedule, content=content), empty))


def _of_schedule(schedule: KeptSchedule, *, content: bool) -> dict[str, Any]:
    from agent_runtime.kernel.scheduled import ScheduledMessage as KeptMessage
    from agent_runtime.kernel.scheduled import ScheduledTask as KeptTask

    starts = schedule.starts
    names = ("schedule_id", "scope_id", "check", "next_due", "last_id", "paused_at", "created_at")
    own = {name: getattr(schedule, name) for name in (*names, "created_by", "updated_at")}
    own["timing"], own["rules"] = schedule.timing.to_json(), schedule.rules.to_json()
    of_jobs = ("operator", "principal_id", "session_id", "run_id", "identity", "queue", "priority")
    if isinstance(starts, KeptMessage):
        own |= dict.fromkeys((*of_jobs, "deadline_seconds", "budgets"))
        own |= {"starts": "message", "to": starts.identity, "metadata": {}, "tags": {}}
        own["content"] = starts.body if content else None
        return own
    if isinstance(starts, KeptTask):
        own |= dict.fromkeys((*of_jobs, "deadline_seconds", "budgets"))
        own |= {"starts": "task", "to": starts.agent_id, "metadata": {}, "tags": {}}
        own["content"] = {"task": starts.task, "data": starts.data} if content else None
        return own
    own |= {name: getattr(starts, name) for name in (*of_jobs, "deadline_seconds")}
    own["budgets"] = None if starts.budgets is None else dict(starts.budgets.to_dict())
    own |= {"starts": "job", "to": None, "metadata": dict(starts.metadata), "tags": dict(starts.tags)}
    own["content"] = starts.job_input() if content else None
    return own


class Fire(Answered):
    """What became of a time at which a schedule was due, or of a run of such times."""

    schedule_id: str
    scope_id: str
    due_at: datetime = Field(description="The first of them.")
    last_due_at: datetime = Field(description="The last of them.")
    count: int
    outcome: FireOutcome
    reason: str | None
    decided_at: datetime | None
    started_id: str | None = Field(description="The job or message that it has brought about.")

    @classmethod
    def of(cls, fire: KeptFire) -> Self:
        """Return what is told of a due time."""
        return cls.model_validate(fire)


class ChangedSchedules(Answered):
    """How many schedules were paused, or resumed."""

    changed: int
