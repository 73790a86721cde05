"""What is due: jobs that wait for a worker, and timers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import orjson

from agent_runtime.ports.commit import Timer
from agent_runtime.ports.due import DueJob
from agent_runtime.storage import rows
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.claims import able, first_due, next_jobs
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import (
    from_time,
    timer_record,
    to_time,
)
from agent_runtime.storage.turns import Rotation
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import EPOCH

_TIMER = ", ".join(rows.TIMER)


class DueWork:
    """Finds what is due."""

    _reader: Reader
    _rotation: Rotation

    async def due_jobs(
        self,
        *,
        limit: int = 1000,
        caps: ScopeCaps = NO_CAPS,
        among: Sequence[str] | None = None,
        ability: Ability | None = None,
        across_scopes: bool = False,
    ) -> Sequence[DueJob]:
        """Return unowned jobs that are due and have a free slot."""
        if among is None:
            rotation = None if across_scopes else self._rotation
            return await self._reader.run(lambda db: first_due(db, limit, caps, ability, rotation))
        statement = sql.due_jobs(capped=bool(caps), across_scopes=across_scopes)
        parameters = {
            "caps": orjson.dumps(dict(caps.scopes)).decode(),
            "cap": caps.default,
            "ids": orjson.dumps(list(among)).decode(),
            "limit": limit,
            **able(ability),
        }
        return [DueJob(*row) for row in await self._reader.rows(statement, parameters)]

    async def next_jobs(
        self, scope_id: str, *, cap: int, queues: Sequence[str] = (), ability: Ability | None = None
    ) -> Sequence[tuple[str, int]]:
        """Return the first due jobs of one scope, as many as have a free slot."""
        return await self._reader.run(lambda db: next_jobs(db, scope_id, cap, queues, ability))

    async def blocked_jobs(
        self,
        ability: Ability,
        *,
        at: datetime,
        started_at: datetime,
        after: str = "",
        limit: int = 500,
    ) -> Sequence[str]:
        """Return blocked jobs that may be tried again."""
        parameters = {"after": after, "limit": limit, **able(ability)}
        parameters |= {"at": from_time(at), "started_at": from_time(started_at)}
        return [job_id for (job_id,) in await self._reader.rows(sql.BLOCKED_JOBS, parameters)]

    async def unlisted_jobs(self, seconds: float, *, at: datetime, limit: int = 500) -> Sequence[str]:
        """Return jobs that nobody can run."""
        parameters = {"since": from_time(at - timedelta(seconds=seconds)), "limit": limit}
        return [job_id for (job_id,) in await self._reader.rows(sql.UNLISTED_JOBS, parameters)]

    async def jobs_with_signals(self, owner: str) -> Sequence[str]:
        """Return jobs of `owner` for which signals wait."""
        found = await self._reader.rows(sql.JOBS_WITH_SIGNALS, (owner,))
        return [job_id for (job_id,) in found]

    async def due_timers(self, now: datetime, *, limit: int = 500) -> Sequence[Timer]:
        """Return timers that have fallen due."""
        found = await self._reader.rows(
            f"SELECT {_TIMER} FROM runtime_timers WHERE due_at <= ? ORDER BY due_at LIMIT ?",  # noqa: S608
            (from_time(now), limit),
        )
        return [timer_record(row) for row in found]

    async def timers_named(
        self, key: str, *, limit: int = 10_000, after: tuple[datetime, str] | None = None
    ) -> Sequence[Timer]:
        """Return the timers of a key, of all jobs."""
        due_at, job_id = after or (EPOCH, "")
        found = await self._reader.rows(
            f"SELECT {_TIMER} FROM runtime_timers WHERE key = ? AND (due_at, job_id) > (?, ?) "  # noqa: S608
            "ORDER BY due_at, job_id LIMIT ?",
            (key, from_time(due_at), job_id, limit),
        )
        return [timer_record(row) for row in found]

    async def get_timer(self, job_id: str, key: str) -> Timer | None:
        """Return a timer that has not been cleared, or `None`."""
        found = await self._reader.rows(
            f"SELECT {_TIMER} FROM runtime_timers WHERE job_id = ? AND key = ?",  # noqa: S608
            (job_id, key),
        )
        return timer_record(found[0]) if found else None

    async def next_timer(self) -> datetime | None:
        """Return when the next timer falls due."""
        ((due_at,),) = await self._reader.rows("SELECT min(due_at) FROM runtime_timers")
        return None if due_at is None else to_time(due_at)
