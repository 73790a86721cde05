"""What is due: jobs that wait for a worker, and timers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain, islice

from agent_runtime.ports.commit import Timer
from agent_runtime.ports.due import DueJob
from agent_runtime.storage.memory.job_table import in_order
from agent_runtime.storage.memory.state import State, may_try
from agent_runtime.storage.turns import (
    ByPriority,
    Candidate,
    Rotation,
    Turns,
    in_turns,
    number_of_scopes,
    with_slot,
)
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from agent_runtime.values.job import JobRecord, JobStatus


class DueWork:
    """Finds what is due."""

    _state: State
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
        state = self._state
        if among is None:
            return self._first_due(limit, caps, ability, across_scopes)
        known = (state.jobs[job_id] for job_id in {*among} & state.jobs.keys())
        due = sorted((job for job in known if state.is_due(job) and state.covers(ability, job)), key=in_order)
        lines: dict[str, list[Candidate]] = {}
        for job in due:
            lines.setdefault(job.scope_id, []).append(self._candidate(job))
        for scope_id, line in lines.items():
            slots = state.free_slots(scope_id, caps)
            lines[scope_id] = line if slots is None else with_slot(line, slots)
        lines = {scope_id: line for scope_id, line in lines.items() if line}
        if across_scopes:
            found = sorted(chain(*lines.values()), key=lambda job: (-job.priority, job.job_id))[:limit]
        else:
            found = in_turns(lines, state.jobs.running, limit)
        return [DueJob(job.job_id, job.priority, job.scope_id) for job in found]

    def _first_due(
        self, limit: int, caps: ScopeCaps, ability: Ability | None, across_scopes: bool
    ) -> list[DueJob]:
        state = self._state
        running = state.jobs.running
        number, scopes = number_of_scopes(limit, running, caps), sorted(state.jobs.ready)
        if not across_scopes:
            place = bisect_right(scopes, self._rotation.after)
            scopes = self._rotation.chosen(scopes[place : place + number], scopes[:number], number)
        planner = ByPriority if across_scopes else Turns
        turns = planner(scopes, running, caps=caps, limit=limit)
        others = [*state.suspended_due(), *(state.stopping() if caps else ())]
        turns.add(self._candidate(job) for job in others if state.covers(ability, job))
        while turns.wanted:
            turns.read(
                self._candidate(job)
                for scope_id, most in turns.wanted.items()
                for job in islice(
                    (job for job in state.jobs.first(scope_id) if state.covers(ability, job)), most
                )
            )
        return turns.first()

    def _candidate(self, job: JobRecord) -> Candidate:
        stops = job.job_id in self._state.signals and self._state.is_stopping(job)
        return Candidate(job.job_id, job.priority, job.scope_id, job.queue, stops)

    async def next_jobs(
        self, scope_id: str, *, cap: int, queues: Sequence[str] = (), ability: Ability | None = None
    ) -> Sequence[tuple[str, int]]:
        """Return the first due jobs of one scope, as many as have a free slot."""
        found = self._state.next_jobs(scope_id, ScopeCaps(default=cap), queues, ability)
        return [(job.job_id, job.priority) for job in found]

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
        state = self._state
        found = (
            job.job_id
            for job in state.jobs.values()
            if job.status is JobStatus.BLOCKED
            and job.owner is None
            and not state.signals.get(job.job_id)
            and state.covers(ability, job)
            and (job.retry_at is None or (job.retry_at <= at and may_try(job, started_at)))
        )
        return sorted(job_id for job_id in found if job_id > after)[:limit]

    async def unlisted_jobs(self, seconds: float, *, at: datetime, limit: int = 500) -> Sequence[str]:
        """Return jobs that nobody can run."""
        state = self._state
        since = at - timedelta(seconds=seconds)
        lines = [line for lines in state.jobs.ready.values() for line in lines.items()]
        ready = (
            state.jobs[job_id]
            for line, places in lines
            if not state.is_listed(line, since)
            for _, job_id in places
        )
        unlisted = (job for job in chain(ready, state.suspended_due()) if state.is_unlisted(job, seconds, at))
        return [job.job_id for job in islice(unlisted, limit)]

    async def jobs_with_signals(self, owner: str) -> Sequence[str]:
        """Return jobs of `owner` for which signals wait."""
        state = self._state
        mailed = [job_id for job_id in state.mail.receivers if state.mail.mailed(job_id)]
        return [
            job_id
            for job_id in dict.fromkeys((*state.signals, *mailed))
            if job_id in state.jobs and state.jobs[job_id].owner == owner
        ]

    async def due_timers(self, now: datetime, *, limit: int = 500) -> Sequence[Timer]:
        """Return timers that have fallen due."""
        due = sorted((t for t in self._state.timers.values() if t.due_at <= now), key=lambda t: t.due_at)
        return due[:limit]

    async def timers_named(
        self, key: str, *, limit: int = 10_000, after: tuple[datetime, str] | None = None
    ) -> Sequence[Timer]:
        """Return the timers of a key, of all jobs."""
        found = sorted(
            ((timer.due_at, timer.job_id), timer) for timer in self._state.timers.values() if timer.key == key
        )
        return [timer for place, timer in found if after is None or place > after][:limit]

    async def get_timer(self, job_id: str, key: str) -> Timer | None:
        """Return a timer that has not been cleared, or `None`."""
        return self._state.timers.get((job_id, key))

    async def next_timer(self) -> datetime | None:
        """Return when the next timer falls due."""
        return min((timer.due_at for timer in self._state.timers.values()), default=None)
