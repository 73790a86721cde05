"""Storage in one SQLite file: WAL, one writer thread, group commit, one executing process."""

from agent_runtime.storage.sqlite.storage import SQLiteStorage

__all__ = ["SQLiteStorage"]
