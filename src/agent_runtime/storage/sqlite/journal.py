"""The entries of jobs, as they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import orjson

from agent_runtime.ports.audit import (
    AUDIT_BYTES,
    AUDIT_ENTRIES,
    AuditedEntry,
    AuditedJob,
    Note,
    TrailEntry,
    TrailHead,
)
from agent_runtime.storage.cursors import BYTES_ON_SQLITE, DATA_ON_SQLITE, last_of_page
from agent_runtime.storage.rows import audit as audit_rows
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.claims import EVENTS
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import decode, encode, event_record
from agent_runtime.storage.sqlite.writer import Writer
from agent_runtime.values.checks import MAX_COUNT
from agent_runtime.values.event import RuntimeEvent

_AMONG: Final = "IN (SELECT value FROM json_each(:ids))"
_NAMES: Final = ("scope", "after", "upto", "limit", "job")
_PLACES: Final = {name: f":{name}" for name in _NAMES}
_ALL_JOBS: Final = audit_rows.ALL_JOBS.format(**_PLACES)
_JOBS_OF_SCOPE: Final = audit_rows.JOBS_OF_SCOPE.format(**_PLACES)
_SIZES: Final = audit_rows.SIZES.format(bytes=BYTES_ON_SQLITE, **_PLACES)
_ENTRIES: Final = audit_rows.ENTRIES.format(**_PLACES)
_READ: Final = {
    True: (_SIZES, audit_rows.PAGE_OF_JOURNAL.format(**_PLACES)),
    False: (
        audit_rows.SIZES.format(bytes=DATA_ON_SQLITE, **_PLACES),
        audit_rows.PUBLIC_PAGE_OF_JOURNAL.format(**_PLACES),
    ),
}
"""How much entries have, and the entries: with their content, and without."""
_TRAIL_PAGE: Final = audit_rows.TRAIL_PAGE.format(**_PLACES)
_LAST_OF_TRAIL: Final = audit_rows.LAST_OF_TRAIL.format(**_PLACES)
_ENDED: Final = audit_rows.ENDED.format(among=_AMONG, **_PLACES)
_EXTEND_TRAIL: Final = sql.insert("runtime_audit", audit_rows.TRAIL)

_NEWEST: Final = {
    True: f"{EVENTS} ORDER BY seq DESC LIMIT ?",
    False: f"{EVENTS} ORDER BY seq DESC LIMIT ?".replace("content", "NULL AS content"),
}


class JournalReader:
    """Reads journals."""

    _reader: Reader

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
        sizes, entries = _READ[with_content]

        def read(db: sqlite3.Connection) -> list[RuntimeEvent]:
            owner = _scope_of(db, job_id)
            if owner is None or scope_id not in (None, owner):
                return []
            page = {"job": job_id, "after": after_seq, "limit": limit, "upto": MAX_COUNT}
            if max_bytes is not None:
                page["upto"] = last_of_page(db.execute(sizes, page), max_bytes) or after_seq
            return [event_record(job_id, owner, row) for row in db.execute(entries, page)]

        return await self._reader.run(read)

    async def tail(
        self, job_id: str, limit: int, *, scope_id: str | None = None, with_content: bool = True
    ) -> Sequence[RuntimeEvent]:
        """Return a job's last entries."""
        newest_first = await self._events(job_id, scope_id, _NEWEST[with_content], limit)
        return newest_first[::-1]

    async def _events(
        self, job_id: str, scope_id: str | None, statement: str, *parameters: int
    ) -> list[RuntimeEvent]:
        def read(db: sqlite3.Connection) -> list[RuntimeEvent]:
            owner = _scope_of(db, job_id)
            if owner is None or scope_id not in (None, owner):
                return []
            return [event_record(job_id, owner, row) for row in db.execute(statement, (job_id, *parameters))]

        return await self._reader.run(read)

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        """Return the last entries of jobs."""
        found = await self._reader.rows(sql.LAST_EVENTS, (orjson.dumps(list(job_ids)).decode(),))
        return [event_record(job_id, scope_id, row) for job_id, scope_id, *row in found]


def _scope_of(db: sqlite3.Connection, job_id: str) -> str | None:
    """Return the scope of a job, `None` when there is no such job."""
    found = db.execute("SELECT scope_id FROM runtime_jobs WHERE job_id = ?", (job_id,)).fetchone()
    return None if found is None else str(found[0])


def _ids(job_ids: Sequence[str]) -> str:
    return orjson.dumps(list(job_ids)).decode()


def extend_trail(
    db: sqlite3.Connection, scope_id: str, at: datetime, ended: Sequence[str], notes: Sequence[Note]
) -> int:
    """Add ends of jobs and notes to a scope's trail; return how many entries there are more."""
    last = db.execute(_LAST_OF_TRAIL, {"scope": scope_id}).fetchone()
    found = db.execute(_ENDED, {"scope": scope_id, "ids": _ids(ended)})
    ends = {job_id: (job_id, seq, head) for job_id, seq, head in found}
    in_order = [ends[job_id] for job_id in dict.fromkeys(ended) if job_id in ends]
    made = audit_rows.next_of_trail(scope_id, last, at, in_order, notes)
    db.executemany(_EXTEND_TRAIL, [encode(audit_rows.TRAIL, audit_rows.trail_row(entry)) for entry in made])
    return len(made)


class Audit:
    """Reads chains, and keeps the scopes' trails."""

    _reader: Reader
    _writer: Writer

    async def audited_jobs(
        self, *, scope_id: str | None = None, after: str = "", limit: int = 500
    ) -> Sequence[AuditedJob]:
        """Return jobs in the order of their ids."""
        statement = _ALL_JOBS if scope_id is None else _JOBS_OF_SCOPE
        return await self._audited(statement, {"scope": scope_id, "after": after, "limit": limit})

    async def audited(self, job_ids: Sequence[str]) -> Sequence[AuditedJob]:
        """Return these jobs."""
        return await self._audited(f"{audit_rows.JOBS} job_id {_AMONG}", {"ids": _ids(job_ids)})

    async def _audited(self, statement: str, parameters: Mapping[str, object]) -> list[AuditedJob]:
        found = await self._reader.rows(statement, parameters)
        return [audit_rows.audited_job(row, decode) for row in found]

    async def audited_entries(
        self, job_id: str, *, after_seq: int = 0, limit: int = AUDIT_ENTRIES, max_bytes: int = AUDIT_BYTES
    ) -> Sequence[AuditedEntry]:
        """Return a job's entries in order, also those that cannot be read."""

        def read(db: sqlite3.Connection) -> list[AuditedEntry]:
            page = {"job": job_id, "after": after_seq, "limit": limit}
            upto = last_of_page(db.execute(_SIZES, page), max_bytes)
            found = [] if upto is None else db.execute(_ENTRIES, {**page, "upto": upto})
            return [audit_rows.audited_entry(row, decode) for row in found]

        return await self._reader.run(read)

    async def extend_trail(
        self, scope_id: str, *, at: datetime, ended: Sequence[str] = (), notes: Sequence[Note] = ()
    ) -> int:
        """Add ends of jobs and notes to a scope's trail."""
        return await self._writer.run(lambda db: extend_trail(db, scope_id, at, ended, notes))

    async def trail(self, scope_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[TrailEntry]:
        """Return entries of a scope's trail."""
        page = {"scope": scope_id, "after": after, "limit": limit}
        found = await self._reader.rows(_TRAIL_PAGE, page)
        return [audit_rows.trail_entry(row, decode) for row in found]

    async def trail_heads(self) -> Sequence[TrailHead]:
        """Return where the trails of all scopes end."""
        return [TrailHead(*row) for row in await self._reader.rows(audit_rows.HEADS)]
