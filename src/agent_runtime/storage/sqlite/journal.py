"""The entries of jobs, as they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.claims import EVENTS
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import (
    event_record,
)
from agent_runtime.values.event import RuntimeEvent


class JournalReader:
    """Reads journals."""

    _reader: Reader

    async def events(
        self, job_id: str, *, scope_id: str | None = None, after_seq: int = 0, limit: int = 1000
    ) -> Sequence[RuntimeEvent]:
        """Return a job's entries after `after_seq`."""
        statement = f"{EVENTS} AND seq > ? ORDER BY seq LIMIT ?"
        return await self._events(job_id, scope_id, statement, after_seq, limit)

    async def tail(self, job_id: str, limit: int, *, scope_id: str | None = None) -> Sequence[RuntimeEvent]:
        """Return a job's last entries."""
        newest_first = await self._events(job_id, scope_id, f"{EVENTS} ORDER BY seq DESC LIMIT ?", limit)
        return newest_first[::-1]

    async def _events(
        self, job_id: str, scope_id: str | None, statement: str, *parameters: int
    ) -> list[RuntimeEvent]:
        def read(db: sqlite3.Connection) -> list[RuntimeEvent]:
            job = db.execute("SELECT scope_id FROM runtime_jobs WHERE job_id = ?", (job_id,)).fetchone()
            if job is None or scope_id not in (None, job[0]):
                return []
            return [event_record(job_id, job[0], row) for row in db.execute(statement, (job_id, *parameters))]

        return await self._reader.run(read)

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        """Return the last entries of jobs."""
        found = await self._reader.rows(sql.LAST_EVENTS, (orjson.dumps(list(job_ids)).decode(),))
        return [event_record(job_id, scope_id, row) for job_id, scope_id, *row in found]
