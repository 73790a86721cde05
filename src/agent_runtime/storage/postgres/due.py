"""What is due: jobs that wait for a worker, and timers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from agent_runtime.ports.commit import Timer
from agent_runtime.ports.due import DueJob
from agent_runtime.storage import rows
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.locks import able_parameters
from agent_runtime.storage.postgres.values import (
    from_text,
    timer_record,
    to_text,
)
from agent_runtime.storage.turns import ByPriority, Candidate, Rotation, Turns, number_of_scopes
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.event import EPOCH

_TIMER = ", ".join(rows.TIMER)


class DueWork:
    """Finds what is due."""

    _connections: Connections
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
            return await self._first_due(limit, caps, ability, across_scopes)
        parameters: list[Any] = [limit, *able_parameters(ability), [to_text(job_id) for job_id in among]]
        if caps:
            scopes = [to_text(scope_id) for scope_id in caps.scopes]
            parameters += [scopes, list(caps.scopes.values()), caps.default]
        statement = sql.due_jobs(capped=bool(caps), across_scopes=across_scopes)
        found = await self._connections.fetch(statement, *parameters)
        return [DueJob(job_id, priority, from_text(scope_id)) for job_id, priority, scope_id in found]

    async def _first_due(
        self, limit: int, caps: ScopeCaps, ability: Ability | None, across_scopes: bool
    ) -> list[DueJob]:
        fetch, able = self._connections.fetch, able_parameters(ability)
        running = {from_text(scope_id): number for scope_id, number in await fetch(sql.RUNNING)}
        number, rotation = number_of_scopes(limit, running, caps), self._rotation

        async def scopes(after: str, most: int | None) -> list[str]:
            found = await fetch(sql.READY_SCOPES, to_text(after), most)
            return [from_text(scope_id) for (scope_id,) in found]

        turns: Turns
        if across_scopes:
            turns = ByPriority(await scopes("", None), running, caps=caps, limit=limit)
        else:
            here = await scopes(rotation.after, number)
            start = await scopes("", number) if rotation.after and len(here) < number else []
            turns = Turns(rotation.chosen(here, start, number), running, caps=caps, limit=limit)
        for others in (sql.WOKEN, sql.STOPPING) if caps else (sql.WOKEN,):
            turns.add(map(_candidate, await fetch(others, *able)))
        while turns.wanted:
            wanted = list(map(to_text, turns.wanted)), list(turns.wanted.values())
            found = await fetch(sql.FIRST_READY, *wanted, *able)
            turns.read(map(_candidate, found))
        return turns.first()

    async def next_jobs(
        self, scope_id: str, *, cap: int, queues: Sequence[str] = (), ability: Ability | None = None
    ) -> Sequence[tuple[str, int]]:
        """Return the first due jobs of one scope, as many as have a free slot."""
        names = [to_text(queue) for queue in queues]
        found = await self._connections.fetch(
            sql.NEXT_JOBS, to_text(scope_id), cap, names, *able_parameters(ability)
        )
        return [(job_id, priority) for job_id, priority in found]

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
        found = await self._connections.fetch(
            sql.BLOCKED_JOBS, to_text(after), limit, *able_parameters(ability), at, started_at
        )
        return [from_text(job_id) for (job_id,) in found]

    async def unlisted_jobs(self, seconds: float, *, at: datetime, limit: int = 500) -> Sequence[str]:
        """Return jobs that nobody can run, by the server's clock."""
        interval = timedelta(seconds=seconds)
        lines = await self._connections.fetch(sql.UNLISTED_LINES, interval)
        operators, queues = [line[0] for line in lines], [line[1] for line in lines]
        found = await self._connections.fetch(sql.UNLISTED_JOBS, interval, limit, operators, queues)
        return [from_text(job_id) for (job_id,) in found]

    async def jobs_with_signals(self, owner: str) -> Sequence[str]:
        """Return jobs of `owner` for which signals wait."""
        return [job_id for (job_id,) in await self._connections.fetch(sql.JOBS_WITH_SIGNALS, owner)]

    async def due_timers(self, now: datetime, *, limit: int = 500) -> Sequence[Timer]:
        """Return timers that have fallen due."""
        statement = f"SELECT {_TIMER} FROM runtime_timers WHERE due_at <= $1 ORDER BY due_at LIMIT $2"  # noqa: S608
        return [timer_record(tuple(row)) for row in await self._connections.fetch(statement, now, limit)]

    async def timers_named(
        self, key: str, *, limit: int = 10_000, after: tuple[datetime, str] | None = None
    ) -> Sequence[Timer]:
        """Return the timers of a key, of all jobs."""
        due_at, job_id = after or (EPOCH, "")
        statement = (
            f"SELECT {_TIMER} FROM runtime_timers WHERE key = $1 AND (due_at, job_id) > ($2, $3) "  # noqa: S608
            "ORDER BY due_at, job_id LIMIT $4"
        )
        found = await self._connections.fetch(statement, to_text(key), due_at, to_text(job_id), limit)
        return [timer_record(tuple(row)) for row in found]

    async def get_timer(self, job_id: str, key: str) -> Timer | None:
        """Return a timer that has not been cleared, or `None`."""
        statement = f"SELECT {_TIMER} FROM runtime_timers WHERE job_id = $1 AND key = $2"  # noqa: S608
        found = await self._connections.fetch(statement, to_text(job_id), to_text(key))
        return timer_record(tuple(found[0])) if found else None

    async def next_timer(self) -> datetime | None:
        """Return when the next timer falls due."""
        ((due_at,),) = await self._connections.fetch("SELECT min(due_at) FROM runtime_timers")
        moment: datetime | None = due_at
        return moment


def _candidate(row: Iterable[Any]) -> Candidate:
    job_id, priority, scope_id, queue, *stops = row
    return Candidate(job_id, priority, from_text(scope_id), from_text(queue), *stops)
