"""Schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from agent_runtime.ports.audit import Note
from agent_runtime.ports.schedules import Fire, FireOutcome, StoredSchedule
from agent_runtime.storage.memory.journal import note_in_trail
from agent_runtime.storage.memory.state import State


def drop_schedule(state: State, key: tuple[str, str], at: datetime, note: Note) -> bool:
    """Remove a schedule, and skip what is open."""
    if state.schedules.pop(key, None) is None:
        return False
    log = state.fires.get(key, {})
    for due_at, fire in log.items():
        if fire.outcome.is_open:
            log[due_at] = replace(fire, outcome=FireOutcome.SKIPPED, reason="it was removed", decided_at=at)
    note_in_trail(state, key[0], at, [note])
    return True


class Schedules:
    """Keeps schedules, and the log of their times."""

    _state: State

    async def add_schedule(self, schedule: StoredSchedule, *, note: Note) -> bool:
        """Store a schedule whose name is new."""
        key = (schedule.scope_id, schedule.schedule_id)
        if key in self._state.schedules:
            return False
        self._state.schedules[key] = schedule
        note_in_trail(self._state, schedule.scope_id, schedule.created_at, [note])
        return True

    async def replace_schedule(
        self, schedule: StoredSchedule, *, fires: Sequence[Fire] = (), note: Note | None = None
    ) -> bool:
        """Store a schedule in place of the revision before it, with what becomes of its times."""
        key = (schedule.scope_id, schedule.schedule_id)
        seen = self._state.schedules.get(key)
        if seen is None or seen.revision != schedule.revision - 1:
            return False
        self._state.schedules[key] = schedule
        log = self._state.fires.setdefault(key, {})
        for fire in fires:
            known = log.get(fire.due_at)
            if known is None:
                log[fire.due_at] = fire
            elif known.outcome.is_open:
                log[fire.due_at] = replace(fire, last_due_at=known.last_due_at, count=known.count)
        if note is not None:
            note_in_trail(self._state, schedule.scope_id, schedule.updated_at, [note])
        return True

    async def drop_schedule(self, scope_id: str, schedule_id: str, *, at: datetime, note: Note) -> bool:
        """Remove a schedule, and skip what is open."""
        return drop_schedule(self._state, (scope_id, schedule_id), at, note)

    async def get_schedule(self, scope_id: str, schedule_id: str) -> StoredSchedule | None:
        """Return a schedule, or `None`."""
        return self._state.schedules.get((scope_id, schedule_id))

    async def list_schedules(
        self, scope_id: str | None = None, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[StoredSchedule]:
        """Return schedules by scope and name."""
        if scope_id is not None:
            after = (scope_id, after[1])
        keys = sorted(key for key in self._state.schedules if key > after and scope_id in (None, key[0]))
        return [self._state.schedules[key] for key in keys[:limit]]

    async def count_schedules(self, scope_id: str, *, most: int) -> int:
        """Return how many schedules a scope has, or `most` if it has more."""
        return min(most, sum(key[0] == scope_id for key in self._state.schedules))

    async def due_schedules(
        self, now: datetime, *, checks: Sequence[str] = (), limit: int = 100
    ) -> Sequence[StoredSchedule]:
        """Return schedules that somebody has to look after now."""
        return [one for at, one in self._looked_after(checks) if at <= now][:limit]

    async def next_look(self, *, checks: Sequence[str] = ()) -> datetime | None:
        """Return when the next schedule has to be looked after."""
        return next((at for at, _ in self._looked_after(checks)), None)

    def _looked_after(self, checks: Sequence[str]) -> list[tuple[datetime, StoredSchedule]]:
        found = [
            (one.look_at, one)
            for one in self._state.schedules.values()
            if one.look_at is not None and (one.check_name is None or one.check_name in checks)
        ]
        return sorted(found, key=lambda pair: pair[0])

    async def list_fires(
        self, scope_id: str, schedule_id: str, *, before: datetime | None = None, limit: int = 100
    ) -> Sequence[Fire]:
        """Return the log of a schedule, the newest times first."""
        log = self._state.fires.get((scope_id, schedule_id), {})
        times = sorted((at for at in log if before is None or at < before), reverse=True)
        return [log[at] for at in times[:limit]]

    async def open_fires(self, scope_id: str, schedule_id: str, *, limit: int = 100) -> Sequence[Fire]:
        """Return times of a schedule that are open, the oldest first."""
        log = self._state.fires.get((scope_id, schedule_id), {})
        times = sorted(at for at, fire in log.items() if fire.outcome.is_open)
        return [log[at] for at in times[:limit]]

    async def count_fired(self, scope_id: str, schedule_id: str, *, since: datetime) -> int:
        """Return how many of a schedule's times, since a moment, have fired or are about to."""
        log = self._state.fires.get((scope_id, schedule_id), {})
        counted = (FireOutcome.FIRED, FireOutcome.FIRING)
        return sum(fire.outcome in counted for at, fire in log.items() if at >= since)
