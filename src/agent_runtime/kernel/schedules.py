"""`ScheduleManager`: making, changing, pausing and removing schedules, and looking at what became of their times."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from agent_runtime.errors import ConfigurationError, InvalidInput, StorageError, UnknownSchedule
from agent_runtime.kernel.request import ExecutionRequest
from agent_runtime.kernel.scheduled import (
    ScheduledMessage,
    ScheduledTask,
    Started,
    dump_started,
    load_started,
)
from agent_runtime.ports.audit import Note
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.schedules import (
    CHANGED,
    CREATED,
    PAUSED,
    REMOVED,
    RESUMED,
    Fire,
    FireOutcome,
    Schedules,
    StoredSchedule,
)
from agent_runtime.schedules.rules import ScheduleRules
from agent_runtime.schedules.timing import (
    MAX_UPCOMING,
    Timing,
    count_within,
    first_within,
    last_within,
    next_after,
    upcoming,
)
from agent_runtime.time_zones import load_zones
from agent_runtime.values.checks import can_be_id, check_text, check_time, check_whole
from agent_runtime.values.context import DEFAULT_SCOPE
from agent_runtime.values.message import check_identity
from llm_client.turns import aside

MAX_PAGE: Final = 1000
"""Schedules, or times, that one look returns at most."""
MAX_SCHEDULES: Final = 10_000
"""Schedules of one scope."""
MAX_NAME_BYTES: Final = 460
"""Bytes of a schedule's name: the keys under which it starts something have its due times as well."""
_FIRST: Final = 2**40
"""Below it is the first revision of a schedule. It is drawn by lot, so that nobody takes a schedule for the one of its name that was removed."""
_TRIES: Final = 20
"""How often a change is made anew when somebody else's comes first."""
_UNKNOWN: Final = "no schedule has this name, or none of this scope"
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule."""

    schedule_id: str
    """Its name, among those of its scope."""
    scope_id: str
    timing: Timing
    rules: ScheduleRules
    starts: Started
    """The job or the message."""
    check: str | None
    """What is asked before it fires."""
    next_due: datetime | None
    """In UTC; `None` when it is never due again. A schedule that is paused is not due meanwhile."""
    last_id: str | None
    """The job or message that it has started last."""
    paused_at: datetime | None
    created_at: datetime
    created_by: str | None
    updated_at: datetime

    @classmethod
    def of(cls, stored: StoredSchedule) -> Schedule:
        """Return a schedule as it is stored."""
        return cls(
            schedule_id=stored.schedule_id,
            scope_id=stored.scope_id,
            timing=Timing.from_json(stored.timing),
            rules=ScheduleRules.from_json(stored.rules),
            starts=load_started(stored.content),
            check=stored.check_name,
            next_due=stored.next_due,
            last_id=stored.last_id,
            paused_at=stored.paused_at,
            created_at=stored.created_at,
            created_by=stored.created_by,
            updated_at=stored.updated_at,
        )


class _Change(Protocol):
    """Makes the next revision of a schedule; `None` leaves it as it is."""

    def __call__(
        self, seen: StoredSchedule, now: datetime
    ) -> Awaitable[tuple[StoredSchedule, list[Fire]] | None]: ...


@after_the_journal()
class ScheduleManager:
    """The schedules of a kernel's storage. Processes that execute look after them.

    Args:
        schedules: Where they are kept.
        clock: What time it is.
        changed: Is told that something is to be looked after.
    """

    def __init__(self, schedules: Schedules, clock: Clock, changed: Callable[[], None]) -> None:
        self._schedules = schedules
        self._clock = clock
        self._changed = changed

    async def put(
        self,
        schedule_id: str,
        starts: Started,
        timing: Timing,
        *,
        rules: ScheduleRules | None = None,
        check: str | None = None,
        scope_id: str | None = None,
        by: str | None = None,
    ) -> Schedule:
        """Store a schedule under a name, or change the one that has it; what is as it was stays untouched.

        So an application says at each start which schedules it has, and no deploy changes a cadence: only another timing has the next
        due time computed anew. A schedule that is paused stays paused.

        Args:
            schedule_id: Its name, among those of its scope; everybody may read it.
            starts: The job or the message. A job has the schedule's key for each due time as idempotency key, and if it names no
                session `schedule:` and the name, for which a budget can be set.
            timing: When it is due.
            rules: What becomes of times that are seen late, or come too soon.
            check: Name of a check, which is asked before it fires.
            scope_id: Whose it is; by default the request's scope.
            by: Who does so, for the list and for the trail.

        Raises:
            InvalidInput: A value cannot be stored, or the schedule would never be due; it says which.
            ResultNotSerializable: The input is not made of JSON values.
            ContentTooLarge: It is too large.
        """
        _check_name(schedule_id)
        scope = _scope_of(starts, scope_id)
        if not isinstance(timing, Timing):
            raise InvalidInput("a schedule's timing is a Timing")
        if not isinstance(rules, ScheduleRules | None):
            raise InvalidInput("a schedule's rules are ScheduleRules")
        if check is not None:
            check_identity("check", check)
        by = None if by is None else check_text("by", by)
        content = await aside(dump_started, starts)
        await load_zones([timing.timezone])
        now = self._clock.now()
        next_due = next_after(timing, now)
        wanted = StoredSchedule(
            scope_id=scope,
            schedule_id=schedule_id,
            revision=1 + secrets.randbelow(_FIRST),
            timing=timing.to_json(),
            rules=(rules or ScheduleRules()).to_json(),
            principal_id=starts.principal_id if isinstance(starts, ExecutionRequest) else None,
            check_name=check,
            content=content,
            next_due=next_due,
            look_at=next_due,
            created_at=now,
            created_by=by,
            updated_at=now,
        )
        return await self._put(wanted, by)

    async def _put(self, wanted: StoredSchedule, by: str | None) -> Schedule:
        said = {"schedule_id": wanted.schedule_id, "by": by}
        found = await self._schedules.get_schedule(wanted.scope_id, wanted.schedule_id)
        if found is None:
            if wanted.next_due is None:
                raise InvalidInput("timing: it is never due")
            await self._check_room(wanted.scope_id)
            if await self._schedules.add_schedule(wanted, note=Note(CREATED, said)):
                self._changed()
                return Schedule.of(wanted)
        same = ("timing", "rules", "principal_id", "check_name", "content")

        async def changed(seen: StoredSchedule, now: datetime) -> tuple[StoredSchedule, list[Fire]] | None:
            values = {name: getattr(wanted, name) for name in same}
            if all(getattr(seen, name) == value for name, value in values.items()):
                return None
            next_due, passed = seen.next_due, list[Fire]()
            if seen.timing != wanted.timing:
                next_due, passed = wanted.next_due, await _left_behind(seen, now)
                if next_due is None:
                    raise InvalidInput("timing: it is never due")
            return replace(seen, **values, next_due=next_due, look_at=now, holder=None), passed

        return await self._change(wanted.scope_id, wanted.schedule_id, CHANGED, by, changed)

    async def _check_room(self, scope_id: str) -> None:
        if await self._schedules.count_schedules(scope_id, most=MAX_SCHEDULES) >= MAX_SCHEDULES:
            raise InvalidInput(f"a scope has {MAX_SCHEDULES:,} schedules at most")

    async def pause(
        self, schedule_id: str, *, scope_id: str = DEFAULT_SCOPE, by: str | None = None
    ) -> Schedule:
        """Let a schedule fire no more until it is resumed; one that is paused stays as it is.

        What waits to fire is skipped, and so is what falls due meanwhile. What it has started goes on.

        Raises:
            UnknownSchedule: There is none of this name in this scope.
        """

        async def paused(seen: StoredSchedule, now: datetime) -> tuple[StoredSchedule, list[Fire]] | None:
            if seen.paused_at is not None:
                return None
            waiting = await self._schedules.open_fires(scope_id, schedule_id, limit=MAX_PAGE)
            skipped = [
                replace(fire, outcome=FireOutcome.SKIPPED, reason="it was paused", decided_at=now)
                for fire in waiting
                if fire.outcome is FireOutcome.PENDING
            ]
            look_at = now if len(skipped) < len(waiting) else None
            return replace(seen, paused_at=now, look_at=look_at, holder=None), skipped

        return await self._change(scope_id, schedule_id, PAUSED, by, paused)

    async def resume(
        self, schedule_id: str, *, scope_id: str = DEFAULT_SCOPE, by: str | None = None
    ) -> Schedule:
        """Let a schedule fire again, from its next due time on; what fell due meanwhile is skipped.

        Raises:
            UnknownSchedule: There is none of this name in this scope.
        """
        await load_zones([(await self.get(schedule_id, scope_id=scope_id)).timing.timezone])

        async def resumed(seen: StoredSchedule, now: datetime) -> tuple[StoredSchedule, list[Fire]] | None:
            if seen.paused_at is None:
                return None
            next_due, passed = _passed(seen, now, FireOutcome.SKIPPED, "it was paused")
            return replace(seen, paused_at=None, next_due=next_due, look_at=next_due, holder=None), passed

        return await self._change(scope_id, schedule_id, RESUMED, by, resumed)

    async def pause_all(self, *, scope_id: str | None = None, by: str | None = None) -> int:
        """Pause all schedules of a scope, or all there are; return how many were not paused."""
        return await self._all(scope_id, lambda one: one.paused_at is None, self.pause, by)

    async def resume_all(self, *, scope_id: str | None = None, by: str | None = None) -> int:
        """Resume all schedules of a scope, or all there are; return how many were paused."""
        return await self._all(scope_id, lambda one: one.paused_at is not None, self.resume, by)

    async def _all(self, scope_id: str | None, wanted: Callable, change: Callable, by: str | None) -> int:  # type: ignore[type-arg]  # our own methods
        count, after = 0, ("", "")
        while page := await self._schedules.list_schedules(scope_id, after=after, limit=MAX_PAGE):
            for one in filter(wanted, page):
                try:
                    await change(one.schedule_id, scope_id=one.scope_id, by=by)
                except UnknownSchedule:  # removed meanwhile
                    continue
                count += 1
            after = (page[-1].scope_id, page[-1].schedule_id)
        return count

    async def remove(self, schedule_id: str, *, scope_id: str = DEFAULT_SCOPE, by: str | None = None) -> None:
        """Remove a schedule. What it has started goes on, what waits to fire is skipped, and its log is kept.

        Raises:
            UnknownSchedule: There is none of this name in this scope.
        """
        note = Note(REMOVED, {"schedule_id": schedule_id, "by": None if by is None else check_text("by", by)})
        name, at = check_text("schedule_id", schedule_id), self._clock.now()
        if not await self._schedules.drop_schedule(check_text("scope_id", scope_id), name, at=at, note=note):
            raise UnknownSchedule(_UNKNOWN)

    async def get(self, schedule_id: str, *, scope_id: str = DEFAULT_SCOPE) -> Schedule:
        """Return a schedule. Raises `UnknownSchedule`."""
        return await aside(Schedule.of, await self._get(scope_id, schedule_id))

    async def list(
        self, *, scope_id: str | None = None, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> Sequence[Schedule]:
        """Return schedules by scope and name.

        Args:
            scope_id: Whose; `None` for those of all scopes.
            after: Scope and name of the last one of the page before.
            limit: How many at most.
        """
        check_whole("limit", limit, least=1, most=MAX_PAGE)
        scope = None if scope_id is None else check_text("scope_id", scope_id)
        found = await self._schedules.list_schedules(scope, after=after, limit=limit)
        return await aside(lambda: [Schedule.of(one) for one in found])

    async def log(
        self,
        schedule_id: str,
        *,
        scope_id: str = DEFAULT_SCOPE,
        before: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[Fire]:
        """Return what became of a schedule's times, the newest first; also of one that was removed.

        Args:
            schedule_id: The schedule.
            scope_id: Its scope.
            before: `due_at` of the last one of the page before.
            limit: How many at most.
        """
        check_whole("limit", limit, least=1, most=MAX_PAGE)
        check_time("before", before)
        name = check_text("schedule_id", schedule_id)
        return await self._schedules.list_fires(
            check_text("scope_id", scope_id), name, before=before, limit=limit
        )

    async def upcoming(
        self, schedule_id: str, *, scope_id: str = DEFAULT_SCOPE, most: int = 10
    ) -> Sequence[datetime]:
        """Return when a schedule is due next, in UTC; nothing while it is paused. Raises `UnknownSchedule`."""
        check_whole("most", most, least=1, most=MAX_UPCOMING)
        found = await self.get(schedule_id, scope_id=scope_id)
        if found.paused_at is not None or found.next_due is None:
            return []
        await load_zones([found.timing.timezone])
        return upcoming(found.timing, found.next_due - _TICK, most)

    async def _get(self, scope_id: str, schedule_id: str) -> StoredSchedule:
        scope = check_text("scope_id", scope_id)
        found = None
        if can_be_id(schedule_id):
            found = await self._schedules.get_schedule(scope, schedule_id)
        if found is None:
            raise UnknownSchedule(_UNKNOWN)
        return found

    async def _change(
        self, scope_id: str, schedule_id: str, kind: str, by: str | None, change: _Change
    ) -> Schedule:
        """Change a schedule, again if somebody else comes first, as whoever fires it may."""
        by = None if by is None else check_text("by", by)
        for _ in range(_TRIES):
            seen, now = await self._get(scope_id, schedule_id), self._clock.now()
            made = await change(seen, now)
            if made is None:
                return Schedule.of(seen)
            changed = replace(made[0], revision=seen.revision + 1, updated_at=now)
            note = Note(kind, {"schedule_id": schedule_id, "by": by})
            if await self._schedules.replace_schedule(changed, fires=made[1], note=note):
                self._changed()
                return Schedule.of(changed)
        raise StorageError("others have changed the schedule too often meanwhile")


async def _left_behind(seen: StoredSchedule, now: datetime) -> list[Fire]:
    """Return the times of a timing that is given up that nobody has decided about."""
    try:
        await load_zones([Timing.from_json(seen.timing).timezone])
    except (InvalidInput, ConfigurationError):  # it cannot be read here: nobody knows its times
        return []
    if seen.paused_at is not None:
        return _passed(seen, now, FireOutcome.SKIPPED, "it was paused")[1]
    return _passed(seen, now, FireOutcome.MISSED, "its timing was changed")[1]


def _passed(
    seen: StoredSchedule, now: datetime, outcome: FireOutcome, reason: str
) -> tuple[datetime | None, list[Fire]]:
    """Return when a schedule is due next, and its times that have passed, with one outcome for all."""
    timing = Timing.from_json(seen.timing)
    if seen.next_due is None or seen.next_due > now:
        return seen.next_due, []
    end = now + _TICK
    first, last = first_within(timing, seen.next_due, end), last_within(timing, seen.next_due, end)
    if first is None or last is None:
        return next_after(timing, now), []
    passed = Fire(
        scope_id=seen.scope_id,
        schedule_id=seen.schedule_id,
        due_at=first,
        last_due_at=last,
        count=count_within(timing, seen.next_due, end),
        outcome=outcome,
        reason=reason,
        decided_at=now,
    )
    return next_after(timing, now), [passed]


def _scope_of(starts: Started, scope_id: str | None) -> str:
    if isinstance(starts, ScheduledMessage | ScheduledTask):
        return check_text("scope_id", DEFAULT_SCOPE if scope_id is None else scope_id)
    if not isinstance(starts, ExecutionRequest):
        raise InvalidInput("a schedule starts an ExecutionRequest, a ScheduledMessage or a ScheduledTask")
    if scope_id not in (None, starts.scope_id):
        raise InvalidInput("a schedule and the job it starts are of one scope")
    return starts.scope_id


def _check_name(value: str) -> None:
    check_identity("schedule_id", value)
    if len(value.encode()) > MAX_NAME_BYTES:
        raise InvalidInput(f"schedule_id is a text of 1 to {MAX_NAME_BYTES} bytes")
