"""Giving the space of deleted rows back to the file system."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.errors import ExecutorBusy, StorageError

if TYPE_CHECKING:
    import asyncpg

VACUUMED: Final = (
    "runtime_events",
    "runtime_jobs",
    "runtime_actions",
    "runtime_action_tokens",
    "runtime_signals",
    "runtime_messages",
    "runtime_inboxes",
    "runtime_receivers",
    "runtime_waits",
    "runtime_timers",
    "runtime_ledger",
    "runtime_budgets",
    "runtime_budget_counters",
    "execution_logs",
    "llm_call_logs",
)
"""The tables that an erasure changes rows of."""
LONG_SECONDS: Final = 86_400.0
PATIENCE: Final = 60.0
"""Seconds to wait for transactions that may still see what was deleted."""
LOOK_SECONDS: Final = 0.05
_KEPT_ROWS: Final = re.compile(
    r"(\d+) (?:dead row versions cannot be removed yet|are dead but not yet removable)"
)
"""As the server says it in English; in another language only those are waited for whom it names."""
_WHO_SEES: Final = """
SELECT format('server process %s (%s)', pid, coalesce(nullif(application_name, ''), 'without a name')) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND (age(backend_xmin) >= age($1::text::xid) OR age(backend_xid) >= age($1::text::xid))
UNION ALL
SELECT format('the prepared transaction %s', gid) FROM pg_prepared_xacts
WHERE database = current_database() AND age(transaction) >= age($1::text::xid)
UNION ALL
SELECT format('the replication slot %s', slot_name) FROM pg_replication_slots WHERE age(xmin) >= age($1::text::xid)
"""


async def vacuum_postgres(dsn: str, *, full: bool) -> None:
    """Let Postgres use the space of deleted rows anew, or write its tables anew without them.

    Args:
        dsn: The database.
        full: Write the tables anew: only then nothing of deleted rows is left in their files. Each is locked meanwhile.

    Raises:
        StorageError: The server cannot be reached, or does not let us, or a transaction that sees what was deleted does not end.
    """
    import asyncpg

    from agent_runtime.storage.postgres.connections import mapped

    with mapped():
        connection = await asyncpg.connect(dsn, timeout=30.0)
        try:
            await _readers_gone(connection)
            for table in VACUUMED:
                await _vacuum_table(connection, table, full=full)
        finally:
            await connection.close(timeout=5.0)


async def _readers_gone(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Wait for the transactions that may still see what was deleted: of them nothing is vacuumed."""
    deleted_before = await connection.fetchval("SELECT pg_current_xact_id()::xid::text")
    give_up_at = asyncio.get_running_loop().time() + PATIENCE
    while who := await connection.fetch(_WHO_SEES, deleted_before):
        if asyncio.get_running_loop().time() > give_up_at:
            raise StorageError(
                f"no row that others read now holds what was deleted, but its space does, as long as a transaction may look at it: "
                f"{', '.join(name for (name,) in who[:3])}; end it and do this again"
            )
        await asyncio.sleep(LOOK_SECONDS)


async def _vacuum_table(connection: asyncpg.Connection[asyncpg.Record], table: str, *, full: bool) -> None:
    """Vacuum a table, again when rows were kept for whom nobody can name: a connection that is being opened counts for a moment."""
    how = "FULL, VERBOSE, ANALYZE" if full else "VERBOSE, ANALYZE"
    give_up_at = asyncio.get_running_loop().time() + PATIENCE
    while True:
        told: list[str] = []

        def hear(_: object, message: Any, told: list[str] = told) -> None:
            told.extend((message.message, message.detail or ""))

        connection.add_log_listener(hear)
        try:
            await connection.execute(f"VACUUM ({how}) {table}", timeout=LONG_SECONDS)
            await asyncio.sleep(0)  # what was told is handed on by the loop
        finally:
            connection.remove_log_listener(hear)
        if not any(int(number) for number in _KEPT_ROWS.findall(" ".join(told))):
            return
        if asyncio.get_running_loop().time() > give_up_at:
            raise StorageError(f"the server keeps deleted rows of {table} for somebody; do this again later")
        await asyncio.sleep(LOOK_SECONDS)


async def vacuum_sqlite(path: Path) -> tuple[int, int]:
    """Write a SQLite file anew without its free pages; nobody may execute its jobs meanwhile.

    Returns:
        Its size in bytes before and after.

    Raises:
        ExecutorBusy: A process executes the file's jobs.
        StorageError: The file cannot be written, there is no room for its copy, or a process that reads it keeps its log.
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
                (is_busy, _, _) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                database.close()
            if is_busy:
                raise StorageError(
                    f"{str(path)!r} was written anew, but a process that reads it keeps its log, with what was deleted; stop it and do "
                    "this again"
                )
            return before, path.stat().st_size
    finally:
        lock.release()
