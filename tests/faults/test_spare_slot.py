"""The spare slot of a worker: while the worker is stopped, and where several workers see the same job for theirs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ExecutionHandle, ExecutionRequest, RuntimeKernel
from agent_runtime.adapters.procrastinate import PostgresDispatcher
from agent_runtime.storage.postgres import PostgresStorage
from support.gated import Gated
from support.kernels import BOUND, QUICK, kernel, opened, until

pytestmark = pytest.mark.timeout(BOUND * 6)

TWO = replace(QUICK, max_concurrency=2, drain_timeout=BOUND * 2, sweep_interval=600.0, unlisted_after=30.0)

SWEPT = replace(TWO, sweep_interval=0.2)
"""An entry that waits at a worker whose slots are taken gets a second one, for others."""


class Watched(PostgresDispatcher):
    """A shared queue that a test lets look for the spare slot's job, and holds between the look and what follows."""

    def __init__(self, dsn: str, **options: Any) -> None:
        super().__init__(dsn, max_concurrency=2, **options)
        self.may_look = asyncio.Event()
        self.together: asyncio.Barrier | None = None

    async def _find_idle(self) -> str | None:
        await self.may_look.wait()
        found = await super()._find_idle()
        if found is not None and self.together is not None:
            together, self.together = self.together, None
            await together.wait()
        return found

    @property
    def free(self) -> int:
        """How many slots are free, the spare one included."""
        return 3 - self._slots._taken

    @property
    def is_waiting_for(self) -> set[str]:
        """The jobs that entries have brought and that have no slot yet, or one of the two."""
        return set(self._runs)


async def begin(k: RuntimeKernel, who: str, scope_id: str) -> ExecutionHandle:
    return await k.execute(ExecutionRequest(operator="gated", input=who, scope_id=scope_id))


async def are_inside(number: int, *all_gated: Gated) -> None:
    """Wait until so many jobs have come in altogether."""

    async def came() -> bool:
        return sum(len(gated.order) for gated in all_gated) >= number

    await until(came)


def advancing() -> list[str]:
    """Return what still advances a job in this process."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("advance ")]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database")) if request.param == "postgres" else str(request.param)


async def test_the_job_in_the_spare_slot_ends_its_step_when_the_worker_is_stopped_and_goes_on_elsewhere(
    kind: str, tmp_path: Path
) -> None:
    gated, successor = Gated(), Gated()
    async with opened(kind, tmp_path) as storage:
        stopped = kernel(storage, operators=[gated], options=TWO)
        async with stopped:
            handles = [await begin(stopped, f"loud {number}", "loud") for number in range(3)]
            await are_inside(2, gated)
            handles.append(await begin(stopped, "quiet", "quiet"))
            await are_inside(3, gated)
            stopping = asyncio.ensure_future(stopped.aclose())

            async def is_draining() -> bool:
                return stopped._worker._executor._draining

            await until(is_draining)
            handles.append(await begin_elsewhere(storage, "third", "third"))
            gated.everyone.set()
            await stopping
        assert "quiet" in gated.order
        assert len(gated.order) == 3  # nothing has come into a slot that became free
        assert advancing() == []
        successor.everyone.set()
        async with kernel(storage, operators=[successor], options=TWO) as k:
            for handle in handles:
                await k.handle(handle.job_id).result(timeout=BOUND)
    assert sorted([*gated.order, *successor.order]) == ["loud 0", "loud 1", "loud 2", "quiet", "third"]


async def begin_elsewhere(storage: Any, who: str, scope_id: str) -> ExecutionHandle:
    """Submit a job by another process."""
    async with kernel(storage, operators=[Gated()], options=TWO, worker=False) as k:
        return await begin(k, who, scope_id)


@asynccontextmanager
async def workers(dsn: str, number: int) -> AsyncIterator[list[tuple[RuntimeKernel, Gated, Watched]]]:
    """Run workers with two slots each, both of which a loud tenant has."""
    async with AsyncExitStack() as stack:
        started = []
        for _ in range(number):
            storage, gated, queue = PostgresStorage(dsn), Gated(), Watched(dsn)
            stack.push_async_callback(storage.aclose)
            k = kernel(storage, operators=[gated], options=SWEPT, dispatcher=queue)
            await stack.enter_async_context(k)
            stack.callback(gated.everyone.set)
            started.append((k, gated, queue))
        for slot in range(2 * number):
            await begin(started[0][0], f"loud {slot}", "loud")
        await are_inside(2 * number, *(gated for _, gated, _ in started))
        yield started


async def test_two_workers_that_see_the_same_new_scope_run_its_job_once_and_leave_no_place_taken(
    database: str,
) -> None:
    async with workers(database, 2) as started:
        queues = [queue for _, _, queue in started]
        all_gated = [gated for _, gated, _ in started]
        assert [queue.free for queue in queues] == [1, 1]
        together = asyncio.Barrier(2)
        for queue in queues:
            queue.together = together
        quiet = await begin(started[0][0], "quiet", "quiet")
        for queue in queues:
            queue.may_look.set()
        await are_inside(5, *all_gated)

        async def one_is_free() -> bool:
            return sorted(queue.free for queue in queues) == [0, 1]

        await until(one_is_free)
        others = [await begin(started[0][0], "third", "third")]
        await are_inside(6, *all_gated)
        assert [queue.free for queue in queues] == [0, 0]
        for gated in all_gated:
            gated.let_go("quiet")
            gated.let_go("third")
        for handle in (quiet, *others):
            await handle.result(timeout=BOUND)

        async def both_are_free() -> bool:
            return [queue.free for queue in queues] == [1, 1]

        await until(both_are_free)
        came = sorted(who for gated in all_gated for who in gated.order)
    assert came == ["loud 0", "loud 1", "loud 2", "loud 3", "quiet", "third"]


@pytest.mark.parametrize("drain", [0.0, BOUND])
async def test_a_job_in_the_spare_slot_whose_entry_waits_for_another_is_left_with_it(
    database: str, drain: float
) -> None:
    """The queue brings an entry of the job to the worker that has it already: both end when the worker is stopped."""
    async with workers(database, 1) as ((k, gated, queue),):
        quiet = await begin(k, "quiet", "quiet")

        async def entry_has_come() -> bool:
            return quiet.job_id in queue.is_waiting_for

        await until(entry_has_come)
        queue.may_look.set()
        await are_inside(3, gated)
        if drain:
            gated.everyone.set()
        await queue.stop(drain=drain)
        assert advancing() == []
