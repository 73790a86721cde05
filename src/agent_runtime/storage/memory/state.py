"""The dictionaries behind `MemoryStorage`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any

from agent_runtime.errors import UnknownJob
from agent_runtime.ports.audit import TrailEntry
from agent_runtime.ports.commit import Commit, Signal, StoredPolicy, Timer
from agent_runtime.ports.feed import Cursor
from agent_runtime.ports.inbox import MOST_WOKEN, mailed_inboxes
from agent_runtime.ports.keys import StoredKey
from agent_runtime.ports.schedules import Fire, StoredSchedule
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage.memory.job_table import JobTable, Line, in_order, is_ready
from agent_runtime.storage.memory.mail import Mail
from agent_runtime.storage.memory.residents import Residents
from agent_runtime.values.ability import Ability
from agent_runtime.values.action import ActionRecord, ActionToken
from agent_runtime.values.budget import Counters, EntryKey, LedgerEntry
from agent_runtime.values.capacity import ScopeCaps
from agent_runtime.values.deaths import CRASH_LOOP
from agent_runtime.values.event import STOP_REQUESTS, RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import READY, JobRecord, JobStatus
from agent_runtime.values.message import Receiver
from agent_runtime.values.standing_budget import Budget
from agent_runtime.values.waits import WaitSet, wakes


def may_try(job: JobRecord, started_at: datetime) -> bool:
    """Whether a process may try a blocked job, as far as that depends on when the process has started."""
    return job.error_code != CRASH_LOOP or job.updated_at < started_at


@dataclass(slots=True)
class Chain:
    """A job's chain: where it ends, the salts, and what each entry has of it."""

    head: bytes
    salts: bytes
    links: list[bytes] = field(default_factory=list)
    data_digests: dict[int, bytes] = field(default_factory=dict)
    """Of data that was taken away, by seq."""
    content_digests: dict[int, bytes] = field(default_factory=dict)
    """Of content that was."""
    pruned_at: datetime | None = None
    erased_at: datetime | None = None


@dataclass(slots=True)
class State:
    """Tables."""

    jobs: JobTable = field(default_factory=JobTable)
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    """Job id by `(scope, idempotency key)`."""
    journals: dict[str, list[RuntimeEvent]] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)
    """What audits each job."""
    trails: dict[str, list[TrailEntry]] = field(default_factory=dict)
    """What audits each scope."""
    feed: list[tuple[int, str, int]] = field(default_factory=list)
    """Where entries stand among those of all jobs, in order: position, job, seq."""
    positions: int = 0
    """The last position that was given."""
    cursors: dict[str, Cursor] = field(default_factory=dict)
    commits: dict[str, int] = field(default_factory=dict)
    signals: dict[str, dict[str, Signal]] = field(default_factory=dict)
    """Signals that wait, by job and signal id."""
    waits: dict[str, Sequence[WaitSet]] = field(default_factory=dict)
    """What suspended jobs wait for."""
    timers: dict[tuple[str, str], Timer] = field(default_factory=dict)
    actions: dict[str, ActionRecord] = field(default_factory=dict)
    tokens: dict[str, ActionToken] = field(default_factory=dict)
    """By hash."""
    ledger: dict[EntryKey, LedgerEntry] = field(default_factory=dict)
    forgotten: int = 0
    """Ledger entries that were deleted; the first one that is left has the next position."""
    counters: dict[tuple[str, str], Counters] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)
    policies: dict[tuple[str, str], StoredPolicy] = field(default_factory=dict)
    api_keys: dict[str, StoredKey] = field(default_factory=dict)
    schedules: dict[tuple[str, str], StoredSchedule] = field(default_factory=dict)
    """By scope and name."""
    fires: dict[tuple[str, str], dict[datetime, Fire]] = field(default_factory=dict)
    """The logs of schedules, by the first time of each entry."""
    residents: Residents = field(default_factory=Residents)
    mail: Mail = field(default_factory=Mail)
    workers: dict[str, WorkerRecord] = field(default_factory=dict)
    listed: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """When an operator was last listed, by queue and operator; the queue `""` stands for all."""
    without_content: set[str] = field(default_factory=set)
    """Ended jobs whose content was deleted."""

    @property
    def last_position(self) -> int:
        """Place of the last ledger entry."""
        return self.forgotten + len(self.ledger)

    def job(self, job_id: str) -> JobRecord:
        """Return a job or raise `UnknownJob`."""
        try:
            return self.jobs[job_id]
        except KeyError:
            raise UnknownJob(f"no job {job_id!r}") from None

    def put_job(self, job: JobRecord, **changes: Any) -> None:
        """Store a job with some columns changed."""
        self.jobs[job.job_id] = replace(job, **changes)

    def is_due(self, job: JobRecord) -> bool:
        """Whether `claim` would give this job."""
        if job.owner is not None or job.status.is_terminal or job.operator is None:
            return False
        if job.status in READY:
            return True
        signals = self.signals.get(job.job_id, {}).values()
        told = ((one.operation_id, one.is_failure) for one in signals)
        return wakes(self.waits.get(job.job_id, ()), told, self.mail.mailed(job.job_id))

    def woken_by_mail(self, commit: Commit) -> list[str]:
        """Return the jobs, in memory or suspended, for which a commit has left messages."""
        woken: list[str] = []
        for address in mailed_inboxes(commit.messages, commit.message_changes, commit.drop_receivers):
            waiting = (one.job_id for one in self.mail.lines.get(address, ()) if self._waits_now(one))
            woken += islice(waiting, min(self.mail.count(address), MOST_WOKEN))
        return list(dict.fromkeys(woken))

    def _waits_now(self, receiver: Receiver) -> bool:
        """Whether a job that waits for a message is in memory, or suspended for it."""
        job = self.jobs.get(receiver.job_id)
        sets = self.waits.get(receiver.job_id, ())
        return job is not None and (
            job.owner is not None or any(receiver.operation_id in one.operation_ids for one in sets)
        )

    def is_stopping(self, job: JobRecord) -> bool:
        """Whether a request to stop waits for a job."""
        return any(signal.type in STOP_REQUESTS for signal in self.signals.get(job.job_id, {}).values())

    def covers(self, ability: Ability | None, job: JobRecord) -> bool:
        """Whether a job can be run by whoever asks."""
        if ability is None:
            return True
        return ability.can_run(job.operator, job.failed_versions, is_stopping=self.is_stopping(job))

    def is_to_be_retried(self, job: JobRecord) -> bool:
        """Whether somebody asks that a job is tried again."""
        wanted = RuntimeEventType.JOB_RETRY_REQUESTED
        return any(signal.type == wanted for signal in self.signals.get(job.job_id, {}).values())

    def suspended_due(self) -> list[JobRecord]:
        """Return the suspended jobs that are due."""
        told = dict.fromkeys((*self.signals, *self.mail.receivers))
        jobs = (self.jobs[job_id] for job_id in told if job_id in self.jobs)
        return [job for job in jobs if job.status not in READY and self.is_due(job)]

    def stopping(self) -> list[JobRecord]:
        """Return the jobs that wait for a worker and are asked to stop."""
        jobs = (self.jobs[job_id] for job_id in self.signals if job_id in self.jobs)
        return [job for job in jobs if is_ready(job) and self.is_stopping(job)]

    def is_listed(self, line: Line, since: datetime) -> bool:
        """Whether somebody has listed since a moment that it runs what waits in a line."""
        listed = (self.listed.get((queue, line.operator)) for queue in ("", line.queue))
        return any(moment is not None and moment > since for moment in listed)

    def is_unlisted(self, job: JobRecord, seconds: float, at: datetime) -> bool:
        """Whether nobody can run a job that is due; see `Journal.unlisted_jobs`."""
        since = at - timedelta(seconds=seconds)
        if self.is_stopping(job):
            return not any(
                moment > since for (_, name), moment in self.listed.items() if name == job.operator
            )
        is_served = any(
            worker.started_at <= since and (not worker.queues or job.queue in worker.queues)
            for worker in self.workers.values()
        )
        listed = [self.listed.get((queue, job.operator or "")) for queue in ("", job.queue)]
        return (
            is_served
            and job.status is not JobStatus.BLOCKED
            and job.updated_at <= since
            and not any(moment is not None and moment > since for moment in listed)
        )

    def free_slots(self, scope_id: str, caps: ScopeCaps) -> int | None:
        """Return how many more jobs of a scope may get an owner; `None` for any number."""
        cap = caps.of(scope_id)
        if cap is None:
            return None
        return cap - self.jobs.running[scope_id]

    def next_jobs(
        self,
        scope_id: str,
        caps: ScopeCaps,
        queues: Collection[str] = (),
        ability: Ability | None = None,
    ) -> list[JobRecord]:
        """Return the first due jobs of a scope with a cap, as many as have a free slot."""
        slots = max(0, self.free_slots(scope_id, caps) or 0)
        woken = [job for job in self.suspended_due() if job.scope_id == scope_id]
        due = merge(self.jobs.first(scope_id, queues), sorted(woken, key=in_order), key=in_order)
        mine = (job for job in due if (not queues or job.queue in queues) and self.covers(ability, job))
        return list(islice(mine, slots))

    def ended(
        self, before: datetime, limit: int, max_events: int, *, but: Collection[str] = ()
    ) -> list[JobRecord]:
        """Return the jobs that ended longest ago and have no pending action, within the bounds of `Retention`."""
        pending = (action.job_id for action in self.actions.values() if action.is_pending)
        left_out = {*but, *pending, *self._unfollowed()}
        ended = [
            (job.completed_at, job.job_id)
            for job in self.jobs.values()
            if job.completed_at is not None
            and job.completed_at < before
            and job.job_id not in left_out
            and not self._is_referred_to(job, but)
        ]
        chosen: list[JobRecord] = []
        for _, job_id in sorted(ended)[:limit]:
            if chosen and max_events <= 0:
                break
            chosen.append(self.jobs[job_id])
            max_events -= self.jobs[job_id].last_seq
        return chosen

    def _unfollowed(self) -> set[str]:
        """Return the jobs of which a projection has not dealt with everything."""
        if not self.cursors:
            return set()
        slowest = min(cursor.position for cursor in self.cursors.values())
        behind = bisect_right(self.feed, slowest, key=itemgetter(0))
        return {job_id for _, job_id, _ in islice(self.feed, behind, None)}

    def _is_referred_to(self, job: JobRecord, but: Collection[str]) -> bool:
        """Whether another job, not one of `but`, may ask for what this one gave: its parent, or what goes on in its place."""
        after = self.jobs.get(job.successor_id or "")
        if after is not None and after.job_id not in but and after.origin == job.origin:
            return True
        parent = job.parent_job_id
        return job.successor_id is None and parent in self.jobs and parent not in but

    def waiting(self, scope_id: str | None) -> int:
        """Return how many jobs wait for a worker, in one scope or in all."""
        return self.jobs.waiting(scope_id)
