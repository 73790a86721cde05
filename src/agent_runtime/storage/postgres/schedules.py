"""Schedules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.ports.audit import Note
from agent_runtime.ports.schedules import Fire, StoredSchedule
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.journal import extend_trail
from agent_runtime.storage.postgres.values import decode, encode, to_text
from agent_runtime.storage.rows import schedules as rows

if TYPE_CHECKING:
    from agent_runtime.storage.postgres.connections import Connection

_KEY: Final = {"scope": "$1", "schedule": "$2"}
_ONE: Final = rows.ONE.format(**_KEY)
_LOCK: Final = f"{rows.LOCK.format(**_KEY)} FOR UPDATE"
_DELETE: Final = f"{rows.DELETE.format(**_KEY)} RETURNING 1"
_ALL: Final = rows.ALL.format(limit="$3", **_KEY)
_OF_SCOPE: Final = rows.OF_SCOPE.format(limit="$3", **_KEY)
_COUNT: Final = rows.COUNT.format(scope="$1", limit="$2")
_DUE: Final = rows.DUE.format(now="$1", limit="$2", among="= ANY($3)")
_NEXT: Final = rows.NEXT.format(among="= ANY($1)")
_FIRES: Final = rows.FIRES.format(limit="$3", before="$4", **_KEY)
_NEWEST: Final = rows.NEWEST.format(limit="$3", **_KEY)
_OPEN: Final = rows.OPEN.format(limit="$3", **_KEY)
_FIRED: Final = rows.FIRED.format(since="$3", **_KEY)
_SKIP_OPEN: Final = rows.SKIP_OPEN.format(at="$3", **_KEY)
_INSERT: Final = sql.insert("runtime_schedules", rows.SCHEDULE, "ON CONFLICT DO NOTHING RETURNING 1")
_CHANGED: Final = ", ".join(f"{name} = excluded.{name}" for name in rows.SCHEDULE)
_REPLACE: Final = sql.insert(
    "runtime_schedules", rows.SCHEDULE, f"ON CONFLICT (scope_id, schedule_id) DO UPDATE SET {_CHANGED}"
)
_PUT_FIRE: Final = sql.insert("runtime_fires", rows.FIRE, rows.PUT_FIRE)


async def drop_schedule(
    connection: Connection, scope_id: str, schedule_id: str, at: datetime, note: Note
) -> bool:
    """Remove a schedule, and skip what is open."""
    key = (to_text(scope_id), to_text(schedule_id))
    if not await connection.fetch(_DELETE, *key):
        return False
    await connection.execute(_SKIP_OPEN, *key, at)
    await extend_trail(connection, scope_id, at, (), [note])
    return True


class Schedules:
    """Keeps schedules, and the log of their times."""

    _connections: Connections

    async def add_schedule(self, schedule: StoredSchedule, *, note: Note) -> bool:
        """Store a schedule whose name is new."""
        row = encode(rows.SCHEDULE, rows.schedule_row(schedule))

        async def add(connection: Connection) -> bool:
            if not await connection.fetch(_INSERT, *([value] for value in row)):
                return False
            await extend_trail(connection, schedule.scope_id, schedule.created_at, (), [note])
            return True

        return await self._connections.change(add)

    async def replace_schedule(
        self, schedule: StoredSchedule, *, fires: Sequence[Fire] = (), note: Note | None = None
    ) -> bool:
        """Store a schedule in place of the revision before it, with what becomes of its times."""
        row = encode(rows.SCHEDULE, rows.schedule_row(schedule))
        ends = [encode(rows.FIRE, rows.fire_row(fire)) for fire in fires]

        async def change(connection: Connection) -> bool:
            seen = await connection.fetchval(_LOCK, row[0], row[1])
            if seen != schedule.revision - 1:
                return False
            await connection.execute(_REPLACE, *([value] for value in row))
            if ends:
                await connection.execute(_PUT_FIRE, *map(list, zip(*ends, strict=True)))
            if note is not None:
                await extend_trail(connection, schedule.scope_id, schedule.updated_at, (), [note])
            return True

        return await self._connections.change(change)

    async def drop_schedule(self, scope_id: str, schedule_id: str, *, at: datetime, note: Note) -> bool:
        """Remove a schedule, and skip what is open."""
        return await self._connections.change(
            lambda connection: drop_schedule(connection, scope_id, schedule_id, at, note)
        )

    async def get_schedule(self, scope_id: str, schedule_id: str) -> StoredSchedule | None:
        """Return a schedule, or `None`."""
        found = await self._connections.fetch(_ONE, to_text(scope_id), to_text(schedule_id))
        return _schedules(found)[0] if found else None

    async def list_schedules(
        self, scope_id: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[StoredSchedule]:
        """Return schedules by scope and name."""
        begin = after[0] if scope_id is None else scope_id
        statement = _ALL if scope_id is None else _OF_SCOPE
        return _schedules(await self._connections.fetch(statement, to_text(begin), to_text(after[1]), limit))

    async def count_schedules(self, scope_id: str, *, most: int) -> int:
        """Return how many schedules a scope has, or `most` if it has more."""
        return int((await self._connections.fetch(_COUNT, to_text(scope_id), most))[0][0])

    async def due_schedules(
        self, now: datetime, *, checks: Sequence[str] = (), limit: int = 100
    ) -> Sequence[StoredSchedule]:
        """Return schedules that somebody has to look after now."""
        return _schedules(await self._connections.fetch(_DUE, now, limit, list(map(to_text, checks))))

    async def next_look(self, *, checks: Sequence[str] = ()) -> datetime | None:
        """Return when the next schedule has to be looked after."""
        found = await self._connections.fetch(_NEXT, list(map(to_text, checks)))
        at: datetime | None = found[0][0] if found else None
        return at

    async def list_fires(
        self, scope_id: str, schedule_id: str, *, before: datetime | None = None, limit: int = 100
    ) -> Sequence[Fire]:
        """Return the log of a schedule, the newest times first."""
        page = (to_text(scope_id), to_text(schedule_id), limit)
        if before is None:
            return _fires(await self._connections.fetch(_NEWEST, *page))
        return _fires(await self._connections.fetch(_FIRES, *page, before))

    async def open_fires(self, scope_id: str, schedule_id: str, *, limit: int = 100) -> Sequence[Fire]:
        """Return times of a schedule that are open, the oldest first."""
        page = (to_text(scope_id), to_text(schedule_id), limit)
        return _fires(await self._connections.fetch(_OPEN, *page))

    async def count_fired(self, scope_id: str, schedule_id: str, *, since: datetime) -> int:
        """Return how many of a schedule's times, since a moment, have fired or are about to."""
        asked = (to_text(scope_id), to_text(schedule_id), since)
        return int((await self._connections.fetch(_FIRED, *asked))[0][0])


def _schedules(found: Iterable[Any]) -> list[StoredSchedule]:
    return [rows.schedule_record(decode(rows.SCHEDULE, tuple(row))) for row in found]


def _fires(found: Iterable[Any]) -> list[Fire]:
    return [rows.fire_record(decode(rows.FIRE, tuple(row))) for row in found]
