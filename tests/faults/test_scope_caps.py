"""Workers that die while a scope with a cap has more to do than it may: no place leaks, and none is given twice."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from agent_runtime import ExecutionRequest, RuntimeKernel
from agent_runtime.storage.postgres import PostgresStorage
from support.kernels import BOUND, types, until
from support.worker_child import CAPS, OPERATORS, WORKER
from support.worker_pool import WorkerPool

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 4)]

CAP = 3
OWNED = "SELECT owner FROM runtime_jobs WHERE owner IS NOT NULL AND scope_id = 'noisy'"


async def test_killed_workers_neither_keep_places_nor_let_others_have_too_many(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CAPS, json.dumps({"noisy": CAP}))
    connection = await asyncpg.connect(database)
    most, done = 0, asyncio.Event()

    async def count() -> None:
        nonlocal most
        own = await asyncpg.connect(database)
        while not done.is_set():
            most = max(most, len(await own.fetch(OWNED)))
            await asyncio.sleep(0.002)
        await own.close()

    with WorkerPool(database, tmp_path, size=2) as pool:
        storage = PostgresStorage(database)
        async with RuntimeKernel(storage=storage, operators=OPERATORS, options=WORKER, worker=False) as k:
            watching = asyncio.ensure_future(count())
            request = ExecutionRequest(operator="slow", input={"steps": 5, "seconds": 0.02}, scope_id="noisy")
            handles = [await k.execute(request) for _ in range(60)]

            async def a_busy_worker(finished: int) -> int | None:
                """Return the process of a living worker that has a slot, once so many jobs have ended."""
                ended = [handle for handle in handles if await handle.status() == "succeeded"]
                owners = {row[0] for row in await connection.fetch(OWNED)}
                pids = [w.info["pid"] for w in await storage.list_workers() if w.worker_id in owners]
                living = [pid for pid in pids if pool.find(pid).poll() is None]
                return living[0] if len(ended) >= finished and living else None

            for finished in (3, 6):
                victim = pool.find(await until(lambda number=finished: a_busy_worker(number)))
                victim.kill()
                await asyncio.to_thread(victim.wait, BOUND)
            await asyncio.to_thread(pool.fill)
            for handle in handles:
                await handle.result(timeout=BOUND)
            done.set()
            await watching
            for handle in handles:
                assert (await types(handle)).count("job.succeeded") == 1
        await storage.aclose()
    assert most == CAP
    assert pool.killed == 2
    await connection.close()
