"""A pool of the caller's: whatever was taken out of it is given back."""

import asyncio
from typing import Any

import asyncpg
import pytest

from agent_runtime import (
    ExecutionRequest,
    JobManager,
    OperatorContext,
    PostgresActionStore,
    PostgresDispatcher,
    PostgresJobStore,
    PostgresLedgerWriter,
    RuntimeKernel,
)
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.examples import commit, job
from support.kernels import BOUND, QUICK, until

pytestmark = pytest.mark.timeout(BOUND * 2)


async def answers(context: OperatorContext, given: Any) -> Any:
    return await context.step(asyncio.sleep, 0, name="s", effect="read")


async def closed(pool: asyncpg.Pool) -> None:
    """Close a pool, which waits for every connection that was taken out of it."""
    async with asyncio.timeout(BOUND / 2):
        await pool.close()


def over(pool: asyncpg.Pool, **options: Any) -> RuntimeKernel:
    return RuntimeKernel(
        job_store=PostgresJobStore(pool),
        action_store=PostgresActionStore(pool),
        ledger_writer=PostgresLedgerWriter(pool),
        operators=[answers],
        options=QUICK,
        **options,
    )


@pytest.mark.parametrize("dispatch", ["local", "queue"])
async def test_a_kernel_over_a_pool_gives_everything_back_when_it_is_closed(
    database: str, dispatch: str
) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=5)
    queue = PostgresDispatcher(database) if dispatch == "queue" else None
    async with over(pool, dispatcher=queue) as k:
        await (await k.execute(ExecutionRequest(operator="answers"))).result(timeout=BOUND)
    await closed(pool)


async def test_of_two_kernels_over_a_pool_the_one_that_stays_goes_on(database: str) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=5)
    first, second = over(pool), over(pool)
    await first.start()
    await second.start()
    await first.aclose()
    await (await second.execute(ExecutionRequest(operator="answers"))).result(timeout=BOUND)
    await second.aclose()
    async with over(pool) as third:
        await (await third.execute(ExecutionRequest(operator="answers"))).result(timeout=BOUND)
    await closed(pool)


async def test_managers_that_stand_alone_hold_nothing_while_they_do_nothing(database: str) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=5)
    store = PostgresJobStore(pool)
    await store.storage.open()
    async with over(pool):
        pass
    record = job()
    await store.storage.commit(commit(create=[(record, [])]))
    assert await JobManager(store).get(record.job_id) == record
    await closed(pool)


async def test_what_a_cancelled_caller_had_taken_is_given_back(database: str) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=5)
    storage = PostgresStorage(pool)
    await storage.open()
    await storage.acquire_executor()
    holder, watcher = await asyncpg.connect(database), await asyncpg.connect(database)
    async with holder.transaction():
        await holder.execute("LOCK TABLE runtime_jobs IN ACCESS EXCLUSIVE MODE")
        reading = [asyncio.ensure_future(storage.get_job("job")) for _ in range(3)]

        async def blocked() -> bool:
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'runtime_jobs'::regclass"
            )
            return bool(await watcher.fetchval(waiting) >= 3)

        await until(blocked)
        for task in reading:
            task.cancel()
        await asyncio.wait(reading)
        assert all(task.cancelled() for task in reading)
    await holder.close()
    await watcher.close()
    await storage.aclose()
    await closed(pool)
