"""SQLite's write-ahead log while somebody always reads from it."""

import asyncio
import os
from pathlib import Path

import pytest

from agent_runtime.ports.commit import NewEvent
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.storage.sqlite.checkpoint import WAL_LIMIT
from agent_runtime.testing.examples import NOW, commit, job
from support.kernels import BOUND

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 6)]


async def test_readers_that_overlap_all_the_time_do_not_let_the_log_grow(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    log = path.with_name("runs.db-wal")
    storage = SQLiteStorage(path, durability="process")
    await storage.open()
    record = job()
    await storage.commit(commit(create=[(record, [])]))
    assert await storage.claim(record.job_id, owner="w", at=NOW) is not None
    written = asyncio.Event()

    async def read() -> int:
        reads = 0
        while not written.is_set():
            reads += len(await storage.events(record.job_id, limit=300)) > 0
        return reads

    reading = [asyncio.ensure_future(read()) for _ in range(4)]
    largest = 0
    for number in range(1600):
        event = NewEvent(f"custom.{number}", None, {}, os.urandom(30_000))
        await storage.commit(commit(job_id=record.job_id, fence=1, events=[event]))
        largest = max(largest, log.stat().st_size)
    written.set()
    assert all(await asyncio.gather(*reading))
    assert largest < 3 * WAL_LIMIT < path.stat().st_size + largest
    assert len(await storage.events(record.job_id, limit=5000)) == 1601
    await storage.aclose()
