"""Deleting what is old."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from agent_runtime.ports.retention import Forgettable
from agent_runtime.storage.forgetting import LEDGER, forget
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import (
    from_time,
)
from agent_runtime.storage.sqlite.writer import Writer


class Retention:
    """Deletes what is old."""

    _reader: Reader
    _writer: Writer

    async def prune(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete jobs that ended before a moment."""
        bounds = {"before": from_time(before), "limit": limit, "events": max_events}

        def delete(db: sqlite3.Connection) -> int:
            ended = db.execute(sql.ENDED_JOBS, bounds).fetchall()
            (last,) = db.execute(sql.LAST_POSITION).fetchone()
            for statement in (*sql.DELETE_JOB, sql.MARK_GONE):
                db.executemany(statement, ended)
            for statement in sql.KEEP_POSITION:
                db.execute(statement, {"last": last})
            return len(ended)

        deleted: int = await self._writer.run(delete)
        return deleted

    async def forget(self, what: Forgettable, *, before: datetime, limit: int = 1000) -> int:
        """Delete what nobody has used since a moment. Long tables are looked through where nobody waits for it."""
        bounds = {"before": from_time(before), "limit": limit}
        if what == "ledger":
            old = await self._reader.rows(LEDGER.format(before=":before", limit=":limit"), bounds)
            delete = "DELETE FROM runtime_ledger WHERE id = ?"
            await self._writer.run(lambda db: db.executemany(delete, old))
            return len(old)

        def forgotten(db: sqlite3.Connection) -> int:
            return [db.execute(statement, bounds).rowcount for statement in forget(what, dollar=False)][-1]

        count: int = await self._writer.run(forgotten)
        return count

    async def prune_content(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete the content of jobs that ended before a moment."""
        bounds = {"before": from_time(before), "limit": limit, "events": max_events}

        def empty(db: sqlite3.Connection) -> int:
            ended = db.execute(sql.ENDED_JOBS_WITH_CONTENT, bounds).fetchall()
            db.executemany(sql.DELETE_CONTENT, ended)
            db.executemany(sql.MARK_WITHOUT_CONTENT, ended)
            return len(ended)

        emptied: int = await self._writer.run(empty)
        return emptied
