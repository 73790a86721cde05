"""Reading beside the writer: WAL lets one reader thread see the last finished commit at any time."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from agent_runtime.errors import StorageClosed
from agent_runtime.storage.sqlite.connection import connect
from agent_runtime.storage.sqlite.errors import mapped

Row = tuple[Any, ...]
T = TypeVar("T")
THREADS: Final = 2
"""A long list must not hold up a short look-up."""


class Reader:
    """Runs read operations in threads, each with its own connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    def start(self) -> None:
        """Begin; connections are opened when first needed."""
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="sqlite-reader")

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Run `read` in a thread and return its result."""
        if self._pool is None:
            raise StorageClosed
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, read)

    async def rows(
        self, statement: str, parameters: Sequence[object] | Mapping[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return await self.run(lambda db: db.execute(statement, parameters).fetchall())

    async def stop(self) -> None:
        """Finish what runs and close the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            self._local = threading.local()

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        with mapped(str(self._path)):
            db = getattr(self._local, "db", None)
            if db is None:
                db = self._local.db = connect(self._path, read_only=True)
                self._connections.append(db)
            return read(db)


def first_rows(
    db: sqlite3.Connection,
    ids: tuple[str, Sequence[object]],
    one: str,
    long: Sequence[int],
    *,
    limit: int,
    max_bytes: int,
) -> tuple[list[Row], bool]:
    """Return the first rows of a list, one by one until there are enough, and whether others come behind them.

    Args:
        db: Where they are.
        ids: The query that gives the ids of up to `limit` + 1 of them, in order.
        one: The query of one row by its id.
        long: Places of the columns whose texts count.
        limit: How many rows at most.
        max_bytes: Bytes of these columns; the first row is given in any case.
    """
    found: list[Row] = []
    known = db.execute(*ids).fetchall()
    for (id_,) in known[:limit]:
        row = db.execute(one, (id_,)).fetchone()
        if row is None:  # deleted meanwhile
            continue
        max_bytes -= sum(len((row[place] or "").encode()) for place in long)
        if found and max_bytes < 0:
            return found, True
        found.append(row)
    return found, len(known) > limit
