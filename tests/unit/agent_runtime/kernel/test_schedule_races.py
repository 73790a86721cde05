"""Schedules that are changed while somebody looks after them, and schedules that nobody can look after."""

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent_runtime.errors import IdempotencyConflict, InvalidInput
from agent_runtime.kernel.schedules import ScheduleManager
from agent_runtime.ports.schedules import Fire, FireOutcome, StoredSchedule
from agent_runtime.schedules.rules import DueTime, ScheduleRules
from agent_runtime.schedules.timing import Timing
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.worker.schedule_turn import ScheduleTurn, day_of
from support.kernels import BOUND, kernel, until
from support.schedules import BEAT, MINUTELY, NINE, Scene, scene

pytestmark = pytest.mark.timeout(BOUND * 3)


class Held(MemoryStorage):
    """A storage in which a due time can be found, and stays so until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.found = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def due_schedules(self, now: datetime, **more: Any) -> Any:
        due = await super().due_schedules(now, **more)
        if due:
            self.found.set()
            await self.goes_on.wait()
        return due


async def test_times_that_wait_are_read_after_the_revision_that_a_pause_replaces() -> None:
    """Read before, a time that begins to fire in between would be skipped in the log, and fire."""
    async with scene() as s:
        await s.kernel.schedules.put("beat", BEAT, MINUTELY)
        calls: list[str] = []

        class Noted:
            def __getattr__(self, name: str) -> Any:
                calls.append(name)
                return getattr(s.storage, name)

        noted: Any = Noted()
        await ScheduleManager(noted, s.clock, lambda: None).pause("beat")
        assert calls == ["get_schedule", "open_fires", "replace_schedule"]


class Racing:
    """Starts what is started already, by somebody who has seen the schedule before it was changed."""

    def __init__(self) -> None:
        self.looked = 0

    async def started(self, schedule: StoredSchedule, due_at: datetime) -> str | None:
        self.looked += 1
        return None if self.looked == 1 else "theirs"

    async def start(self, schedule: StoredSchedule, due_at: datetime) -> str:
        raise IdempotencyConflict("another request")

    async def goes_on(self, schedule: StoredSchedule) -> bool:
        return False


async def test_a_job_that_a_changed_schedule_has_started_is_found_and_not_skipped() -> None:
    s = Scene(MemoryStorage(), worker=False)
    async with s.kernel:
        await s.kernel.schedules.put("beat", BEAT, MINUTELY)
        seen = await s.storage.get_schedule("default", "beat")
        assert seen is not None
        due_at = NINE + timedelta(minutes=1)
        firing = Fire(
            scope_id="default",
            schedule_id="beat",
            due_at=due_at,
            last_due_at=due_at,
            outcome=FireOutcome.FIRING,
        )
        begun = replace(seen, revision=seen.revision + 1, next_due=due_at + timedelta(minutes=1))
        assert await s.storage.replace_schedule(begun, fires=[firing])
        turn = ScheduleTurn(
            begun, schedules=s.storage, clock=s.clock, holder="me", starter=Racing(), checks={}
        )
        await turn.take()
        fires = await s.kernel.schedules.log("beat")
        assert [(fire.outcome, fire.started_id) for fire in fires] == [("fired", "theirs")]


async def test_one_that_was_removed_and_put_again_is_not_overwritten_by_who_has_seen_the_first() -> None:
    storage = Held()
    s = Scene(storage)
    async with s.kernel:
        await s.kernel.schedules.put("beat", BEAT, MINUTELY)
        s.clock.move(minutes=1)
        await storage.found.wait()
        await s.kernel.schedules.remove("beat")
        again = await s.kernel.schedules.put("beat", replace(BEAT, input={"n": 2}), Timing(every=3600.0))
        storage.goes_on.set()
        await s.rest()
        found = await s.kernel.schedules.get("beat")
        assert (found.starts, found.timing) == (again.starts, again.timing)
        assert s.begun == []


@pytest.mark.parametrize(
    ("is_paused", "expected"),
    [
        (False, ("09:01", "missed", 5, "its timing was changed")),
        (True, ("09:01", "skipped", 5, "it was paused")),
    ],
)
async def test_times_that_nobody_has_looked_at_are_told_when_the_timing_is_changed(
    is_paused: bool, expected: Any
) -> None:
    s = Scene(MemoryStorage(), worker=False)
    async with s.kernel:
        await s.kernel.schedules.put("beat", BEAT, MINUTELY)
        if is_paused:
            await s.kernel.schedules.pause("beat")
        s.clock.move(minutes=5, seconds=30)
        await s.kernel.schedules.put("beat", BEAT, Timing(cron="0 12 * * *"))
        assert await s.log() == [expected]


async def test_schedules_that_cannot_be_looked_after_keep_no_other_from_firing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent_runtime.worker.scheduler.RETRY_SECONDS", 0.05)
    s = Scene(MemoryStorage(), worker=False)
    async with s.kernel:
        for number in range(100):
            await s.kernel.schedules.put(f"newer-{number}", BEAT, Timing(every=10.0))
            seen = await s.storage.get_schedule("default", f"newer-{number}")
            assert seen is not None
            newer = replace(seen, revision=seen.revision + 1, timing={"moon": "full"}, look_at=NINE)
            assert await s.storage.replace_schedule(newer)
        await s.kernel.schedules.put("beat", BEAT, MINUTELY)
    s.clock.move(minutes=1)
    async with kernel(s.storage, clock=s.clock, operators=[s.beat]) as k:

        async def fired() -> bool:
            return [fire.outcome for fire in await k.schedules.log("beat")] == ["fired"]

        await until(fired)
        seen = await s.storage.get_schedule("default", "newer-0")
        assert seen is not None
        assert seen.look_at is not None
        assert (seen.look_at, seen.timing) == (s.clock.now() + timedelta(seconds=10), {"moon": "full"})


async def test_a_plain_check_that_never_ends_takes_no_thread_of_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent_runtime.worker.schedule_turn.CHECK_SECONDS", 0.05)
    end = threading.Event()

    def hangs(due: DueTime) -> bool:
        return end.wait(30)

    try:
        async with scene(checks={"hangs": hangs}) as s:
            for number in range(40):
                await s.kernel.schedules.put(f"beat-{number}", BEAT, MINUTELY, check="hangs")
            s.clock.move(minutes=1)

            async def all_skipped() -> bool:
                return all([await s.log(f"beat-{number}") for number in range(40)])

            await until(all_skipped)
            async with asyncio.timeout(5):
                assert await asyncio.to_thread(lambda: 1) == 1
    finally:
        end.set()


async def test_all_that_waits_is_looked_at_when_the_cap_is_lowered() -> None:
    async with scene() as s:
        s.goes_on.clear()
        many = ScheduleRules(overlap="queue", cap=10)
        await s.kernel.schedules.put("beat", BEAT, MINUTELY, rules=many)
        for _ in range(6):
            s.clock.move(minutes=1)
            await s.rest()
        await s.kernel.schedules.put("beat", BEAT, MINUTELY, rules=replace(many, cap=1))
        await s.outcomes("fired", "pending", *["skipped"] * 4)


async def test_a_name_is_short_enough_for_the_keys_of_its_due_times() -> None:
    async with scene() as s:
        with pytest.raises(InvalidInput, match="schedule_id"):
            await s.kernel.schedules.put("x" * 500, BEAT, MINUTELY)
        name = "x" * 450
        await s.kernel.schedules.put(name, BEAT, Timing(every=60.0, anchor=NINE + timedelta(microseconds=1)))
        s.clock.move(minutes=1)

        async def fired() -> bool:
            return [outcome for _, outcome, _, _ in await s.log(name)] == ["fired"]

        await until(fired)


def test_a_day_that_begins_twice_is_one_day() -> None:
    """In Havana the first hour of 1 November 2026 comes twice."""
    moments = [datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (4, 5, 8)]
    assert {day_of(moment, "America/Havana") for moment in moments} == {datetime(2026, 11, 1, 4, tzinfo=UTC)}
