"""The entries of jobs, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from agent_runtime.ports.audit import (
    AUDIT_BYTES,
    AUDIT_ENTRIES,
    AuditedEntry,
    AuditedJob,
    Note,
    TrailEntry,
    TrailHead,
)
from agent_runtime.storage.cursors import BYTES_ON_POSTGRES, DATA_ON_POSTGRES, last_of_page
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.values import (
    EVENT_COLUMNS,
    decode,
    encode,
    event_records,
    from_text,
    to_text,
)
from agent_runtime.storage.rows import audit as audit_rows
from agent_runtime.values.checks import MAX_COUNT
from agent_runtime.values.event import RuntimeEvent
from llm_client.turns import aside

if TYPE_CHECKING:
    from agent_runtime.storage.postgres.connections import Connection

_EVENTS = f"SELECT {EVENT_COLUMNS} FROM runtime_events WHERE job_id = $1"  # noqa: S608 -- names from `rows`

_ALL_JOBS: Final = audit_rows.ALL_JOBS.format(after="$1", limit="$2")
_JOBS_OF_SCOPE: Final = audit_rows.JOBS_OF_SCOPE.format(scope="$3", after="$1", limit="$2")
_SIZES: Final = audit_rows.SIZES.format(bytes=BYTES_ON_POSTGRES, job="$1", after="$2", limit="$3")
_ENTRIES: Final = audit_rows.ENTRIES.format(job="$1", after="$2", upto="$3")
_PLACES: Final = {"job": "$1", "after": "$2", "upto": "$3", "limit": "$4"}
READ: Final = {
    True: (_SIZES, audit_rows.PAGE_OF_JOURNAL.format(**_PLACES)),
    False: (
        audit_rows.SIZES.format(bytes=DATA_ON_POSTGRES, job="$1", after="$2", limit="$3"),
        audit_rows.PUBLIC_PAGE_OF_JOURNAL.format(**_PLACES),
    ),
}
"""How much entries have, and the entries: with their content, and without."""
_TRAIL_PAGE: Final = audit_rows.TRAIL_PAGE.format(scope="$1", after="$2", limit="$3")
_LAST_OF_TRAIL: Final = audit_rows.LAST_OF_TRAIL.format(scope="$1")
_ENDED: Final = audit_rows.ENDED.format(among="= ANY($2::text[])", scope="$1")
_EXTEND_TRAIL: Final = sql.insert("runtime_audit", audit_rows.TRAIL)
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"

_NEWEST: Final = {
    True: f"{_EVENTS} ORDER BY seq DESC LIMIT $2",
    False: f"{_EVENTS} ORDER BY seq DESC LIMIT $2".replace("content", "NULL AS content"),
}


class JournalReader:
    """Reads journals."""

    _connections: Connections

    async def events(
        self,
        job_id: str,
        *,
        scope_id: str | None = None,
        after_seq: int = 0,
        limit: int = 1000,
        max_bytes: int | None = None,
        with_content: bool = True,
    ) -> Sequence[RuntimeEvent]:
        """Return a job's entries after `after_seq`."""
        measure, entries = READ[with_content]
        upto: int | None = MAX_COUNT
        if max_bytes is not None:
            sizes = await self._connections.fetch(measure, to_text(job_id), after_seq, limit)
            upto = last_of_page(((row[0], row[1]) for row in sizes), max_bytes)
        return [] if upto is None else await self._events(job_id, scope_id, entries, after_seq, upto, limit)

    async def tail(
        self, job_id: str, limit: int, *, scope_id: str | None = None, with_content: bool = True
    ) -> Sequence[RuntimeEvent]:
        """Return a job's last entries."""
        newest_first = await self._events(job_id, scope_id, _NEWEST[with_content], limit)
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
        return await event_records([(job_id, owner, tuple(row)) for row in found])

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        """Return the last entries of jobs."""
        found = await self._connections.fetch(sql.LAST_EVENTS, list(map(to_text, job_ids)))
        return await event_records([(from_text(row[0]), from_text(row[1]), tuple(row)[2:]) for row in found])


async def extend_trail(
    connection: Connection, scope_id: str, at: datetime, ended: Sequence[str], notes: Sequence[Note]
) -> int:
    """Add ends of jobs and notes to a scope's trail, inside a transaction; return how many entries there are more."""
    scope = to_text(scope_id)
    await connection.execute(_ONE_AT_A_TIME, f"agent-runtime trail {scope}")
    last = await connection.fetchrow(_LAST_OF_TRAIL, scope)
    found = await connection.fetch(_ENDED, scope, [to_text(job_id) for job_id in ended])
    ends = {from_text(row[0]): (from_text(row[0]), row[1], row[2]) for row in found}
    in_order = [ends[job_id] for job_id in dict.fromkeys(ended) if job_id in ends]
    end = None if last is None else (last[0], last[1])
    made = audit_rows.next_of_trail(scope_id, end, at, in_order, notes)
    rows = [encode(audit_rows.TRAIL, audit_rows.trail_row(entry)) for entry in made]
    if rows:
        await connection.execute(_EXTEND_TRAIL, *map(list, zip(*rows, strict=True)))
    return len(made)


class Audit:
    """Reads chains, and keeps the scopes' trails."""

    _connections: Connections

    async def audited_jobs(
        self, *, scope_id: str | None = None, after: str = "", limit: int = 500
    ) -> Sequence[AuditedJob]:
        """Return jobs in the order of their ids."""
        if scope_id is None:
            return await self._audited(_ALL_JOBS, to_text(after), limit)
        return await self._audited(_JOBS_OF_SCOPE, to_text(after), limit, to_text(scope_id))

    async def audited(self, job_ids: Sequence[str]) -> Sequence[AuditedJob]:
        """Return these jobs."""
        return await self._audited(
            f"{audit_rows.JOBS} job_id = ANY($1::text[])", [to_text(job_id) for job_id in job_ids]
        )

    async def _audited(self, statement: str, *parameters: object) -> list[AuditedJob]:
        found = await self._connections.fetch(statement, *parameters)
        return [audit_rows.audited_job(tuple(row), decode) for row in found]

    async def audited_entries(
        self, job_id: str, *, after_seq: int = 0, limit: int = AUDIT_ENTRIES, max_bytes: int = AUDIT_BYTES
    ) -> Sequence[AuditedEntry]:
        """Return a job's entries in order, also those that cannot be read."""
        sizes = await self._connections.fetch(_SIZES, to_text(job_id), after_seq, limit)
        upto = last_of_page(((row[0], row[1]) for row in sizes), max_bytes)
        if upto is None:
            return []
        found = await self._connections.fetch(_ENTRIES, to_text(job_id), after_seq, upto)
        return await aside(lambda: [audit_rows.audited_entry(tuple(row), decode) for row in found])

    async def extend_trail(
        self, scope_id: str, *, at: datetime, ended: Sequence[str] = (), notes: Sequence[Note] = ()
    ) -> int:
        """Add ends of jobs and notes to a scope's trail, one after the other of those who do so."""

        async def extend(connection: Connection) -> int:
            return await extend_trail(connection, scope_id, at, ended, notes)

        return await self._connections.change(extend)

    async def trail(self, scope_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[TrailEntry]:
        """Return entries of a scope's trail."""
        found = await self._connections.fetch(_TRAIL_PAGE, to_text(scope_id), after, limit)
        return [audit_rows.trail_entry(tuple(row), decode) for row in found]

    async def trail_heads(self) -> Sequence[TrailHead]:
        """Return where the trails of all scopes end."""
        found = await self._connections.fetch(audit_rows.HEADS)
        return [TrailHead(from_text(row[0]), row[1], row[2]) for row in found]
