"""The journal: the one write path, and what is read from it.

A `Commit` is the only way to write. It is all or nothing, and it is refused when the writer no longer owns the job.
Everything else in this project – resuming, live streams, audit, replay, billing – is a reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, Protocol

from agent_runtime.ports.clock import Clock
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.ports.inbox import InboxReader, MessageChange
from agent_runtime.ports.retention import Retention
from agent_runtime.values.ability import Ability
from agent_runtime.values.action import ActionRecord, ActionStatus, ActionToken
from agent_runtime.values.budget import Charge, Counters, LedgerEntry, LedgerFilter
from agent_runtime.values.capacity import NO_BOUNDS, NO_CAPS, QueueBounds, ScopeCaps
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.deaths import Absolution
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus
from agent_runtime.values.message import Address, InboxMessage, Receiver
from agent_runtime.values.opening import Floor, Opening, SpentBy
from agent_runtime.values.public_data import public_data, public_error, public_name
from agent_runtime.values.standing_budget import Budget
from agent_runtime.values.waits import WaitSet

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
        data: Mapping[str, Any] = _NOTHING,
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
        data: Mapping[str, Any] = _NOTHING,
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
    """Refuse with `SignalsPending` when signals for the job wait to be folded."""
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
    openings: Sequence[Opening] = ()
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job that is now ours to execute."""

    job: JobRecord
    events: Sequence[RuntimeEvent]
    """Its whole journal, signals that had waited already folded in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A process that executes jobs."""

    worker_id: str
    queues: tuple[str, ...] = ("default",)
    operators: tuple[str, ...] = ()
    started_at: datetime
    heartbeat_at: datetime
    info: Mapping[str, Any] = field(default_factory=dict)
    """What people may want to know. `timeout` counts: so many seconds without a sign of life the worker has at least."""


ChangeKind = Literal["created", "woken", "grown", "ended", "timer"]


class DueJob(NamedTuple):
    """A job that could be executed now."""

    job_id: str
    priority: int
    scope_id: str


class ForeignChange(NamedTuple):
    """What another process has done to a job."""

    kind: ChangeKind
    """`woken`: a signal or a message waits for it; `grown`: its journal has new entries; `ended`: or is blocked; `timer`: one was set."""
    job_id: str


class Listener(Protocol):
    """Is told, on the event loop, of what has been written. Must be quick and must not raise."""

    def committed(self, commit: Commit, first_seq: int) -> None:
        """Learn of a commit made through this storage object; `first_seq` is the place of its first event."""
        ...

    def folded(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        """Learn of entries that a claim or a fold has added to a journal."""
        ...

    def mailed(self, job_ids: Sequence[str]) -> None:
        """Learn of jobs for which a commit made through this storage object has left messages, in memory or suspended."""
        ...

    def changed_elsewhere(self, changes: Sequence[ForeignChange] | None = None) -> None:
        """Learn that another process has written something; without `changes`, anything may have happened."""
        ...


class Journal(Protocol):
    """The write path, and reading a job's entries.

    Implementations: memory, SQLite, Postgres; all pass `agent_runtime.testing.storage_contract`.
    """

    async def commit(self, commit: Commit) -> int:
        """Write all of `commit` or nothing, and return the seq of its first event (0 without events).

        A `commit_id` that was written before is not written again; its first seq is returned. When the caller is
        cancelled while waiting, the commit happens or not, but never in part.

        Raises:
            FenceLost: Another worker owns the job now.
            UnknownJob: There is no such job.
            InvalidTransition: `JobChange.expect` does not hold.
            IdempotencyConflict: A created job's key exists with another request (`DuplicateJob` with the same one).
            QueueFull: See `Commit.queue_bounds`. A key that exists is told first.
            ActionAlreadyResolved: A changed action is no longer pending, or has votes the writer has not seen.
            UnknownAction: There is no such action to change, or to draw a token for.
            SignalsPending: See `Commit.require_no_signals` and `Commit.require_empty`.
            DuplicateMessage: See `Commit.messages`.
            InboxFull: See `Commit.inbox_bound`. A key that is known is told first.
            BudgetRejected: A reservation does not fit.
            AlreadySettled: See `Commit.unique_ledger`, `Commit.take_timers` and `MessageChange`.
            StorageError: Nothing was written.
        """
        ...

    async def claim(
        self,
        job_id: str,
        *,
        owner: str,
        at: datetime,
        caps: ScopeCaps = NO_CAPS,
        suspects: bool = True,
        ability: Ability | None = None,
    ) -> Claim | None:
        """Take a job that is due and unowned: its fence grows, waiting signals are folded, its status is `running`.

        Due means queued, or left running by a dead owner, or suspended with a signal waiting. Returns `None` for any
        other job. Appends `job.started` the first time and `job.resumed` later, before the folded signals.

        A job is turned away, also with `None`, while as many jobs of its scope as `caps` allows have an owner, and
        while others of its scope and queue come first for the places that are left: the order is that of `due_jobs`.
        Counting and claiming are one transaction, so that any number of claimants together keep to it. A job that is
        asked to stop is let through: it only ends.

        A claim before that has not said good-bye is counted as a death, and one that is asked to be tried again begins
        with none. A suspect is the only one of its owner until a commit says otherwise.

        A job that `ability` does not cover is not given.

        Raises:
            JobSuspected: The job is due and a suspect, and `suspects` are not wanted.
        """
        ...

    async def fold(
        self, job_id: str, *, fence: int, at: datetime, held: Commit | None = None
    ) -> Sequence[RuntimeEvent]:
        """Append the signals that wait for a job to its journal, for its owner, and return them.

        Args:
            job_id: The job.
            fence: Its owner's.
            at: When.
            held: What the owner has not written yet: made first, once, and with the fold or not at all.

        Raises:
            FenceLost: Another worker owns the job now. What `commit` raises, for `held`.
        """
        ...

    async def events(
        self, job_id: str, *, scope_id: str | None = None, after_seq: int = 0, limit: int = 1000
    ) -> Sequence[RuntimeEvent]:
        """Return a job's entries in order, from the one after `after_seq`. A given `scope_id` hides other scopes' jobs."""
        ...

    async def tail(self, job_id: str, limit: int, *, scope_id: str | None = None) -> Sequence[RuntimeEvent]:
        """Return a job's last entries, in order. A given `scope_id` hides other scopes' jobs."""
        ...

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        """Return the last entries of these jobs' journals, in any order; of a job that is not there, none."""
        ...

    async def due_jobs(
        self,
        *,
        limit: int = 1000,
        caps: ScopeCaps = NO_CAPS,
        among: Sequence[str] | None = None,
        ability: Ability | None = None,
        across_scopes: bool = False,
    ) -> Sequence[DueJob]:
        """Return unowned jobs that `claim` would give: within a scope by priority, the oldest first.

        Scopes take turns: the next is the one of which the fewest jobs are running and ahead, so that no number of jobs and
        no priority of one scope keeps another's first job from being among the next.

        Args:
            limit: How many at most.
            caps: Of a scope with a bound only the first ones of each queue are returned, as many as have a place.
            among: Only these.
            ability: Only what it covers.
            across_scopes: Whether priority and age count across scopes instead.
        """
        ...

    async def next_jobs(
        self, scope_id: str, *, cap: int, queues: Sequence[str] = (), ability: Ability | None = None
    ) -> Sequence[tuple[str, int]]:
        """Return the first due jobs of one scope, as many as have a place under `cap`.

        Its cost does not grow with the number of jobs that wait behind them.

        Args:
            scope_id: The scope.
            cap: Its bound.
            queues: Only jobs of these; none for all.
            ability: Only what it covers.
        """
        ...

    async def blocked_jobs(
        self,
        ability: Ability,
        *,
        at: datetime,
        started_at: datetime,
        after: str = "",
        limit: int = 500,
    ) -> Sequence[str]:
        """Return blocked jobs, by id from the one after `after`, that `ability` covers and that may be tried again.

        One that has killed its processes, under code without a version, is tried again only by a process that has
        started since: those that live have the same code.
        """
        ...

    async def unlisted_jobs(self, seconds: float, *, at: datetime, limit: int = 500) -> Sequence[str]:
        """Return jobs that nobody can run, told by one look at jobs and workers together.

        These are due jobs whose queue a worker has served for `seconds`, while no worker that serves it has listed their
        operator for as long, and they have not changed for as long; and jobs that are asked to stop, whose operator no
        worker at all has listed for as long. Where several processes execute, the time is the server's, not `at`.
        """
        ...

    async def jobs_with_signals(self, owner: str) -> Sequence[str]:
        """Return the jobs of `owner` for which signals, or messages that they wait for, are there."""
        ...

    async def due_timers(self, now: datetime, *, limit: int = 500) -> Sequence[Timer]:
        """Return timers that have fallen due, oldest first."""
        ...

    async def get_timer(self, job_id: str, key: str) -> Timer | None:
        """Return a timer that has not been cleared, or `None`."""
        ...

    async def timers_named(self, key: str, *, limit: int = 10_000) -> Sequence[Timer]:
        """Return the timers of a key, of all jobs, those that fall due first."""
        ...

    async def next_timer(self) -> datetime | None:
        """Return when the next timer falls due."""
        ...

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every later commit."""
        ...

    def unlisten(self, listener: Listener) -> None:
        """Stop telling `listener`."""
        ...


class JobReader(Protocol):
    """Reads jobs. A given `scope_id` hides other scopes' jobs."""

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return a job, or `None`."""
        ...

    async def find_job(self, scope_id: str, idempotency_key: str) -> JobRecord | None:
        """Return the job created under a key, or the one that goes on in its place; or `None`."""
        ...

    async def chain_head(self, chain_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return the job of a chain in whose place no other goes on, or `None`."""
        ...

    async def list_jobs(self, filter: JobFilter) -> Sequence[JobRecord]:  # noqa: A002 -- reads as what it is
        """Return jobs, newest first."""
        ...

    async def stopped_jobs(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Return which of these jobs have ended or are blocked, in one look."""
        ...

    async def count_jobs(self, filter: JobFilter) -> int:  # noqa: A002
        """Return how many jobs match, whatever the filter's `limit` and `before`."""
        ...

    async def count_waiting(self, scope_id: str, *, most: int) -> int:
        """Return how many jobs of a scope wait for a worker, as `Commit.queue_bounds` counts them. Counting ends at `most`."""
        ...


class ActionReader(Protocol):
    """Reads actions. A given `scope_id` hides other scopes' actions."""

    async def get_action(self, action_id: str, *, scope_id: str | None = None) -> ActionRecord | None:
        """Return an action, or `None`."""
        ...

    async def find_action(self, token_hash: str) -> ActionRecord | None:
        """Return the action one of whose resume tokens has this hash, with `token_of`, or `None`."""
        ...

    async def list_actions(
        self,
        *,
        scope_id: str | None = None,
        job_id: str | None = None,
        status: ActionStatus | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> Sequence[ActionRecord]:
        """Return actions, newest first; `before` is the last action id of the page before."""
        ...


class LedgerReader(Protocol):
    """Reads what was spent."""

    async def counters(self, keys: Sequence[tuple[str, str]]) -> Sequence[Counters]:
        """Return the counters of `(budget_id, window)` pairs, zero where nothing was ever charged."""
        ...

    async def get_ledger_entry(self, scope_id: str, entry_id: str) -> LedgerEntry | None:
        """Return one entry of a scope, or `None`."""
        ...

    async def ledger_places(self) -> tuple[int, int]:
        """Return the places of the first and the last ledger entry, (0, 0) when there is none.

        Everything up to the last one can be read: no entry that is being written can come to stand before it.
        """
        ...

    async def spent(self, since: datetime, *, after: int, upto: int) -> Sequence[SpentBy]:
        """Add up the entries at places above `after` up to `upto` whose time, or that of what they correct, is not before `since`."""
        ...

    async def ledger_entries(self, filter: LedgerFilter) -> Sequence[LedgerEntry]:  # noqa: A002
        """Return entries in the order they were written."""
        ...


class RuleReader(Protocol):
    """Reads the rules that people have set for everybody."""

    async def standing_budgets(self) -> Sequence[Budget]:
        """Return all standing budgets, by id."""
        ...

    async def get_policy(self, name: str, version: str) -> StoredPolicy | None:
        """Return a version of a policy, or `None`."""
        ...


class Workers(Protocol):
    """Who executes jobs, and whether they live."""

    async def register_worker(self, worker: WorkerRecord) -> bool:
        """Store or renew a worker's row; return whether there was one to renew."""
        ...

    async def list_workers(self) -> Sequence[WorkerRecord]:
        """Return the workers that are registered."""
        ...

    async def remove_worker(self, worker_id: str, *, died: bool = False) -> None:
        """Delete a worker's row and free the jobs it owned.

        Args:
            worker_id: The worker.
            died: It does not sign off in good order, which counts against the jobs.
        """
        ...

    async def owned_jobs(self, worker_id: str) -> Sequence[tuple[str, int]]:
        """Return the jobs a worker owns, each with its fence."""
        ...

    async def free_job(self, job_id: str, *, fence: int) -> bool:
        """Take a job from its owner, who never had it in memory; return whether it was owned under this fence.

        It does not count as a death.
        """
        ...

    async def expire_workers(self, older_than: float) -> Sequence[str]:
        """Delete the rows of workers that have not renewed them for `older_than` seconds, or their own `timeout`.

        The longer of the two counts: a worker trusts its own sign of life by its own time-out.

        The jobs of all workers that have no row are freed and returned. Nothing happens where only one process can
        execute: there, taking the executor's place frees what a dead one has left.
        """
        ...


class Storage(
    Journal, JobReader, ActionReader, LedgerReader, RuleReader, InboxReader, Workers, Retention, Protocol
):
    """Everything one database does for the runtime."""

    @property
    def clock(self) -> Clock:
        """What time it is for all who share it: the server's, where there is one."""
        ...

    async def look_at_clock(self) -> None:
        """Compare the server's clock with this machine's, where there is one. `register_worker` does so, too."""
        ...

    @property
    def is_durable(self) -> bool:
        """Whether what is committed survives the process."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether several processes may execute its jobs at the same time."""
        ...

    async def open(self) -> None:
        """Open it and create or check its tables. Idempotent. Raises `StorageError` with what to do."""
        ...

    async def acquire_executor(self) -> bool:
        """Become the process that executes this database's jobs, where there can be only one. Idempotent.

        Returns whether this process may execute. Where many may, it always does.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was handed in, give up the executor's place and close. Idempotent."""
        ...
