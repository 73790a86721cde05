"""The journal: the one write path, what is read from it, and who is told of it.

Everything else in this project – resuming, live streams, audit, replay, billing – is a reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from agent_runtime.ports.commit import Commit
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job that is now ours to execute."""

    job: JobRecord
    events: Sequence[RuntimeEvent]
    """Its whole journal, signals that had waited already drained into it."""


ChangeKind = Literal["created", "signalled", "appended", "ended", "timer", "agent"]


class RemoteChange(NamedTuple):
    """What another process has done to a job."""

    kind: ChangeKind
    """`signalled`: a signal or a message waits for it; `appended`: its journal has new entries; `ended`: or is blocked; `timer`: one was set; `agent`: no job, but some resident agent was changed."""
    job_id: str


class Listener(Protocol):
    """Is told, on the event loop, of what has been written. Must be quick and must not raise."""

    def committed(self, commit: Commit, first_seq: int) -> None:
        """Learn of a commit made through this storage object; `first_seq` is the position of its first event."""
        ...

    def signals_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        """Learn of entries that a claim or a drain has added to a journal."""
        ...

    def mailed(self, job_ids: Sequence[str]) -> None:
        """Learn of jobs for which a commit made through this storage object has left messages, in memory or suspended."""
        ...

    def agents_changed(self, changes: Sequence[tuple[str, str]]) -> None:
        """Learn of resident agents, by scope and name, that a change through this storage object was about; the name may be empty."""
        ...

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        """Learn that another process has written something; without `changes`, anything may have happened."""
        ...


class JournalReader(Protocol):
    """Reads the entries of jobs."""

    async def events(
        self,
        job_id: str,
        *,
        scope_id: str | None = None,
        after_seq: int = 0,
        limit: int = 1000,
        max_bytes: int | None = None,
        with_content: bool = True,
    ) -> Sequence[RuntimeEvent]:
        """Return a job's entries in order.

        Args:
            job_id: The job.
            scope_id: Hides other scopes' jobs.
            after_seq: From the one behind this entry on.
            limit: How many at most.
            max_bytes: How much private content, and long data, they may have together; the first is given in any case.
            with_content: Whether their private content is wanted; otherwise it is not read, and does not count.
        """
        ...

    async def tail(
        self, job_id: str, limit: int, *, scope_id: str | None = None, with_content: bool = True
    ) -> Sequence[RuntimeEvent]:
        """Return a job's last entries, in order, with their private content if it is wanted. A given `scope_id` hides other scopes' jobs."""
        ...

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        """Return the last entries of these jobs' journals, in any order; of a job that is not there, none."""
        ...


class Journal(Protocol):
    """The write path.

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
        """Take a job that is due and unowned: its fence grows, waiting signals are drained, its status is `running`.

        Due means queued, or left running by a dead owner, or suspended with a signal waiting. Returns `None` for any
        other job. Appends `job.started` the first time and `job.resumed` later, before the entries of the signals.

        A job is turned away, also with `None`, while as many jobs of its scope as `caps` allows have an owner, and
        while others of its scope and queue come first for the slots that are left: the order is that of `due_jobs`.
        Counting and claiming are one transaction, so that any number of claimants together keep to it. A job that is
        asked to stop is let through: it only ends.

        A claim before that has not said good-bye is counted as a death, and one that is asked to be tried again begins
        with none. A suspect is the only one of its owner until a commit says otherwise.

        A job that `ability` does not cover is not given.

        Raises:
            JobSuspected: The job is due and a suspect, and `suspects` are not wanted.
        """
        ...

    async def drain_signals(
        self, job_id: str, *, fence: int, at: datetime, held: Commit | None = None
    ) -> Sequence[RuntimeEvent]:
        """Append the signals that wait for a job to its journal, for its owner, and return them.

        Args:
            job_id: The job.
            fence: Its owner's.
            at: When.
            held: What the owner has not written yet: made first, once, and with the signals or not at all.

        Raises:
            FenceLost: Another worker owns the job now. What `commit` raises, for `held`.
        """
        ...

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every later commit."""
        ...

    def unlisten(self, listener: Listener) -> None:
        """Stop telling `listener`."""
        ...
