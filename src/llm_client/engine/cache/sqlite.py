"""A cache in an SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import orjson

from llm_client.clock import Clock, utc_now
from llm_client.codec import dump_result, load_result
from llm_client.errors import ConfigurationError
from llm_client.json_text import dumps, exact
from llm_client.messages import CompletionResult
from llm_client.private_files import make_private

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS llm_cache (
    key TEXT PRIMARY KEY,
    stored REAL NOT NULL,
    used REAL NOT NULL,
    result BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS llm_cache_used ON llm_cache (used);
"""
_EVICTION_INTERVAL = 64
"""Writes between two looks at the size, so that the bound costs next to nothing."""


class SQLiteCache:
    """Answers in a file. Losing the last few to a power cut is accepted; a damaged entry counts as none.

    Args:
        path: The file; it is made at the first use.
        max_entries: How many answers are kept, give or take a few; the ones unused for longest go first.
        ttl: Seconds an answer stays valid; `None` is for ever.
        clock: Tells the time; entries outlive the process, so it must be the same for all processes.
    """

    def __init__(
        self,
        path: str | Path,
        max_entries: int = 100_000,
        ttl: float | None = 86_400.0,
        *,
        clock: Clock = utc_now,
    ) -> None:
        if max_entries < 1:
            raise ConfigurationError("a cache holds at least one entry")
        self._path = Path(path)
        self._max_entries = max_entries
        self._ttl = ttl
        self._clock = clock
        self._writes = 0
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def get(self, key: str) -> CompletionResult | None:
        """Return the answer stored under a key, or `None`."""
        blob = await self._run(lambda: self._read(key, self._clock().timestamp()))
        if blob is None:
            return None
        try:
            return load_result(exact(orjson.loads(blob), blob))
        except (orjson.JSONDecodeError, TypeError, KeyError, AttributeError, ArithmeticError):
            return None

    async def put(self, key: str, result: CompletionResult) -> None:
        """Store an answer, replacing an older one."""
        blob = dumps(dump_result(result), default=str)
        await self._run(lambda: self._write(key, blob, self._clock().timestamp()))

    async def count(self) -> int:
        """Return how many answers the file holds, expired ones included."""
        return await self._run(
            lambda: int(self._open().execute("SELECT count(*) FROM llm_cache").fetchone()[0])
        )

    async def aclose(self) -> None:
        """Close the file."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        await asyncio.get_running_loop().run_in_executor(thread, self._close)
        thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        """Run some work on the cache's own thread, which alone touches the connection."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="llm-cache")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            import sqlite3

            make_private(Path(self._path))
            connection = sqlite3.connect(
                self._path, timeout=5.0, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.executescript(_SCHEMA)
            except sqlite3.DatabaseError as error:
                connection.close()
                raise ConfigurationError(f"the cache file {self._path} cannot be used: {error}") from error
            self._connection = connection
        return self._connection

    def _read(self, key: str, now: float) -> bytes | None:
        connection = self._open()
        row = connection.execute(
            "SELECT stored, used, result FROM llm_cache WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        stored, used, blob = row
        if self._ttl is not None and now - stored >= self._ttl:
            return None
        if now - used > 60:
            connection.execute("UPDATE llm_cache SET used = ? WHERE key = ?", (now, key))
        return bytes(blob)

    def _write(self, key: str, blob: bytes, now: float) -> None:
        connection = self._open()
        connection.execute("INSERT OR REPLACE INTO llm_cache VALUES (?, ?, ?, ?)", (key, now, now, blob))
        self._writes += 1
        if self._writes % min(_EVICTION_INTERVAL, self._max_entries) == 0:
            self._evict(connection, now)

    def _evict(self, connection: sqlite3.Connection, now: float) -> None:
        if self._ttl is not None:
            connection.execute("DELETE FROM llm_cache WHERE stored <= ?", (now - self._ttl,))
        surplus = connection.execute("SELECT count(*) FROM llm_cache").fetchone()[0] - self._max_entries
        if surplus > 0:
            connection.execute(
                "DELETE FROM llm_cache WHERE key IN (SELECT key FROM llm_cache ORDER BY used LIMIT ?)",
                (surplus,),
            )

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
