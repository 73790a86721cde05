"""Events: the entries of a job's journal, and what readers see of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from agent_runtime.values.content import decode
from agent_runtime.values.context import DEFAULT_SCOPE

JOURNAL_FORMAT: Final = 1
"""The form of the journals that are begun now; `job.created` carries it, and forms up to it can be read."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RuntimeEventType(StrEnum):
    """The types the runtime writes. Applications add their own under `custom.`."""

    JOB_CREATED = "job.created"
    JOB_STARTED = "job.started"
    JOB_PROGRESS = "job.progress"
    JOB_SUSPENDED = "job.suspended"
    JOB_RESUMED = "job.resumed"
    JOB_BLOCKED = "job.blocked"
    JOB_RETRIED = "job.retried"
    JOB_RETRY_REQUESTED = "job.retry_requested"
    JOB_CANCEL_REQUESTED = "job.cancel_requested"
    JOB_DEADLINE_REACHED = "job.deadline_reached"
    JOB_RUNTIME_EXCEEDED = "job.runtime_exceeded"
    JOB_WARNING = "job.warning"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    JOB_TIMED_OUT = "job.timed_out"
    MODEL_STARTED = "model.started"
    MODEL_TOKEN = "model.token"  # noqa: S105 -- an event type, not a password
    MODEL_ATTEMPT_FAILED = "model.attempt_failed"
    MODEL_COMPLETED = "model.completed"
    MODEL_FAILED = "model.failed"
    MODEL_LEFT = "model.left"
    TOOL_STARTED = "tool.started"
    TOOL_BLOCKED = "tool.blocked"
    TOOL_RESUMED = "tool.resumed"
    TOOL_COMPLETED = "tool.completed"
    TOOL_FAILED = "tool.failed"
    TOOL_UNKNOWN = "tool.unknown"
    TOOL_PINNED = "tool.pinned"
    STEP_STARTED = "step.started"
    STEP_BLOCKED = "step.blocked"
    STEP_RESUMED = "step.resumed"
    STEP_COMPLETED = "step.completed"
    STEP_FAILED = "step.failed"
    STEP_UNKNOWN = "step.unknown"
    BRANCH_LEFT = "branch.left"
    RETRY_REPEATS = "retry.repeats"
    VALUE_RECORDED = "value.recorded"
    TIMER_SET = "timer.set"
    TIMER_FIRED = "timer.fired"
    TIMEOUT_STARTED = "timeout.started"
    TIMEOUT_DUE = "timeout.due"
    TIMEOUT_EXPIRED = "timeout.expired"
    TIMEOUT_LEFT = "timeout.left"
    BRANCH_OPENED = "branch.opened"
    BRANCH_FAILED = "branch.failed"
    BRANCH_CANCELLED = "branch.cancelled"
    WAIT_WITHDRAWN = "wait.withdrawn"
    CHILD_STARTED = "child.started"
    CHILD_ENDED = "child.ended"
    ACTION_REQUIRED = "action.required"
    ACTION_RESOLVED = "action.resolved"
    ACTION_EXPIRED = "action.expired"
    ACTION_CANCELLED = "action.cancelled"
    MESSAGE_AWAITED = "message.awaited"
    MESSAGE_RECEIVED = "message.received"
    POLICY_DECIDED = "policy.decided"
    BUDGET_WARNED = "budget.warned"
    BUDGET_DEGRADED = "budget.degraded"
    BUDGET_DENIED = "budget.denied"
    BUDGET_OVERRUN = "budget.overrun"
    ARTIFACT_CREATED = "artifact.created"


STOP_REQUESTS = frozenset(
    {
        RuntimeEventType.JOB_CANCEL_REQUESTED,
        RuntimeEventType.JOB_DEADLINE_REACHED,
        RuntimeEventType.JOB_RUNTIME_EXCEEDED,
    }
)
"""After these a job does nothing but clean up and end."""

TERMINAL_TYPES = frozenset(
    {
        RuntimeEventType.JOB_SUCCEEDED,
        RuntimeEventType.JOB_FAILED,
        RuntimeEventType.JOB_CANCELLED,
        RuntimeEventType.JOB_TIMED_OUT,
    }
)
"""Exactly one event of these types ends every job's journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeEvent:
    """One journal entry, or a live event that is not stored (`seq` is `None`).

    `data` is small and public: names, counts, hashes, cost. `content` is private: messages, arguments, results,
    as JSON bytes that `body()` decodes.
    """

    type: str
    job_id: str | None = None
    scope_id: str = DEFAULT_SCOPE
    seq: int | None = None
    """Place in the job's journal, from 1; the cursor of every reader."""
    timestamp: datetime = EPOCH
    operation_id: str | None = None
    """The step this event belongs to."""
    data: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    event_id: str = ""

    def __post_init__(self) -> None:
        if not self.event_id and self.seq is not None:
            object.__setattr__(self, "event_id", f"{self.job_id}:{self.seq}")

    @property
    def is_stop(self) -> bool:
        """Whether the job has ended with this event, or goes on only when somebody acts."""
        return self.type in TERMINAL_TYPES or self.type == RuntimeEventType.JOB_BLOCKED

    @property
    def is_terminal(self) -> bool:
        """Whether this event ends its job."""
        return self.type in TERMINAL_TYPES

    def body(self) -> Any:
        """Return the private content as JSON values, `None` when there is none."""
        return decode(self.content) if self.content is not None else None
