"""The scheduler: looks after schedules that are due. Whoever executes jobs does so too; of several processes one fires."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from agent_runtime.errors import StorageError
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.schedules import Schedules, StoredSchedule
from agent_runtime.schedules.rules import Check
from agent_runtime.worker.schedule_turn import Overtaken, ScheduleTurn, Starter
from llm_client.background import BackgroundLoop, Backoff, drained, in_background
from llm_client.logs import logger_of

logger = logger_of(__name__)

AT_ONCE: Final = 32
"""Schedules that one process looks after at the same time."""
RETRY_SECONDS: Final = 1.0
PUT_OFF_SECONDS: Final = 10.0
"""How long a schedule is left alone that cannot be looked after: however many they are, others come first meanwhile."""
STOP_SECONDS: Final = 2.0
"""How long what is under way may take when the process stops."""


class Scheduler:
    """Looks after schedules, with one question to the storage for all of them.

    Args:
        schedules: Where they are kept.
        clock: What time it is.
        holder: This process.
        starter: Starts what they start.
        checks: What can be asked here before one fires, by name.
        sweep_interval: Seconds after which it looks in any case: another process may have made a schedule, or the clock was set.
    """

    def __init__(
        self,
        schedules: Schedules,
        clock: Clock,
        *,
        holder: str,
        starter: Starter,
        checks: Mapping[str, Check],
        sweep_interval: float,
    ) -> None:
        self._schedules = schedules
        self._clock = clock
        self._holder = holder
        self._starter = starter
        self._checks = checks
        self._sweep_interval = sweep_interval
        self._turns: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._loop = BackgroundLoop(
            self._look,
            name="looking after schedules",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(RETRY_SECONDS, RETRY_SECONDS),
        )

    def start(self) -> None:
        """Begin."""
        self._loop.start(after=0)

    def wake(self) -> None:
        """Look now: a schedule was made or changed here."""
        self._loop.wake()

    async def stop(self) -> None:
        """Begin nothing more, and leave what is open to whoever looks next."""
        await self._loop.stop()
        await drained(list(self._turns.values()), seconds=STOP_SECONDS)

    async def _look(self) -> float:
        """Begin to look after what is due; return after how many seconds the next one is."""
        now, checks = self._clock.now(), tuple(self._checks)
        due = await self._schedules.due_schedules(now, checks=checks, limit=2 * AT_ONCE)
        for schedule in due:
            key = (schedule.scope_id, schedule.schedule_id)
            if key not in self._turns and len(self._turns) < AT_ONCE:
                turn = self._turns[key] = in_background(self._take(schedule), name=f"schedule {key[1]!r}")
                turn.add_done_callback(lambda _, key=key: self._done(key))  # type: ignore[misc]  # a default
        following = await self._schedules.next_look(checks=checks)
        if following is None:
            return self._sweep_interval
        seconds = (following - self._clock.now()).total_seconds()
        return min(self._sweep_interval, seconds if seconds > 0 else RETRY_SECONDS)

    def _done(self, key: tuple[str, str]) -> None:
        self._turns.pop(key, None)
        self._loop.wake()

    async def _take(self, schedule: StoredSchedule) -> None:
        """Look after one schedule; one that cannot be looked after must not keep the others from it."""
        try:
            turn = ScheduleTurn(
                schedule,
                schedules=self._schedules,
                clock=self._clock,
                holder=self._holder,
                starter=self._starter,
                checks=self._checks,
            )
            await turn.take()
        except Overtaken:
            return
        except StorageError as error:
            logger.warning("schedule %r is left to the next look: %s", schedule.schedule_id, error)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            logger.exception("schedule %r cannot be looked after; it is tried again", schedule.schedule_id)
            await self._put_off(schedule)

    async def _put_off(self, schedule: StoredSchedule) -> None:
        """Look at a schedule later, unless somebody has changed it; a process of another version may know what to do."""
        look_at = self._clock.now() + timedelta(seconds=PUT_OFF_SECONDS)
        later = replace(schedule, revision=schedule.revision + 1, look_at=look_at, holder=None)
        try:
            if await self._schedules.replace_schedule(later):
                return
        except StorageError as error:
            logger.warning("schedule %r is left to the next look: %s", schedule.schedule_id, error)
        await asyncio.sleep(RETRY_SECONDS)
