"""The journal: the one write path, what is read from it, and who is told of it.

Everything else in this project – resuming, live streams, audit, replay, billing – is a reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from agent_runtime.ports.commit import Commit, Timer
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job that is now ours to execute."""

    job: JobRecord
    events: Sequence[RuntimeEvent]
    """Its whole journal, signals that had waited already folded in."""


ChangeKind = Literal["created", "signalled", "appended", "ended", "timer"]


class DueJob(NamedTuple):
    """A job that could be executed now."""

    job_id: str
    priority: int
    scope_id: str


class RemoteChange(NamedTuple):
    """What another process has done to a job."""

    kind: ChangeKind
    """`signalled`: a signal or a message waits for it; `appended`: its journal has new entries; `ended`: or is blocked; `timer`: one was set."""
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

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
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

    async def timers_named(
        self, key: str, *, limit: int = 10_000, after: tuple[datetime, str] | None = None
    ) -> Sequence[Timer]:
        """Return the timers of a key, of all jobs, those that fall due first; `after` a moment and a job, where a page ended."""
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
