"""Schedules."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from agent_runtime.ports.audit import Note
from agent_runtime.ports.schedules import Fire, StoredSchedule
from agent_runtime.storage.json_columns import write_json
from agent_runtime.storage.rows import schedules as rows
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.journal import extend_trail
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import decode, encode, from_time, to_time
from agent_runtime.storage.sqlite.writer import Writer

_NAMES: Final = ("scope", "schedule", "limit", "now", "before", "since", "at")
_PLACES: Final = {name: f":{name}" for name in _NAMES}
_AMONG: Final = "IN (SELECT value FROM json_each(:checks))"
_ONE: Final = rows.ONE.format(**_PLACES)
_LOCK: Final = rows.LOCK.format(**_PLACES)
_DELETE: Final = rows.DELETE.format(**_PLACES)
_ALL: Final = rows.ALL.format(**_PLACES)
_OF_SCOPE: Final = rows.OF_SCOPE.format(**_PLACES)
_COUNT: Final = rows.COUNT.format(**_PLACES)
_DUE: Final = rows.DUE.format(among=_AMONG, **_PLACES)
_NEXT: Final = rows.NEXT.format(among=_AMONG)
_FIRES: Final = rows.FIRES.format(**_PLACES)
_NEWEST: Final = rows.NEWEST.format(**_PLACES)
_OPEN: Final = rows.OPEN.format(**_PLACES)
_FIRED: Final = rows.FIRED.format(**_PLACES)
_SKIP_OPEN: Final = rows.SKIP_OPEN.format(**_PLACES)
_INSERT: Final = sql.insert("runtime_schedules", rows.SCHEDULE, verb="INSERT OR IGNORE")
_REPLACE: Final = sql.insert("runtime_schedules", rows.SCHEDULE, verb="INSERT OR REPLACE")
_PUT_FIRE: Final = f"{sql.insert('runtime_fires', rows.FIRE)} {rows.PUT_FIRE}"


def drop_schedule(db: sqlite3.Connection, scope_id: str, schedule_id: str, at: datetime, note: Note) -> bool:
    """Remove a schedule, and skip what is open."""
    key = {"scope": scope_id, "schedule": schedule_id}
    if not db.execute(_DELETE, key).rowcount:
        return False
    db.execute(_SKIP_OPEN, {**key, "at": from_time(at)})
    extend_trail(db, scope_id, at, (), [note])
    return True


class Schedules:
    """Keeps schedules, and the log of their times."""

    _reader: Reader
    _writer: Writer

    async def add_schedule(self, schedule: StoredSchedule, *, note: Note) -> bool:
        """Store a schedule whose name is new."""
        row = encode(rows.SCHEDULE, rows.schedule_row(schedule))

        def add(db: sqlite3.Connection) -> bool:
            if not db.execute(_INSERT, row).rowcount:
                return False
            extend_trail(db, schedule.scope_id, schedule.created_at, (), [note])
            return True

        return await self._writer.run(add)

    async def replace_schedule(
        self, schedule: StoredSchedule, *, fires: Sequence[Fire] = (), note: Note | None = None
    ) -> bool:
        """Store a schedule in place of the revision before it, with what becomes of its times."""
        row = encode(rows.SCHEDULE, rows.schedule_row(schedule))
        ends = [encode(rows.FIRE, rows.fire_row(fire)) for fire in fires]
        key = {"scope": schedule.scope_id, "schedule": schedule.schedule_id}

        def change(db: sqlite3.Connection) -> bool:
            if db.execute(_LOCK, key).fetchone() != (schedule.revision - 1,):
                return False
            db.execute(_REPLACE, row)
            db.executemany(_PUT_FIRE, ends)
            if note is not None:
                extend_trail(db, schedule.scope_id, schedule.updated_at, (), [note])
            return True

        return await self._writer.run(change)

    async def drop_schedule(self, scope_id: str, schedule_id: str, *, at: datetime, note: Note) -> bool:
        """Remove a schedule, and skip what is open."""
        return await self._writer.run(lambda db: drop_schedule(db, scope_id, schedule_id, at, note))

    async def get_schedule(self, scope_id: str, schedule_id: str) -> StoredSchedule | None:
        """Return a schedule, or `None`."""
        found = await self._reader.rows(_ONE, {"scope": scope_id, "schedule": schedule_id})
        return _schedules(found)[0] if found else None

    async def list_schedules(
        self, scope_id: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[StoredSchedule]:
        """Return schedules by scope and name."""
        page = {"scope": after[0] if scope_id is None else scope_id, "schedule": after[1], "limit": limit}
        return _schedules(await self._reader.rows(_ALL if scope_id is None else _OF_SCOPE, page))

    async def count_schedules(self, scope_id: str, *, most: int) -> int:
        """Return how many schedules a scope has, or `most` if it has more."""
        return int((await self._reader.rows(_COUNT, {"scope": scope_id, "limit": most}))[0][0])

    async def due_schedules(
        self, now: datetime, *, checks: Sequence[str] = (), limit: int = 100
    ) -> Sequence[StoredSchedule]:
        """Return schedules that somebody has to look after now."""
        asked = {"now": from_time(now), "checks": write_json(list(checks)), "limit": limit}
        return _schedules(await self._reader.rows(_DUE, asked))

    async def next_look(self, *, checks: Sequence[str] = ()) -> datetime | None:
        """Return when the next schedule has to be looked after."""
        found = await self._reader.rows(_NEXT, {"checks": write_json(list(checks))})
        return to_time(found[0][0]) if found else None

    async def list_fires(
        self, scope_id: str, schedule_id: str, *, before: datetime | None = None, limit: int = 100
    ) -> Sequence[Fire]:
        """Return the log of a schedule, the newest times first."""
        page = {"scope": scope_id, "schedule": schedule_id, "limit": limit}
        if before is None:
            return _fires(await self._reader.rows(_NEWEST, page))
        return _fires(await self._reader.rows(_FIRES, {**page, "before": from_time(before)}))

    async def open_fires(self, scope_id: str, schedule_id: str, *, limit: int = 100) -> Sequence[Fire]:
        """Return times of a schedule that are open, the oldest first."""
        page = {"scope": scope_id, "schedule": schedule_id, "limit": limit}
        return _fires(await self._reader.rows(_OPEN, page))

    async def count_fired(self, scope_id: str, schedule_id: str, *, since: datetime) -> int:
        """Return how many of a schedule's times, since a moment, have fired or are about to."""
        asked = {"scope": scope_id, "schedule": schedule_id, "since": from_time(since)}
        return int((await self._reader.rows(_FIRED, asked))[0][0])


def _schedules(found: Iterable[Sequence[object]]) -> list[StoredSchedule]:
    return [rows.schedule_record(decode(rows.SCHEDULE, row)) for row in found]


def _fires(found: Iterable[Sequence[object]]) -> list[Fire]:
    return [rows.fire_record(decode(rows.FIRE, row)) for row in found]
