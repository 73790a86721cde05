"""dbos-transact-py #716: Postgres was restarted while recovery ran; the workflows it had in hand were stranded.

Here a recovery that is interrupted leaves nothing half done: a job is either still its dead owner's, or due, and whoever
looks next finds it.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_runtime import ExecutionRequest, RuntimeKernel
from agent_runtime.storage.postgres import PostgresStorage
from support.kernels import BOUND, journal, status_becomes
from support.private_postgres import PrivatePostgres, private_postgres
from support.worker_child import OPERATORS, WORKER
from support.worker_pool import WorkerPool

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 9)]


@pytest.fixture
def private() -> Iterator[PrivatePostgres]:
    with private_postgres() as server:
        server.postgres.execute("CREATE DATABASE runs")
        yield server


async def test_every_run_ends_once(private: PrivatePostgres, tmp_path: Path) -> None:
    dsn = private.postgres.dsn("runs")
    await PostgresStorage(dsn).setup()
    with WorkerPool(dsn, tmp_path, size=1) as pool:
        storage = PostgresStorage(dsn)
        async with RuntimeKernel(storage=storage, operators=OPERATORS, options=WORKER, worker=False) as k:
            request = ExecutionRequest(operator="slow", input={"steps": 10, "seconds": 0.05})
            handles = [await k.execute(request) for _ in range(20)]
            await status_becomes(handles[-1], "running")
            (dead,) = pool.workers
            dead.kill()
            await asyncio.to_thread(dead.wait)
            await asyncio.to_thread(pool.fill)  # its successor begins to recover
            for _ in range(2):
                await private.restart()
            for handle in handles:
                pids = (await handle.result(timeout=BOUND * 4)).output["pids"]
                assert len(pids) == 10
                ends = [event.type for event in await journal(handle) if event.is_terminal]
                assert ends == ["job.succeeded"]
        await storage.aclose()
