"""A compatible migration while workers of the release before are at work."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_runtime import ExecutionRequest, RuntimeKernel
from agent_runtime.errors import SchemaMismatch
from agent_runtime.storage.migrate import migrate_postgres
from agent_runtime.storage.migrations import HEAD, REVISIONS
from agent_runtime.storage.postgres import PostgresStorage, tables
from support.kernels import BOUND, status_becomes
from support.older_worker import PREVIOUS
from support.worker_child import OPERATORS, WORKER
from support.worker_pool import WorkerPool

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 3)]


class OlderPool(WorkerPool):
    """Workers of the release before."""

    module = "support.older_worker"


@pytest.fixture
def older(postgres_dsn: str, tmp_path: Path) -> Iterator[WorkerPool]:
    asyncio.run(migrate_postgres(postgres_dsn, PREVIOUS))
    with OlderPool(postgres_dsn, tmp_path, size=1) as pool:
        yield pool


@asynccontextmanager
async def submitter(dsn: str) -> AsyncIterator[RuntimeKernel]:
    """A kernel that only submits and follows."""
    storage = PostgresStorage(dsn)
    async with RuntimeKernel(storage=storage, operators=OPERATORS, options=WORKER, worker=False) as k:
        yield k
    await storage.aclose()


async def test_older_processes_go_on_across_a_migration(
    older: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They finish what they have begun, and take new jobs, those of a newer process too."""
    (worker,) = older.workers
    slow = ExecutionRequest(operator="slow", input={"steps": 60, "seconds": 0.05})
    with pytest.raises(SchemaMismatch, match="agent-runtime migrate"):
        await PostgresStorage(older.dsn).open()
    with monkeypatch.context() as before:
        before.setattr(tables, "HEAD", PREVIOUS)
        old = submitter(older.dsn)
        old_k = await old.__aenter__()
    begun = await old_k.execute(slow)
    await status_becomes(begun, "running")
    assert await migrate_postgres(older.dsn) == (PREVIOUS, HEAD)
    assert await begun.status() == "running"
    async with submitter(older.dsn) as k:
        handles = [begun, await old_k.execute(slow), await k.execute(slow)]
        for handle in handles:
            pids = (await handle.result(timeout=BOUND)).output["pids"]
            assert set(pids) == {worker.pid}
            assert (await k.handle(handle.job_id).result(timeout=BOUND)).output["pids"] == pids
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, BOUND) == 0
        assert await k.storage.list_workers() == []
    await old.__aexit__(None, None, None)


async def test_an_older_process_does_not_start_on_the_migrated_tables(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "HEAD", PREVIOUS)
    monkeypatch.setattr(tables, "REVISIONS", REVISIONS[:-1])
    with pytest.raises(SchemaMismatch, match="written by a newer one: upgrade agent-runtime"):
        await PostgresStorage(database).open()
