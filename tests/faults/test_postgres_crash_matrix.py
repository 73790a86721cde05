"""Three workers on Postgres, of which one is killed with SIGKILL, at every boundary of every kind of step."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_runtime import BudgetSpec, ExecutionRequest, RuntimeKernel
from agent_runtime.storage.postgres import PostgresStorage
from support.answers import answer_questions, check_promises
from support.crash_matrix import IN_WORKERS, observe, settle
from support.kernels import BOUND
from support.worker_child import OPERATORS, WORKER
from support.worker_pool import WorkerPool

pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(BOUND * 3),
]


MOMENTS = [  # two halves, each with a pool of its own, so that both cores have something to do
    pytest.param(moment, marks=pytest.mark.xdist_group(f"postgres crash matrix {number % 2}"))
    for number, moment in enumerate(IN_WORKERS)
]


@pytest.fixture(scope="module")
def pool(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerPool]:
    with WorkerPool(module_database, tmp_path_factory.mktemp("pool"), size=3) as pool:
        yield pool


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_killed_worker_loses_nothing_and_repeats_nothing(
    moment: str, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(pool.fill)
    Path(pool.world).unlink(missing_ok=True)
    monkeypatch.setenv("EFFECTS_FILE", str(pool.world))
    pool.arm(moment)
    storage = PostgresStorage(pool.dsn)
    async with RuntimeKernel(storage=storage, operators=OPERATORS, options=WORKER, worker=False) as k:
        handle = await k.execute(ExecutionRequest(operator="mixed", budgets=BudgetSpec(max_cost=1_000_000)))
        async with asyncio.timeout(BOUND * 2):
            await answer_questions(handle, pool.world)
        async with asyncio.timeout(BOUND):  # the last moment comes after the end has been told
            while pool.is_armed():
                await asyncio.sleep(0.01)
        await check_promises(handle, pool.world, k)
        settle("Postgres", moment, await observe(moment, handle, k, pool.world))
    await storage.aclose()
    before = pool.killed
    await asyncio.to_thread(pool.fill)
    assert pool.killed == before + 1
