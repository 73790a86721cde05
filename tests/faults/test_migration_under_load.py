"""A compatible migration of the next release while workers of this one are at work."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from agent_runtime import ExecutionRequest, RuntimeKernel
from agent_runtime.errors import SchemaMismatch, StorageError
from agent_runtime.storage.migrate import migrate_postgres
from agent_runtime.storage.migrations import HEAD
from agent_runtime.storage.postgres import PostgresStorage
from support.kernels import BOUND, status_becomes, until
from support.next_release import NEXT, become_next_release
from support.worker_child import OPERATORS, WORKER
from support.worker_pool import WorkerPool

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 3)]


@pytest.fixture
def older(database: str, tmp_path: Path) -> Iterator[WorkerPool]:
    with WorkerPool(database, tmp_path, size=1) as pool:
        yield pool


@asynccontextmanager
async def submitter(dsn: str) -> AsyncIterator[RuntimeKernel]:
    """A kernel that only submits and follows."""
    storage = PostgresStorage(dsn)
    async with RuntimeKernel(storage=storage, operators=OPERATORS, options=WORKER, worker=False) as k:
        yield k
    await storage.aclose()


async def test_older_processes_go_on_across_a_migration(
    older: WorkerPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They finish what they have begun, and take new jobs, those of a newer process too."""
    (worker,) = older.workers
    slow = ExecutionRequest(operator="slow", input={"steps": 60, "seconds": 0.05})
    async with submitter(older.dsn) as old_k:
        begun = await old_k.execute(slow)
        await status_becomes(begun, "running")
        become_next_release(monkeypatch, tmp_path / "next")
        with pytest.raises(SchemaMismatch, match="agent-runtime migrate"):
            await PostgresStorage(older.dsn).open()
        assert await migrate_postgres(older.dsn) == (HEAD, NEXT)
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


async def test_an_older_process_does_not_start_on_the_migrated_tables(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        become_next_release(patch, tmp_path / "next")
        await migrate_postgres(database)
    with pytest.raises(SchemaMismatch, match="written by a newer one: upgrade agent-runtime"):
        await PostgresStorage(database).open()


async def test_the_newer_release_leads_back(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        become_next_release(patch, tmp_path / "next")
        await migrate_postgres(database)
        assert await migrate_postgres(database, HEAD) == (NEXT, HEAD)
        with pytest.raises(SchemaMismatch, match=f"has schema {HEAD}, this agent-runtime needs {NEXT}"):
            await PostgresStorage(database).open()
    storage = PostgresStorage(database)
    await storage.open()
    await storage.aclose()


@asynccontextmanager
async def dump(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody's transaction that has read the jobs, and goes on for long."""
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "nightly dump"})
    async with connection.transaction():
        await connection.fetch("SELECT * FROM runtime_jobs")
        yield connection
    await connection.close()


async def test_a_migration_behind_a_long_transaction_keeps_nobody_from_the_tables_and_says_who_blocks(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    become_next_release(monkeypatch, tmp_path / "next")
    reader = await asyncpg.connect(database, command_timeout=5)
    async with dump(database) as dumping:
        migrating = asyncio.ensure_future(migrate_postgres(database))
        while not migrating.done():
            await reader.fetch("SELECT * FROM runtime_jobs")
            await asyncio.wait((migrating,), timeout=0.05)
        with pytest.raises(StorageError) as refused:
            await migrating
        assert f"process {dumping.get_server_pid()} (nightly dump), whose transaction is" in str(
            refused.value
        )
        assert await reader.fetchval("SELECT version_num FROM runtime_schema_version") == HEAD
    await reader.close()
    assert await migrate_postgres(database) == (HEAD, NEXT)


async def test_a_migration_goes_through_when_the_transaction_before_it_has_ended(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    become_next_release(monkeypatch, tmp_path / "next")

    async def waited() -> bool:
        return "nightly dump" in caplog.text

    async with dump(database):
        migrating = asyncio.ensure_future(migrate_postgres(database))
        await until(waited)
    assert await migrating == (HEAD, NEXT)


async def test_tables_in_use_are_not_removed_either(database: str) -> None:
    async with dump(database):
        with pytest.raises(StorageError, match="nightly dump"):
            await migrate_postgres(database, "base")
    assert await migrate_postgres(database, "base") == (HEAD, None)
