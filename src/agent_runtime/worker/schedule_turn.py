"""One look at one schedule: what has become due since the last one is decided, and what is to fire fires."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final, Protocol

from agent_runtime.errors import (
    AgentRuntimeError,
    ConfigurationError,
    ExecutorBusy,
    IdempotencyConflict,
    InboxFull,
    QueueFull,
    StorageError,
    UnknownOperator,
)
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.schedules import Fire, FireOutcome, Schedules, StoredSchedule
from agent_runtime.schedules.planning import MAX_CAP, plan
from agent_runtime.schedules.rules import Check, DueTime, ScheduleRules
from agent_runtime.schedules.timing import Timing
from agent_runtime.time_zones import load_zones, zone
from llm_client.logs import logger_of
from llm_client.tools.threads import call_in_thread

logger = logger_of(__name__)

HELD_SECONDS: Final = 60.0
"""How long a schedule is left to who has taken it. A process that has died in between is followed by another one then."""
CHECK_SECONDS: Final = 30.0
"""How long a check may take."""
AGAIN_SECONDS: Final = 1.0
"""After how long it is seen whether what has to end first has ended."""
REFUSED_SECONDS: Final = 5.0
"""After how long it is tried again to start what a full queue, or the like, has refused."""
_LATER: Final = (QueueFull, InboxFull, ExecutorBusy, UnknownOperator)
"""Refusals of what may be accepted later."""
_OUTCOMES: Final = {
    "fired": FireOutcome.PENDING,
    "coalesced": FireOutcome.COALESCED,
    "missed": FireOutcome.MISSED,
}


class Starter(Protocol):
    """Starts what schedules start, once for each due time."""

    async def started(self, schedule: StoredSchedule, due_at: datetime) -> str | None:
        """Return what was started for a due time, if that can be found."""
        ...

    async def start(self, schedule: StoredSchedule, due_at: datetime) -> str:
        """Start it and return its id; what was started before for the due time is returned again."""
        ...

    async def goes_on(self, schedule: StoredSchedule) -> bool:
        """Whether what a schedule has started last has not ended."""
        ...


class Overtaken(Exception):
    """Somebody else has changed the schedule, or looks after it now."""


class _Verdict(StrEnum):
    FIRE = "fire"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class _Skip:
    reason: str


class ScheduleTurn:
    """One look at one schedule, by one process.

    Everything is written with the revision that was seen before, so of two processes one goes on. A due time is written as
    *firing* before anything is started for it, and what is started has a key: whoever follows a process that died starts it again, and
    nothing begins twice.

    Args:
        schedule: As it was found.
        schedules: Where it is kept.
        clock: What time it is.
        holder: This process.
        starter: Starts what it starts.
        checks: What can be asked here.
    """

    def __init__(
        self,
        schedule: StoredSchedule,
        *,
        schedules: Schedules,
        clock: Clock,
        holder: str,
        starter: Starter,
        checks: Mapping[str, Check],
    ) -> None:
        self._schedule = schedule
        self._schedules = schedules
        self._clock = clock
        self._holder = holder
        self._starter = starter
        self._checks = checks
        self._timing = Timing.from_json(schedule.timing)
        self._rules = ScheduleRules.from_json(schedule.rules)
        self._changed: dict[str, Any] = {}
        self._fires: dict[datetime, Fire] = {}
        self._again_at: datetime | None = None

    async def take(self) -> None:
        """Do it.

        Raises:
            Overtaken: Somebody else does.
            StorageError: It could not be written; whoever looks next goes on.
        """
        await load_zones([self._timing.timezone])
        now = self._clock.now()
        due = [*await self._open(), *self._planned(now)]
        for fire in due[: self._rules.cap]:
            if not await self._dealt_with(fire):
                break
        for fire in due[self._rules.cap :]:
            self._end(fire, FireOutcome.SKIPPED, "too many wait before it")
        self._release()
        await self._write()

    async def _open(self) -> Sequence[Fire]:
        return await self._schedules.open_fires(
            self._schedule.scope_id, self._schedule.schedule_id, limit=2 * MAX_CAP
        )

    def _planned(self, now: datetime) -> list[Fire]:
        """Decide about the due times up to now, and return those that are to fire."""
        schedule = self._schedule
        if schedule.next_due is None or schedule.paused_at is not None or schedule.next_due > now:
            return []
        planned = plan(self._timing, self._rules, schedule.next_due, now)
        self._changed["next_due"] = planned.next_due
        fires = [
            Fire(
                scope_id=schedule.scope_id,
                schedule_id=schedule.schedule_id,
                due_at=one.first_due,
                last_due_at=one.last_due,
                count=one.count,
                outcome=_OUTCOMES[one.outcome],
                reason=None if one.outcome == "fired" else one.reason,
                decided_at=None if one.outcome == "fired" else now,
            )
            for one in planned.outcomes
        ]
        self._fires.update((fire.due_at, fire) for fire in fires)
        return [fire for fire in fires if fire.outcome.is_open]

    async def _dealt_with(self, fire: Fire) -> bool:
        """Decide about a due time and do what is decided; return whether the next one can be dealt with."""
        if fire.outcome is FireOutcome.FIRING:  # who has begun it may have died at any moment
            started = await self._starter.started(self._schedule, fire.due_at)
            if started is not None:
                self._fired(fire, started)
                return True
        else:
            verdict = await self._verdict(fire)
            if isinstance(verdict, _Skip):
                self._end(fire, FireOutcome.SKIPPED, verdict.reason)
                return True
            if verdict is _Verdict.WAIT:
                self._again_at = self._clock.now() + timedelta(seconds=AGAIN_SECONDS)
                return False
            self._fires[fire.due_at] = fire = replace(fire, outcome=FireOutcome.FIRING)
        await self._hold()
        return await self._start(fire)

    async def _start(self, fire: Fire) -> bool:
        try:
            started = await self._starter.start(self._schedule, fire.due_at)
        except StorageError:
            raise
        except IdempotencyConflict as error:  # who was overtaken has started what the schedule was before
            begun = await self._starter.started(self._schedule, fire.due_at)
            if begun is None:
                self._end(fire, FireOutcome.SKIPPED, f"it was refused: {error.code}")
                return True
            started = begun
        except _LATER as error:
            now = self._clock.now()
            if now - fire.due_at > timedelta(seconds=max(self._rules.window, self._rules.grace)):
                self._end(fire, FireOutcome.MISSED, f"it was refused for too long: {error.code}")
                return True
            self._again_at = now + timedelta(seconds=REFUSED_SECONDS)
            return False
        except (AgentRuntimeError, ConfigurationError) as error:
            logger.warning("schedule %r could not start anything: %s", self._schedule.schedule_id, error)
            self._end(fire, FireOutcome.SKIPPED, f"it was refused: {error.code}")
            return True
        self._fired(fire, started)
        return True

    async def _verdict(self, fire: Fire) -> _Verdict | _Skip:
        """Return what is to become of a due time that nothing was decided about."""
        schedule = self._schedule
        if self._rules.max_per_day is not None:
            since = day_of(fire.due_at, self._timing.timezone)
            fired = await self._schedules.count_fired(schedule.scope_id, schedule.schedule_id, since=since)
            if fired >= self._rules.max_per_day:
                return _Skip("it has fired as often as a day allows")
        if self._rules.overlap != "parallel" and await self._starter.goes_on(schedule):
            return _Verdict.WAIT if self._rules.overlap == "queue" else _Skip("the one before goes on")
        if schedule.check_name is not None:
            return await self._checked(schedule.check_name, fire)
        return _Verdict.FIRE

    async def _checked(self, name: str, fire: Fire) -> _Verdict | _Skip:
        """Ask whether there is reason to fire, as the only one who asks."""
        await self._hold()
        schedule = self._schedule
        asked = DueTime(
            scope_id=schedule.scope_id,
            schedule_id=schedule.schedule_id,
            due_at=fire.due_at,
            last_id=schedule.last_id,
        )
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                has_news = await _answer(self._checks[name], asked)
        except Exception as error:
            logger.exception("the check %r of schedule %r failed", name, schedule.schedule_id)
            return _Skip(f"its check failed: {type(error).__name__}")
        return _Verdict.FIRE if has_news else _Skip("its check found no reason")

    def _fired(self, fire: Fire, started_id: str) -> None:
        self._fires[fire.due_at] = replace(
            fire, outcome=FireOutcome.FIRED, decided_at=self._clock.now(), started_id=started_id
        )
        self._changed["last_id"] = started_id
        self._schedule = replace(self._schedule, last_id=started_id)

    def _end(self, fire: Fire, outcome: FireOutcome, reason: str) -> None:
        self._fires[fire.due_at] = replace(fire, outcome=outcome, reason=reason, decided_at=self._clock.now())

    async def _hold(self) -> None:
        """Write what is decided up to now, and keep others away for a while."""
        look_at = self._clock.now() + timedelta(seconds=HELD_SECONDS)
        self._changed |= {"holder": self._holder, "look_at": look_at}
        await self._write()

    def _release(self) -> None:
        """Let whoever looks next look: at the next due time, or when something that is open is to be seen to again."""
        next_due = self._changed.get("next_due", self._schedule.next_due)
        times = [self._again_at, None if self._schedule.paused_at is not None else next_due]
        look_at = min((time for time in times if time is not None), default=None)
        self._changed |= {"holder": None, "look_at": look_at}

    async def _write(self) -> None:
        seen = self._schedule
        changed = replace(seen, **self._changed, revision=seen.revision + 1)
        if not await self._schedules.replace_schedule(changed, fires=list(self._fires.values())):
            raise Overtaken
        self._schedule, self._changed = changed, {}
        self._fires = {}


def day_of(moment: datetime, timezone: str) -> datetime:
    """Return when the day of a moment has begun in a time zone whose file was read."""
    local = moment.astimezone(zone(timezone))
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)


async def _answer(check: Check, asked: DueTime) -> bool:
    if inspect.iscoroutinefunction(check):
        return bool(await check(asked))
    answer = await call_in_thread(partial(check, asked), {}, f"check-{asked.schedule_id}")
    return bool(await answer if inspect.isawaitable(answer) else answer)
