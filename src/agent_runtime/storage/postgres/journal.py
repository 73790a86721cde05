"""The entries of jobs, as they are read."""

from __future__ import annotations

from collections.abc import Sequence

from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.values import (
    EVENT_COLUMNS,
    event_record,
    from_text,
    to_text,
)
from agent_runtime.values.event import RuntimeEvent

_EVENTS = f"SELECT {EVENT_COLUMNS} FROM runtime_events WHERE job_id = $1"  # noqa: S608 -- names from `rows`


class JournalReader:
    """Reads journals."""

    _connections: Connections

    async def events(
        self, job_id: str, *, scope_id: str | None = None, after_seq: int = 0, limit: int = 1000
    ) -> Sequence[RuntimeEvent]:
        """Return a job's entries after `after_seq`."""
        statement = f"{_EVENTS} AND seq > $2 ORDER BY seq LIMIT $3"
        return await self._events(job_id, scope_id, statement, after_seq, limit)

    async def tail(self, job_id: str, limit: int, *, scope_id: str | None = None) -> Sequence[RuntimeEvent]:
        """Return a job's last entries."""
        newest_first = await self._events(job_id, scope_id, f"{_EVENTS} ORDER BY seq DESC LIMIT $2", limit)
        return newest_first[::-1]

    async def _events(
        self, job_id: str, scope_id: str | None, statement: str, *parameters: int
    ) -> Sequence[RuntimeEvent]:
        found = await self._connections.fetch(statement, to_text(job_id), *parameters)
        if not found:
            return []
        ((stored,),) = await self._connections.fetch(
            "SELECT scope_id FROM runtime_jobs WHERE job_id = $1", to_text(job_id)
        )
        owner = from_text(stored)
        if scope_id not in (None, owner):
            return []
        return [event_record(job_id, owner, tuple(row)) for row in found]

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        """Return the last entries of jobs."""
        found = await self._connections.fetch(sql.LAST_EVENTS, list(map(to_text, job_ids)))
        return [event_record(from_text(row[0]), from_text(row[1]), tuple(row)[2:]) for row in found]
