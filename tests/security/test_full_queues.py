"""A scope that submits without end is refused once its queue is full; nobody else is, and neither is what its own jobs begin."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    ExecutionRequest,
    JobFailed,
    KernelOptions,
    OperatorContext,
    QueueFull,
    RetryPolicy,
    RuntimeKernel,
)
from agent_runtime.ports.commit import Commit, NewEvent
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.examples import commit, job
from agent_runtime.values.capacity import NO_BOUNDS
from support.gated import Gated
from support.kernels import BOUND, QUICK, kernel, opened, until

pytestmark = pytest.mark.timeout(BOUND * 6)

BOUND_OF_MANY = 1_200
"""A bound that is not counted in every submission, as that of the default."""
SUBMITTER = replace(QUICK, max_queued_per_scope=BOUND_OF_MANY)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database")) if request.param == "postgres" else str(request.param)


async def op(context: OperatorContext, given: Any) -> None:
    """Do nothing."""


def request(scope_id: str = "loud", **values: Any) -> ExecutionRequest:
    return ExecutionRequest(operator="op", scope_id=scope_id, **values)


async def parent(context: OperatorContext, given: Any) -> list[str]:
    """Begin one child, and when it has ended two more."""
    await context.child("gated", "before")
    results = await context.gather(context.child("gated", "one"), context.child("gated", "two"))
    return [result.content for result in results]


async def flood(storage: Storage, number: int) -> list[str]:
    """Store jobs of the loud scope that wait, as if they had been submitted before."""
    made = [job(scope_id="loud", operator="op", priority=-9) for _ in range(number)]
    await storage.commit(commit(create=[(record, [NewEvent("job.created")]) for record in made]))
    return [record.job_id for record in made]


def submitter(storage: Storage, **options: Any) -> Any:
    """Return a kernel that submits jobs and executes none."""
    return kernel(storage, operators={"op": op}, worker=False, options=replace(SUBMITTER, **options))


class CountedStorage:
    """Tells how often the queue was counted, outside of commits and in them."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self.counted = 0
        self.bounded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def count_waiting(self, scope_id: str, *, most: int) -> int:
        self.counted += 1
        return await self._inner.count_waiting(scope_id, most=most)

    async def commit(self, commit: Commit) -> int:
        self.bounded += commit.queue_bounds != NO_BOUNDS
        return await self._inner.commit(commit)


@asynccontextmanager
async def counted(kind: str, folder: Path) -> AsyncIterator[Any]:
    async with opened(kind, folder) as storage:
        yield CountedStorage(storage)


async def outcomes(k: RuntimeKernel, number: int, **values: Any) -> tuple[int, list[BaseException]]:
    """Submit jobs side by side; return how many were accepted, and what the others were told."""
    made = await asyncio.gather(*(k.execute(request(**values)) for _ in range(number)), return_exceptions=True)  # fmt: skip
    refused = [one for one in made if isinstance(one, BaseException)]
    return len(made) - len(refused), refused


def test_there_is_a_bound_by_default() -> None:
    assert KernelOptions().max_queued_per_scope == 100_000
    assert KernelOptions().max_queued is None


async def test_a_flood_of_one_scope_is_refused_in_one_sentence_while_another_scope_submits(
    kind: str, tmp_path: Path
) -> None:
    async with opened(kind, tmp_path) as storage, submitter(storage) as k:
        accepted, refused = await outcomes(k, BOUND_OF_MANY + 50)
        assert accepted == BOUND_OF_MANY  # one process never passes its bound
        said = {str(error) for error in refused}
        assert said == {
            "1200 or more jobs of scope 'loud' wait for a worker already (max_queued_per_scope is 1200); try again in 5 s"
        }
        assert {type(error) for error in refused} == {QueueFull}
        await k.execute(request("quiet"))
        assert await storage.count_waiting("loud", most=10_000) == BOUND_OF_MANY


async def test_a_full_queue_takes_jobs_again_when_there_is_room(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as storage, submitter(storage) as k:
        waiting = await flood(storage, BOUND_OF_MANY)
        with pytest.raises(QueueFull):
            await k.execute(request())
        claim = await storage.claim(waiting[0], owner="w", at=storage.clock.now())
        assert claim is not None
        await k.execute(request())
        with pytest.raises(QueueFull):
            await k.execute(request())


async def test_far_from_its_bound_a_scope_is_counted_seldom_and_never_in_a_commit(
    kind: str, tmp_path: Path
) -> None:
    async with counted(kind, tmp_path) as storage, submitter(storage, max_queued_per_scope=100_000) as k:
        for _ in range(30):
            await k.execute(request())
        await outcomes(k, 30)
        assert (storage.counted, storage.bounded) == (1, 0)


async def test_a_full_scope_is_refused_without_a_write(kind: str, tmp_path: Path) -> None:
    async with counted(kind, tmp_path) as storage, submitter(storage) as k:
        await flood(storage, BOUND_OF_MANY)
        accepted, refused = await outcomes(k, 30)
        assert (accepted, len(refused), storage.bounded) == (0, 30, 0)
        assert storage.counted < 30  # those who ask at once are counted for together


async def test_a_small_bound_is_counted_in_the_commit(kind: str, tmp_path: Path) -> None:
    async with counted(kind, tmp_path) as storage, submitter(storage, max_queued_per_scope=3) as k:
        accepted, refused = await outcomes(k, 9)
        assert (accepted, len(refused)) == (3, 6)
        assert (storage.counted, storage.bounded) == (0, 9)


async def test_a_repeated_request_is_not_refused_in_a_full_scope(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as storage, submitter(storage) as k:
        await flood(storage, BOUND_OF_MANY - 1)
        first = await k.execute(request(idempotency_key="k"))
        assert (await k.execute(request(idempotency_key="k"))).job_id == first.job_id
        with pytest.raises(QueueFull):
            await k.execute(request(idempotency_key="another"))


async def test_children_of_a_full_scope_begin_and_what_wakes_goes_on(kind: str, tmp_path: Path) -> None:
    """One job of the scope runs at a time, and more wait than may: the family gets through all the same."""
    gated = Gated()
    options = replace(SUBMITTER, max_concurrency_per_scope=1)
    operators = {"gated": gated, "parent": parent, "op": op}
    async with opened(kind, tmp_path) as storage, kernel(storage, operators=operators, options=options) as k:
        family = await k.execute(ExecutionRequest(operator="parent", scope_id="loud"))

        async def first_child_is_inside() -> bool:
            return gated.order == ["before"]

        await until(first_child_is_inside)
        _, refused = await outcomes(k, BOUND_OF_MANY + 1, priority=-9)
        assert refused
        gated.everyone.set()
        assert (await family.result(timeout=BOUND * 4)).output == ["one", "two"]


async def test_two_processes_pass_a_bound_by_what_they_were_granted_at_most(database: str, tmp_path: Path) -> None:  # fmt: skip
    """What one was granted while there was room it may still submit when the other has filled the queue."""
    bound, grant = 3_200, 200
    async with (
        opened(database, tmp_path) as here,
        opened(database, tmp_path) as there,
        submitter(here, max_queued_per_scope=bound) as first,
        submitter(there, max_queued_per_scope=bound) as second,
    ):
        assert isinstance(here, PostgresStorage)
        await first.execute(request())
        await flood(there, bound - 1)
        with pytest.raises(QueueFull):
            await second.execute(request())
        accepted, refused = await outcomes(first, grant + 50)
        assert accepted <= grant - 1
        assert {type(error) for error in refused} == {QueueFull}
        with pytest.raises(QueueFull):
            await second.execute(request())


async def test_two_kernels_that_fill_one_queue_together_stop_at_its_bound(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as storage, submitter(storage) as one, submitter(storage) as other:
        await flood(storage, BOUND_OF_MANY - 300)
        results = await asyncio.gather(outcomes(one, 200), outcomes(other, 200))
        assert sum(accepted for accepted, _ in results) == 300
        assert all(
            re.search("max_queued_per_scope is 1200", str(e)) for _, refused in results for e in refused
        )


async def broken(context: OperatorContext, given: Any) -> None:
    """Fail."""
    raise ValueError("broken")


async def test_a_job_that_is_retried_waits_like_any_other() -> None:
    """Whoever had many that had failed passed the bound with them."""
    storage = MemoryStorage()
    async with kernel(storage, operators={"broken": broken}, retry=RetryPolicy.none()) as worker:
        failed = {}
        for scope_id in ("loud", "quiet"):
            handle = await worker.execute(ExecutionRequest(operator="broken", scope_id=scope_id))
            with pytest.raises(JobFailed):
                await handle.result(timeout=BOUND)
            failed[scope_id] = handle.job_id
    await flood(storage, 5)
    async with submitter(storage, max_queued_per_scope=5) as k:
        with pytest.raises(QueueFull):
            await k.retry(failed["loud"])
        assert (await k.jobs.get(failed["loud"])).successor_id is None
        await k.retry(failed["quiet"])
