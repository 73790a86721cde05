"""Keeping the write-ahead log small.

SQLite copies the log into the file by itself, and begins the log anew when it finds nobody reading from it. Readers that
overlap never leave it such a moment, and the log grows for as long as they come. So the writer, once the log is large,
pauses: what is read now ends, and what is read next needs no log, because all of it has been copied by then.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from llm_client.logs import logger_of

logger = logger_of(__name__)

WAL_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of the log from which on it is begun anew; a longer file is cut to this."""
PATIENCE_MS: Final = 100
"""How long the writer pauses for those who read, for each time that the log has reached its limit."""
LONGEST_MS: Final = 5000


class Checkpoints:
    """Watches over the log of one file, in the thread that writes it.

    Args:
        path: The file.
        busy_ms: The time-out of the connection in all else that it does.
    """

    def __init__(self, path: Path, *, busy_ms: int) -> None:
        self._wal = path.with_name(path.name + "-wal")
        self._busy_ms = busy_ms
        self._due_at = WAL_LIMIT

    def prepare(self, db: sqlite3.Connection) -> None:
        """Have a log that was begun anew cut to its limit."""
        db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")

    def poll(self, db: sqlite3.Connection) -> None:
        """Begin the log anew if it has become large; outside a transaction."""
        try:
            size = self._wal.stat().st_size
        except FileNotFoundError:
            return
        if size < self._due_at:
            return
        try:
            db.execute(f"PRAGMA busy_timeout = {min(LONGEST_MS, PATIENCE_MS * size // WAL_LIMIT)}")
            is_busy = bool(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        except sqlite3.Error as error:
            logger.warning("%s cannot be shortened now: %s", self._wal, error)
            is_busy = True
        finally:
            db.execute(f"PRAGMA busy_timeout = {self._busy_ms}")
        self._due_at = size + WAL_LIMIT // 4 if is_busy else WAL_LIMIT
