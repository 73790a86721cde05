"""Giving the space of deleted rows back to the file system."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent_runtime.errors import ExecutorBusy


async def vacuum_sqlite(path: Path) -> tuple[int, int]:
    """Write a SQLite file anew without its free pages; nobody may execute its jobs meanwhile.

    Returns:
        Its size in bytes before and after.

    Raises:
        ExecutorBusy: A process executes the file's jobs.
        StorageError: The file cannot be written, or there is no room for its copy.
    """
    return await asyncio.to_thread(_vacuum, path)


def _vacuum(path: Path) -> tuple[int, int]:
    from agent_runtime.storage.sqlite.connection import connect
    from agent_runtime.storage.sqlite.errors import mapped
    from agent_runtime.storage.sqlite.executor_lock import ExecutorLock

    lock = ExecutorLock(path)
    if not lock.acquire():
        raise ExecutorBusy(
            "a process executes the jobs of this database; stop it before its file is written anew"
        )
    try:
        with mapped(str(path)):
            before = path.stat().st_size
            database = connect(path)
            try:
                database.execute("VACUUM")
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                database.close()
            return before, path.stat().st_size
    finally:
        lock.release()
