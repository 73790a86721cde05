"""`JobManager`: driving jobs by hand, as the documents show."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from agent_runtime import (
    ExecutionRequest,
    IdempotencyConflict,
    InMemoryJobStore,
    InvalidInput,
    InvalidTransition,
    JobFilter,
    JobManager,
    JobSpec,
    JobStatus,
    UnknownJob,
)
from agent_runtime.values.event import TERMINAL_TYPES
from agent_runtime.values.job import SUSPENDED, TERMINAL, TRANSITIONS


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()


@pytest.fixture
def store() -> InMemoryJobStore:
    return InMemoryJobStore()


@pytest.fixture
def manager(store: InMemoryJobStore) -> JobManager:
    return JobManager(store)


async def test_a_job_lives_from_creation_to_completion(manager: JobManager, store: InMemoryJobStore) -> None:
    job = await manager.create(
        JobSpec(scope_id="tenant-123", principal_id="user-456", idempotency_key="unique-key")
    )
    assert (job.status, job.scope_id) == (JobStatus.QUEUED, "tenant-123")
    job = await manager.start(job.job_id)
    assert job.status is JobStatus.RUNNING
    assert job.started_at is not None
    job = await manager.wait_for_action(job.job_id)
    job = await manager.resume(job.job_id)
    job = await manager.update_progress(job.job_id, 0.5)
    assert job.progress == 0.5
    job = await manager.complete(job.job_id, result_ref="result-123")
    assert (job.status, job.result_ref) == (JobStatus.SUCCEEDED, "result-123")
    assert job.completed_at is not None
    types = [event.type for event in await store.storage.events(job.job_id)]
    assert types == [
        "job.created",
        "job.started",
        "job.suspended",
        "job.resumed",
        "job.progress",
        "job.succeeded",
    ]


async def test_every_failure_is_a_terminal_event_of_its_own(
    manager: JobManager, store: InMemoryJobStore
) -> None:
    clock = Clock()
    timed = JobManager(store, clock=clock)
    failed = await manager.fail((await manager.create(JobSpec())).job_id, "why", "MY_CODE")
    cancelled = await manager.cancel((await manager.create(JobSpec())).job_id, "enough")
    late = await timed.create(JobSpec(deadline_seconds=10))
    assert (await timed.check_deadline(late.job_id)).status is JobStatus.QUEUED
    clock.time += timedelta(seconds=11)
    timed_out = await timed.check_deadline(late.job_id)
    assert [(job.status, job.error_code) for job in (failed, cancelled, timed_out)] == [
        ("failed", "MY_CODE"),
        ("cancelled", "CANCELLED"),
        ("timed_out", "TIMED_OUT"),
    ]
    for job in (failed, cancelled, timed_out):
        types = [event.type for event in await store.storage.events(job.job_id)]
        assert len([type_ for type_ in types if type_ in TERMINAL_TYPES]) == 1


def test_every_state_that_has_not_ended_may_fail_be_cancelled_or_time_out() -> None:
    for status in JobStatus:
        if status in TERMINAL:
            assert TRANSITIONS[status] == frozenset()
        else:
            assert {"failed", "cancelled", "timed_out"} <= TRANSITIONS[status]
    assert all(JobStatus.RUNNING in TRANSITIONS[status] for status in SUSPENDED)


async def test_illegal_transitions_are_refused_and_change_nothing(manager: JobManager) -> None:
    job = await manager.create(JobSpec())
    with pytest.raises(InvalidTransition):
        await manager.complete(job.job_id)
    await manager.start(job.job_id)
    with pytest.raises(InvalidTransition):
        await manager.start(job.job_id)
    await manager.complete(job.job_id)
    for move in (manager.start, manager.complete, manager.cancel, manager.wait_for_action, manager.resume):
        with pytest.raises(InvalidTransition):
            await move(job.job_id)
    assert (await manager.get(job.job_id)).status is JobStatus.SUCCEEDED


async def test_of_many_concurrent_ends_one_counts(manager: JobManager, store: InMemoryJobStore) -> None:
    job = await manager.start((await manager.create(JobSpec())).job_id)
    moves = [
        move
        for _ in range(10)
        for move in (manager.complete(job.job_id), manager.fail(job.job_id, "x"), manager.cancel(job.job_id))
    ]
    outcomes = await asyncio.gather(*moves, return_exceptions=True)
    assert len([outcome for outcome in outcomes if not isinstance(outcome, InvalidTransition)]) == 1
    types = [event.type for event in await store.storage.events(job.job_id)]
    assert len([type_ for type_ in types if type_ in TERMINAL_TYPES]) == 1


async def test_a_key_gives_the_same_job_for_the_same_spec_and_a_conflict_for_another(
    manager: JobManager,
) -> None:
    spec = JobSpec(scope_id="a", idempotency_key="k", metadata={"n": 1})
    first = await manager.create(spec)
    assert (await manager.create(spec)).job_id == first.job_id
    with pytest.raises(IdempotencyConflict):
        await manager.create(JobSpec(scope_id="a", idempotency_key="k", metadata={"n": 2}))
    assert (await manager.create(JobSpec(scope_id="b", idempotency_key="k"))).job_id != first.job_id


async def test_another_scopes_job_is_unknown(manager: JobManager) -> None:
    job = await manager.create(JobSpec(scope_id="a"))
    with pytest.raises(UnknownJob):
        await manager.get(job.job_id, scope_id="b")
    with pytest.raises(UnknownJob):
        await manager.cancel(job.job_id, scope_id="b")
    assert await manager.list(JobFilter(scope_id="b")) == []


async def test_jobs_of_a_kernel_are_moved_by_their_kernel_alone() -> None:
    from support.kernels import kernel

    async def waits(context: object, given: object) -> None:
        await asyncio.sleep(3600)

    async with kernel(operators=[waits]) as k:
        handle = await k.execute(ExecutionRequest(operator="waits"))
        for move in (k.jobs.complete, k.jobs.wait_for_action, k.jobs.start):
            with pytest.raises(InvalidTransition, match="kernel"):
                await move(handle.job_id)
        await handle.cancel()


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
async def test_progress_is_a_fraction(manager: JobManager, fraction: float) -> None:
    job = await manager.start((await manager.create(JobSpec())).job_id)
    with pytest.raises(InvalidInput):
        await manager.update_progress(job.job_id, fraction)
