"""`JobManager`: creating, finding and driving jobs by hand.

Jobs that a kernel executes are listed, read and cancelled here, but only their kernel moves them on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Unpack

from agent_runtime.errors import DuplicateJob, InvalidInput, InvalidTransition, UnknownJob
from agent_runtime.jobs.new_job import new_job
from agent_runtime.jobs.same_request import request_hash
from agent_runtime.jobs.store import JobStore
from agent_runtime.ports.clock import Clock, clock_of
from agent_runtime.ports.commit import Commit, CommitFields, CommitParts, JobChange, NewEvent, Signal, Timer
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.readers import Part
from agent_runtime.values.checks import can_be_id
from agent_runtime.values.event import JOURNAL_FORMAT, RuntimeEventType
from agent_runtime.values.job import SUSPENDED, TRANSITIONS, JobFilter, JobRecord, JobSpec, JobStatus
from llm_client.json_text import JsonValue

_EVENTS = {
    JobStatus.RUNNING: RuntimeEventType.JOB_RESUMED,
    JobStatus.SUCCEEDED: RuntimeEventType.JOB_SUCCEEDED,
    JobStatus.FAILED: RuntimeEventType.JOB_FAILED,
    JobStatus.CANCELLED: RuntimeEventType.JOB_CANCELLED,
    JobStatus.TIMED_OUT: RuntimeEventType.JOB_TIMED_OUT,
    **dict.fromkeys(SUSPENDED, RuntimeEventType.JOB_SUSPENDED),
}

RETRY_TIMER: Final = "retry"
"""Key of the timer that ends a job's wait for an outage's end."""


@after_the_journal()
class JobManager:
    """The life of jobs: every transition is compare-and-set and leaves an event, exactly one of them terminal.

    Args:
        store: Where jobs are kept.
        clock: What time it is; by default that of the storage.
    """

    def __init__(self, store: JobStore, *, clock: Clock | None = None) -> None:
        self._storage = store.storage
        self._clock = clock or clock_of(store.storage)

    async def create(self, spec: JobSpec) -> JobRecord:
        """Create a job, or return the one that this scope and idempotency key have created before.

        Raises:
            IdempotencyConflict: That one was created from another spec.
            UnknownJob: The parent is another scope's.
        """
        parent = None if spec.parent_job_id is None else await self._storage.get_job(spec.parent_job_id)
        if parent is not None and parent.scope_id != spec.scope_id:
            raise UnknownJob(f"no job {spec.parent_job_id!r}")
        hashed = request_hash(spec)
        job = new_job(spec, self._clock.now(), hashed=hashed, parent_job_id=spec.parent_job_id)
        return await self.add(job, NewEvent(RuntimeEventType.JOB_CREATED, None, {"format": JOURNAL_FORMAT}))

    async def add(self, job: JobRecord, /, *events: NewEvent, **parts: Unpack[CommitParts]) -> JobRecord:
        """Store a job with the first entries of its journal, the timer of its deadline, and what else belongs to it."""
        timers = [] if job.status.is_terminal else deadline_timer(job)
        parts["set_timers"] = [*parts.get("set_timers", ()), *timers]
        parts["create"] = [(job, events)]
        try:
            await self._commit(**parts)
        except DuplicateJob as error:
            return await self.get(error.job_id)
        return replace(job, last_seq=len(events))

    async def get(self, job_id: str, *, scope_id: str | None = None) -> JobRecord:
        """Return a job. Raises `UnknownJob`."""
        _check_id(job_id)
        job = await self._storage.get_job(job_id, scope_id=scope_id)
        if job is None:
            raise UnknownJob(f"no job {job_id!r}")
        return job

    async def head(self, job_id: str, *, scope_id: str | None = None) -> JobRecord:
        """Return the job that goes on in a job's place, by now; the job itself where none does. Raises `UnknownJob`.

        The first job of a chain gives the chain its id, so that it leads on even when it has been pruned.
        """
        _check_id(job_id)
        job = await self._storage.get_job(job_id, scope_id=scope_id)
        if job is not None and job.successor_id is None:
            return job
        head = await self._storage.chain_head(job_id if job is None else job.chain_id, scope_id=scope_id)
        if head is None:
            raise UnknownJob(f"no job {job_id!r}")
        return head

    async def list(self, filter: JobFilter | None = None) -> Sequence[JobRecord]:  # noqa: A002 -- the documented name
        """Return jobs, newest first."""
        return await self._storage.list_jobs(filter or JobFilter())

    async def part(self, filter: JobFilter, *, max_bytes: int) -> Part[JobRecord]:  # noqa: A002
        """Return jobs, newest first, and read no further than `max_bytes` of metadata and tags, or one job's."""
        return await self._storage.part_of_jobs(filter, max_bytes=max_bytes)

    async def count(self, filter: JobFilter | None = None) -> int:  # noqa: A002
        """Return how many jobs match."""
        return await self._storage.count_jobs(filter or JobFilter())

    async def start(self, job_id: str) -> JobRecord:
        """Set a queued job running."""
        return await self._move(
            job_id, JobStatus.RUNNING, event=RuntimeEventType.JOB_STARTED, only=JobStatus.QUEUED
        )

    async def complete(self, job_id: str, result_ref: str | None = None) -> JobRecord:
        """End a job with success."""
        return await self._move(job_id, JobStatus.SUCCEEDED, result_ref=result_ref)

    async def fail(self, job_id: str, error: str, error_code: str = "EXECUTION_ERROR") -> JobRecord:
        """End a job with a failure."""
        return await self._move(job_id, JobStatus.FAILED, error=error, error_code=error_code)

    async def wait_for_action(self, job_id: str) -> JobRecord:
        """Say that a job waits for a person."""
        return await self._move(job_id, JobStatus.WAITING_ACTION)

    async def resume(self, job_id: str, *, scope_id: str | None = None) -> JobRecord:
        """Set a waiting job running again.

        A job of a kernel that is blocked, whatever version of the code has blocked it, or waits for an outage to end, is given another chance at once.
        """
        job = await self.get(job_id, scope_id=scope_id)
        if job.operator is None:
            return await self._move(job_id, JobStatus.RUNNING)
        if job.status is not JobStatus.BLOCKED and not await self._storage.get_timer(job_id, RETRY_TIMER):
            raise InvalidTransition(
                f"job {job_id!r} is {job.status}; only a job that is blocked, or waits for an outage to end, can be resumed by hand"
            )
        signal = Signal(f"retry:{new_id('sig')}", job_id, RuntimeEventType.JOB_RETRY_REQUESTED)
        await self._commit(signals=[signal], clear_timers=[(job_id, RETRY_TIMER)], unblock=[job_id])
        return await self.get(job_id)

    async def unblock(self, job_id: str, *, scope_id: str | None = None) -> JobRecord:
        """Have a blocked job tried again, also by those versions of the code that have blocked it.

        Raises:
            InvalidTransition: It is not blocked.
        """
        job = await self.get(job_id, scope_id=scope_id)
        if job.status is not JobStatus.BLOCKED or job.operator is None:
            raise InvalidTransition(f"job {job_id!r} is {job.status}, not blocked")
        return await self.resume(job_id)

    async def cancel(
        self, job_id: str, reason: str | None = None, *, scope_id: str | None = None
    ) -> JobRecord:
        """Cancel a job. One that a kernel executes is asked to stop, and ends when its steps in flight have ended.

        Raises:
            InvalidTransition: It has ended already.
        """
        job = await self.get(job_id, scope_id=scope_id)
        if job.status.is_terminal:
            raise InvalidTransition(f"job {job_id!r} has ended: it is {job.status}")
        if job.operator is None:
            return await self._move(job_id, JobStatus.CANCELLED, error=reason, error_code="CANCELLED")
        data = {} if reason is None else {"reason": reason}
        await self._commit(
            signals=[Signal(f"cancel:{job_id}", job_id, RuntimeEventType.JOB_CANCEL_REQUESTED, None, data)]
        )
        return await self.get(job_id)

    async def update_progress(self, job_id: str, progress: float, message: str | None = None) -> JobRecord:
        """Say how far a job is, from 0 to 1."""
        if not 0.0 <= progress <= 1.0:
            raise InvalidInput(f"progress is a fraction from 0 to 1, not {progress}")
        job = self._by_hand(await self.get(job_id))
        if job.status.is_terminal:
            raise InvalidTransition(f"job {job_id!r} has ended: it is {job.status}")
        data: dict[str, JsonValue] = {"progress": progress}
        if message is not None:
            data["message"] = message
        await self._commit(
            job_id=job_id,
            fence=job.fence,
            scope_id=job.scope_id,
            events=[NewEvent(RuntimeEventType.JOB_PROGRESS, None, data)],
            job=JobChange(status=job.status, expect=frozenset({job.status})),
            progress=progress,
        )
        return await self.get(job_id)

    async def check_deadline(self, job_id: str) -> JobRecord:
        """Time a job out if its deadline has passed."""
        job = await self.get(job_id)
        if job.deadline is None or job.status.is_terminal or job.deadline > self._clock.now():
            return job
        if job.operator is not None:
            return job
        return await self._move(
            job_id, JobStatus.TIMED_OUT, error="the deadline has passed", error_code="TIMED_OUT"
        )

    def _by_hand(self, job: JobRecord) -> JobRecord:
        if job.operator is not None:
            raise InvalidTransition(f"job {job.job_id!r} is executed by a kernel, which alone moves it on")
        return job

    async def _move(
        self,
        job_id: str,
        status: JobStatus,
        *,
        event: RuntimeEventType | None = None,
        only: JobStatus | None = None,
        **values: Any,
    ) -> JobRecord:
        """Change the status from whatever allows it; lose gracefully against a concurrent change."""
        job = self._by_hand(await self.get(job_id))
        if status not in TRANSITIONS[job.status] or (only is not None and job.status is not only):
            raise InvalidTransition(f"job {job_id!r} is {job.status} and cannot become {status}")
        now = self._clock.now()
        data = {name: value for name, value in values.items() if value is not None}
        change = JobChange(
            status=status,
            expect=frozenset({job.status}),
            started_at=now if status is JobStatus.RUNNING else None,
            completed_at=now if status.is_terminal else None,
            **values,
        )
        await self._commit(
            job_id=job_id,
            fence=job.fence,
            scope_id=job.scope_id,
            events=[NewEvent(event or _EVENTS[status], None, data)],
            job=change,
            clear_timers_of=job_id if status.is_terminal else None,
        )
        return await self.get(job_id)

    async def _commit(self, **parts: Unpack[CommitFields]) -> None:
        await self._storage.commit(Commit(at=self._clock.now(), **parts))


def deadline_timer(job: JobRecord) -> list[Timer]:
    """Return the timer of a job's deadline; a job driven by hand has none."""
    if job.deadline is None or job.operator is None:
        return []
    return [Timer(job.job_id, "deadline", job.deadline, RuntimeEventType.JOB_DEADLINE_REACHED)]


def _check_id(job_id: object) -> None:
    if not can_be_id(job_id):
        raise UnknownJob("no job can have this id")
