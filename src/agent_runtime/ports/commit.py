"""What happens together: a commit, and everything it may contain.

A `Commit` is the only way to write. It is all or nothing, and it is refused when the writer no longer owns the job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, TypedDict

from agent_runtime.ports.ids import new_commit_id
from agent_runtime.ports.inbox import MessageChange
from agent_runtime.values.action import ActionRecord, ActionStatus, ActionToken
from agent_runtime.values.budget import Charge, LedgerEntry
from agent_runtime.values.capacity import NO_BOUNDS, QueueBounds
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.deaths import Absolution
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord, JobStatus
from agent_runtime.values.message import Address, InboxMessage, Receiver
from agent_runtime.values.opening import Floor, OpeningBalance
from agent_runtime.values.public_data import public_data, public_error, public_name
from agent_runtime.values.standing_budget import Budget
from agent_runtime.values.waits import WaitSet
from llm_client.json_text import JsonObject

_NOTHING: Final[Mapping[str, Any]] = {}


class _NewEvent(NamedTuple):
    type: str
    operation_id: str | None
    data: Mapping[str, Any]
    content: bytes | None


class NewEvent(_NewEvent):
    """An event to append; the storage gives it its place (`seq`). Its data holds no secret, whoever made it."""

    __slots__ = ()

    def __new__(
        cls,
        type: str,  # noqa: A002 -- the column's name
        operation_id: str | None = None,
        data: JsonObject = _NOTHING,
        content: bytes | None = None,
    ) -> NewEvent:
        """Make an event with data that everybody may read."""
        return super().__new__(cls, type, operation_id, public_data(type, data), content)


def placed(event: NewEvent, job_id: str, scope_id: str, seq: int, at: datetime) -> RuntimeEvent:
    """Return an event as it stands in a journal."""
    return RuntimeEvent(
        type=event.type,
        job_id=job_id,
        scope_id=scope_id,
        seq=seq,
        timestamp=at,
        operation_id=event.operation_id,
        data=event.data,
        content=event.content,
    )


class _Signal(NamedTuple):
    signal_id: str
    job_id: str
    type: str
    operation_id: str | None
    data: Mapping[str, Any]
    content: bytes | None


class Signal(_Signal):
    """An event for a job that somebody else may own: its owner appends it to the journal, or the next claim does.

    `signal_id` is unique; sending the same one twice does nothing. Its data holds no secret, whoever made it.
    """

    __slots__ = ()

    def __new__(
        cls,
        signal_id: str,
        job_id: str,
        type: str,  # noqa: A002 -- the column's name
        operation_id: str | None = None,
        data: JsonObject = _NOTHING,
        content: bytes | None = None,
    ) -> Signal:
        """Make a signal with data that everybody may read."""
        return super().__new__(cls, signal_id, job_id, type, operation_id, public_data(type, data), content)

    @property
    def is_failure(self) -> bool:
        """Whether it answers an operation with a failure, which ends a set of waits that needs all of them."""
        if self.type == RuntimeEventType.CHILD_ENDED:
            return self.data.get("status") != JobStatus.SUCCEEDED
        return self.type in (RuntimeEventType.ACTION_EXPIRED, RuntimeEventType.ACTION_CANCELLED)


class Timer(NamedTuple):
    """Something that falls due: at `due_at`, `signal` is sent. One per `(job_id, key)`; setting it again moves it."""

    job_id: str
    key: str
    due_at: datetime
    type: str
    """The signal's event type; `action.expired` also expires the action named in `data`."""
    operation_id: str | None = None
    data: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """New values for some columns of a job's row."""

    status: JobStatus
    expect: frozenset[JobStatus] | None = None
    """Refuse with `InvalidTransition` unless the job's status is one of these."""
    error: str | None = None
    """Why the job has this status; what was said of an earlier one is forgotten."""
    error_code: str | None = None
    result_ref: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    release: bool = False
    """Give the job up: it has no owner afterwards."""
    failed_versions: tuple[str, ...] | None = None
    """All versions of the code under which the job has failed, when there is another one."""
    retry_at: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", public_error(self.error))
        if self.error_code is not None:
            object.__setattr__(self, "error_code", public_name(self.error_code))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionChange:
    """A compare-and-set of a pending action; refused with `ActionAlreadyResolved` when it is no longer pending."""

    action_id: str
    status: ActionStatus
    votes_before: int = 0
    """How many votes the writer has seen; refused when there are more."""
    resolution: Mapping[str, Any] | None = None
    resolved_by: str | None = None
    votes: tuple[Mapping[str, Any], ...] | None = None
    job_id: str | None = None
    """The job that the question moves on to: one that goes on in the place of the job that asked it."""


class StoredPolicy(NamedTuple):
    """One version of a policy, as the values of its file."""

    name: str
    version: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Everything that happens together.

    With `job_id` and `fence` the commit is made by the job's owner and may append `events`. Without a fence it may
    create jobs, actions and timers, send signals and change actions, but never append to an existing journal.
    """

    commit_id: str = field(default_factory=new_commit_id)
    """What a repetition is recognised by, after an answer that was lost."""
    at: datetime
    job_id: str | None = None
    fence: int | None = None
    depth: int = 0
    """The job's depth. Rows are locked by depth and id: who names it waits for others and is never in a deadlock."""
    scope_id: str = DEFAULT_SCOPE
    """The job's scope, for listeners."""
    events: Sequence[NewEvent] = ()
    job: JobChange | None = None
    progress: float | None = None
    absolution: Absolution | None = None
    """What is forgiven with an outcome, of what counts against the job."""
    require_no_signals: bool = False
    """Refuse with `SignalsPending` when signals for the job wait to be drained."""
    create: Sequence[tuple[JobRecord, Sequence[NewEvent]]] = ()
    """New jobs, each with the first events of its journal.

    One with a `predecessor_id` goes on in that job's place and takes its idempotency key over; refused with
    `DuplicateJob` when another one does, with `InvalidTransition` when the job has not ended, be it by this commit.
    """
    queue_bounds: QueueBounds = NO_BOUNDS
    """Refuse with `QueueFull` when, with the jobs of `create`, more would wait for a worker."""
    signals: Sequence[Signal] = ()
    unblock: Sequence[str] = ()
    """Jobs of which it is forgotten under which versions of the code they have failed."""
    cancel_children_of: str | None = None
    """Send a cancel signal to every child of this job that has not ended."""
    new_actions: Sequence[ActionRecord] = ()
    new_tokens: Sequence[ActionToken] = ()
    """Hashes of tokens for actions that are there, or that this commit asks."""
    action_changes: Sequence[ActionChange] = ()
    waits: Sequence[WaitSet] = ()
    """What a job waits for that is given up with this commit: only signals that satisfy one of the sets, or that answer
    no operation, make it due. With none, any signal does."""
    withdraw_actions: Sequence[str] = ()
    """Pending actions, by id, that nobody waits for any more; answered ones stay as they are."""
    cancel_actions_of: str | None = None
    """Cancel this job's pending actions, except those that reconcile a lost effect."""
    set_timers: Sequence[Timer] = ()
    clear_timers: Sequence[tuple[str, str]] = ()
    """(job id, key) pairs."""
    clear_timers_of: str | None = None
    """A job all of whose timers end with it, except those of actions that outlive it."""
    charges: Sequence[Charge] = ()
    ledger: Sequence[LedgerEntry] = ()
    unique_ledger: bool = False
    """Refuse with `AlreadySettled` when one of the ledger entries is there; otherwise an entry that is, stays as it is."""
    take_timers: Sequence[tuple[str, str]] = ()
    """(job id, key) pairs to clear; refused with `AlreadySettled` when one is not there."""
    budgets: Sequence[Budget] = ()
    """Standing budgets to store, each in place of the one with its id."""
    drop_budgets: Sequence[str] = ()
    """Ids of standing budgets to delete. Their counters stay."""
    floors: Sequence[Floor] = ()
    """What counters settle at least; what they have reserved stays as it is."""
    openings: Sequence[OpeningBalance] = ()
    """Counters that settle at least what the ledger has since the window began; what they have reserved stays as it is."""
    policies: Sequence[StoredPolicy] = ()
    """Versions of policies to keep; one that is there is left as it is."""
    messages: Sequence[InboxMessage] = ()
    """Messages to send, each to the next position of its inbox. Refused with `DuplicateMessage` when its key is known."""
    inbox_bound: int | None = None
    """Refuse with `InboxFull` when, with `messages`, more would wait in an inbox."""
    message_changes: Sequence[MessageChange] = ()
    receivers: Sequence[Receiver] = ()
    """Operations that wait for messages from now on."""
    drop_receivers: Sequence[Receiver] = ()
    """Operations that do so no more."""
    require_empty: Sequence[Address] = ()
    """Refuse with `SignalsPending` when a message waits in one of these inboxes."""


class CommitParts(TypedDict, total=False):
    """What may belong to a commit besides its events, for those who write in a job's name: fields of `Commit`."""

    job: JobChange | None
    progress: float | None
    absolution: Absolution | None
    require_no_signals: bool
    create: Sequence[tuple[JobRecord, Sequence[NewEvent]]]
    queue_bounds: QueueBounds
    signals: Sequence[Signal]
    unblock: Sequence[str]
    cancel_children_of: str | None
    new_actions: Sequence[ActionRecord]
    new_tokens: Sequence[ActionToken]
    action_changes: Sequence[ActionChange]
    waits: Sequence[WaitSet]
    withdraw_actions: Sequence[str]
    cancel_actions_of: str | None
    set_timers: Sequence[Timer]
    clear_timers: Sequence[tuple[str, str]]
    clear_timers_of: str | None
    charges: Sequence[Charge]
    ledger: Sequence[LedgerEntry]
    unique_ledger: bool
    take_timers: Sequence[tuple[str, str]]
    budgets: Sequence[Budget]
    drop_budgets: Sequence[str]
    floors: Sequence[Floor]
    openings: Sequence[OpeningBalance]
    policies: Sequence[StoredPolicy]
    messages: Sequence[InboxMessage]
    inbox_bound: int | None
    message_changes: Sequence[MessageChange]
    receivers: Sequence[Receiver]
    drop_receivers: Sequence[Receiver]
    require_empty: Sequence[Address]


class CommitFields(CommitParts, total=False):
    """All fields of a `Commit` besides its id and its time, for those who commit from outside of a job's run."""

    job_id: str | None
    fence: int | None
    depth: int
    scope_id: str
    events: Sequence[NewEvent]
