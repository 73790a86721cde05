"""Schedules of a kernel: what fires when, and what becomes of every due time."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from agent_runtime import BudgetSpec, ExecutionRequest, PolicyRef
from agent_runtime.errors import InvalidInput, UnknownSchedule
from agent_runtime.kernel.scheduled import ScheduledMessage
from agent_runtime.schedules.rules import DueTime, ScheduleRules
from agent_runtime.schedules.timing import Timing
from support.kernels import BOUND, kernel, until
from support.schedules import BEAT, MINUTELY, NINE, Scene, scene

pytestmark = pytest.mark.timeout(BOUND * 3)


async def test_a_schedule_starts_a_job_each_time_it_is_due() -> None:
    async with scene() as s:
        made = await s.kernel.schedules.put("beat", BEAT, MINUTELY)
        assert made.next_due == NINE + timedelta(minutes=1)
        await s.rest()
        assert s.begun == []
        s.clock.move(minutes=1)
        await s.outcomes("fired")
        s.clock.move(minutes=1)
        await s.outcomes("fired", "fired")
        fires = await s.kernel.schedules.log("beat")
        jobs = [await s.kernel.jobs.get(fire.started_id or "") for fire in fires]
        assert [job.metadata for job in jobs] == [
            {"schedule_id": "beat", "due_at": f"2026-11-30T09:0{minute}:00Z"} for minute in (2, 1)
        ]
        assert {job.session_id for job in jobs} == {"schedule:beat"}
        assert s.begun == [{"n": 1}, {"n": 1}]
        assert (await s.kernel.schedules.get("beat")).last_id == jobs[0].job_id


async def test_a_message_is_sent_each_time() -> None:
    async with scene() as s:
        starts = ScheduledMessage(identity="desk", body={"wake": True})
        await s.kernel.schedules.put("beat", starts, MINUTELY, rules=ScheduleRules(overlap="parallel"))
        for _ in range(2):
            s.clock.move(minutes=1)
            await s.rest()
        waiting = await s.kernel.inbox.list_waiting("desk")
        assert [message.body for message in waiting] == [{"wake": True}] * 2
        assert [fire.started_id for fire in await s.kernel.schedules.log("beat")] == [
            message.message_id for message in reversed(waiting)
        ]


async def test_a_message_that_waits_skips_the_next_one() -> None:
    async with scene() as s:
        await s.kernel.schedules.put("beat", ScheduledMessage(identity="desk"), MINUTELY)
        for _ in range(2):
            s.clock.move(minutes=1)
            await s.rest()
        assert await s.log() == [
            ("09:01", "fired", 1, None),
            ("09:02", "skipped", 1, "the one before goes on"),
        ]


async def test_what_is_asked_at_start_changes_nothing_of_a_cadence() -> None:
    async with scene() as s:
        every = Timing(every=600.0, anchor=NINE)
        made = await s.kernel.schedules.put("beat", BEAT, every)
        s.clock.move(minutes=9)
        again = await s.kernel.schedules.put("beat", BEAT, every, by="a deploy")
        assert again == made
        changed = await s.kernel.schedules.put("beat", BEAT, every, rules=ScheduleRules(cap=2), by="ann")
        assert (changed.next_due, changed.created_at) == (made.next_due, made.created_at)
        moved = await s.kernel.schedules.put("beat", BEAT, Timing(cron="0 12 * * *"))
        assert moved.next_due == NINE.replace(hour=12)
        kinds = [
            entry.kind for entry in await s.storage.trail("default") if entry.kind.startswith("schedule")
        ]
        assert kinds == ["schedule.created", "schedule.changed", "schedule.changed"]


async def test_a_check_without_news_starts_nothing() -> None:
    asked: list[DueTime] = []

    async def has_news(due: DueTime) -> bool:
        asked.append(due)
        return len(asked) == 96

    async with scene(checks=[has_news]) as s:
        await s.kernel.schedules.put("beat", BEAT, Timing(cron="*/15 * * * *"), check="has_news")
        for number in range(1, 97):
            s.clock.move(minutes=15)

            async def decided(number: int = number) -> bool:
                return len(await s.log()) == number

            await until(decided)
        await s.outcomes(*["skipped"] * 95, "fired")
        assert len(s.begun) == 1
        assert {reason for _, outcome, _, reason in await s.log() if outcome == "skipped"} == {
            "its check found no reason"
        }
        assert [due.due_at for due in asked] == [NINE + timedelta(minutes=15 * n) for n in range(1, 97)]


async def test_a_check_that_fails_or_hangs_skips_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_runtime.worker.schedule_turn.CHECK_SECONDS", 0.05)

    def breaks(due: DueTime) -> bool:
        raise ValueError("secret")

    async def hangs(due: DueTime) -> bool:
        await asyncio.sleep(60)
        return True

    async with scene(checks={"one": breaks, "two": hangs}) as s:
        for name in ("one", "two"):
            await s.kernel.schedules.put(name, BEAT, MINUTELY, check=name)
        s.clock.move(minutes=1)
        await s.rest()
        assert await s.log("one") == [("09:01", "skipped", 1, "its check failed: ValueError")]
        assert await s.log("two") == [("09:01", "skipped", 1, "its check failed: TimeoutError")]
        assert s.begun == []


async def test_a_schedule_with_a_check_waits_for_a_process_that_knows_it() -> None:
    async with scene() as s:
        await s.kernel.schedules.put("beat", BEAT, MINUTELY, check="unknown")
        await s.kernel.schedules.put("other", BEAT, MINUTELY)
        s.clock.move(minutes=1)
        await s.rest()
        assert await s.log() == []
        assert len(await s.log("other")) == 1
    known = Scene(s.storage, checks={"unknown": lambda due: True})
    known.clock = s.clock
    async with kernel(
        s.storage, clock=s.clock, operators=[known.beat], checks={"unknown": lambda due: True}
    ) as k:

        async def fired() -> bool:
            return [fire.outcome for fire in await k.schedules.log("beat")] == ["fired"]

        await until(fired)


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [("skip", ["fired", "skipped"]), ("parallel", ["fired", "fired"]), ("queue", ["fired", "pending"])],
)
async def test_a_due_time_that_comes_while_the_one_before_goes_on(overlap: Any, expected: list[str]) -> None:
    async with scene() as s:
        s.goes_on.clear()
        await s.kernel.schedules.put("beat", BEAT, MINUTELY, rules=ScheduleRules(overlap=overlap))
        s.clock.move(minutes=1)
        await s.outcomes("fired")
        s.clock.move(minutes=1)
        await s.outcomes(*expected)
        s.goes_on.set()
        if overlap == "queue":
            s.clock.move(seconds=2)
            await s.outcomes("fired", "fired")
        await s.rest()
        assert len(s.begun) == expected.count("fired") + (overlap == "queue")


async def test_of_times_that_wait_only_so_many_are_kept() -> None:
    async with scene() as s:
        s.goes_on.clear()
        await s.kernel.schedules.put("beat", BEAT, MINUTELY, rules=ScheduleRules(overlap="queue", cap=2))
        for _ in range(5):
            s.clock.move(minutes=1)
            await s.rest()
        assert [outcome for _, outcome, _, _ in await s.log()] == [
            "fired",
            "pending",
            "pending",
            "skipped",
            "skipped",
        ]
        assert (await s.log())[-1][3] == "too many wait before it"
        s.goes_on.set()
        for _ in range(4):
            s.clock.move(seconds=2)
            await s.rest()
        assert [outcome for _, outcome, _, _ in await s.log()] == ["fired"] * 3 + ["skipped"] * 2


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("none", [("09:01", "missed", 599, "no_catch_up"), ("19:00", "fired", 1, None)]),
        (
            "last",
            [
                ("09:01", "missed", 539, "outside_window"),
                ("18:00", "coalesced", 60, "newer_one"),
                ("19:00", "fired", 1, None),
            ],
        ),
        (
            "all",
            [
                ("09:01", "missed", 539, "outside_window"),
                ("18:00", "missed", 58, "over_cap"),
                ("18:58", "fired", 1, None),
                ("18:59", "fired", 1, None),
                ("19:00", "fired", 1, None),
            ],
        ),
    ],
)
async def test_hours_of_a_suspended_machine_are_accounted_for(catch_up: Any, expected: list[Any]) -> None:
    async with scene() as s:
        rules = ScheduleRules(catch_up=catch_up, cap=3, overlap="parallel")
        await s.kernel.schedules.put("beat", BEAT, MINUTELY, rules=rules)
        s.clock.move(hours=10)
        await s.outcomes(*(outcome for _, outcome, _, _ in expected))
        assert await s.log() == expected
        assert sum(count for _, _, count, _ in expected) == 600


async def test_what_falls_due_while_it_is_paused_is_skipped() -> None:
    async with scene() as s:
        await s.kernel.schedules.put("beat", BEAT, MINUTELY)
        paused = await s.kernel.schedules.pause("beat", by="ann")
        assert paused.paused_at == NINE
        assert await s.kernel.schedules.pause("beat") == paused
        assert await s.kernel.schedules.upcoming("beat") == []
        s.clock.move(minutes=3)
        await s.rest()
        assert await s.log() == []
        resumed = await s.kernel.schedules.resume("beat", by="ann")
        assert resumed.next_due == NINE + timedelta(minutes=4)
        assert await s.log() == [("09:01", "skipped", 3, "it was paused")]
        s.clock.move(minutes=1)
        await s.outcomes("skipped", "fired")


async def test_a_time_that_waits_is_skipped_by_a_pause() -> None:
    async with scene() as s:
        s.goes_on.clear()
        await s.kernel.schedules.put("beat", BEAT, MINUTELY, rules=ScheduleRules(overlap="queue"))
        s.clock.move(minutes=1)
        await s.outcomes("fired")
        s.clock.move(minutes=1)
        await s.outcomes("fired", "pending")
        await s.kernel.schedules.pause("beat")
        s.goes_on.set()
        await s.rest()
        assert (await s.log())[1] == ("09:02", "skipped", 1, "it was paused")
        assert len(s.begun) == 1


async def test_all_schedules_of_a_scope_are_paused_and_resumed() -> None:
    async with scene() as s:
        for number in range(3):
            await s.kernel.schedules.put(f"beat-{number}", BEAT, MINUTELY)
        await s.kernel.schedules.put("theirs", ScheduledMessage(identity="x"), MINUTELY, scope_id="b")
        await s.kernel.schedules.pause("beat-1")
        assert await s.kernel.schedules.pause_all(scope_id="default") == 2
        assert (await s.kernel.schedules.get("theirs", scope_id="b")).paused_at is None
        assert await s.kernel.schedules.pause_all() == 1
        assert await s.kernel.schedules.resume_all() == 4
        assert {one.paused_at for one in await s.kernel.schedules.list()} == {None}


async def test_no_more_than_a_day_allows() -> None:
    async with scene() as s:
        rules = ScheduleRules(max_per_day=2, catch_up="all", overlap="parallel")
        timing = Timing(cron="*/10 * * * *", timezone="America/New_York")
        await s.kernel.schedules.put("beat", BEAT, timing, rules=rules)
        s.clock.move(minutes=30)
        await s.outcomes("fired", "fired", "skipped")
        assert (await s.log())[-1][3] == "it has fired as often as a day allows"
        s.clock.move(hours=14, minutes=30)  # 24:00 there is 05:00 here
        await s.kernel.schedules.pause("beat")
        await s.kernel.schedules.resume("beat")
        s.clock.move(hours=5, minutes=10)

        async def fired_again() -> bool:
            return [outcome for _, outcome, _, _ in await s.log()].count("fired") == 4

        await until(fired_again)


async def test_a_job_has_the_budget_of_its_request() -> None:
    async with scene() as s:
        request = ExecutionRequest(operator="beat", budgets=BudgetSpec(max_tokens=10), tags={"team": "ops"})
        await s.kernel.schedules.put("beat", request, MINUTELY)
        s.clock.move(minutes=1)
        await s.outcomes("fired")
        job = await s.kernel.jobs.get((await s.kernel.schedules.get("beat")).last_id or "")
        assert (job.budgets, job.tags) == (BudgetSpec(max_tokens=10), {"team": "ops"})


async def test_a_job_that_is_refused_for_good_is_skipped() -> None:
    async with scene() as s:
        request = ExecutionRequest(operator="beat", policy_ref=PolicyRef(name="nobody's"))
        await s.kernel.schedules.put("beat", request, MINUTELY)
        s.clock.move(minutes=1)
        await s.outcomes("skipped")
        assert (await s.log())[0][3] == "it was refused: POLICY_NOT_FOUND"


async def test_an_operator_that_comes_late_is_waited_for_and_then_missed() -> None:
    async with scene() as s:
        unknown, rules = ExecutionRequest(operator="unknown"), ScheduleRules(window=120.0)
        await s.kernel.schedules.put("beat", unknown, MINUTELY, rules=rules)
        s.clock.move(minutes=1)
        await s.outcomes("firing")
        await s.kernel.schedules.put("beat", unknown, Timing(cron="0 0 1 1 *"), rules=rules)
        s.clock.move(minutes=3)
        await s.outcomes("missed")
        assert (await s.log())[0][3] == "it was refused for too long: OPERATOR_NOT_FOUND"


async def test_a_schedule_that_is_removed_fires_no_more() -> None:
    async with scene() as s:
        await s.kernel.schedules.put("beat", BEAT, MINUTELY)
        await s.kernel.schedules.remove("beat", by="ann")
        s.clock.move(minutes=1)
        await s.rest()
        assert s.begun == []
        for call in (s.kernel.schedules.get, s.kernel.schedules.pause, s.kernel.schedules.remove):
            with pytest.raises(UnknownSchedule):
                await call("beat")


async def test_once_is_once() -> None:
    async with scene() as s:
        await s.kernel.schedules.put("beat", BEAT, Timing(at=NINE + timedelta(minutes=5)))
        s.clock.move(minutes=5)
        await s.outcomes("fired")
        s.clock.move(days=400)
        await s.rest()
        assert len(s.begun) == 1
        assert (await s.kernel.schedules.get("beat")).next_due is None
        again = await s.kernel.schedules.put("beat", BEAT, Timing(at=NINE + timedelta(minutes=5)))
        assert again.next_due is None


def _wrong() -> Iterator[Any]:
    yield pytest.param(("", BEAT, MINUTELY), {}, "schedule_id", id="no name")
    yield pytest.param(("x", BEAT, "* * * * *"), {}, "timing", id="no timing")
    yield pytest.param(("x", "beat", MINUTELY), {}, "starts", id="nothing to start")
    yield pytest.param(("x", BEAT, Timing(at=NINE)), {}, "never due", id="past")
    yield pytest.param(("x", BEAT, MINUTELY), {"scope_id": "b"}, "scope", id="another scope")
    yield pytest.param(("x", BEAT, MINUTELY), {"check": "\n"}, "check", id="no check")
    yield pytest.param(
        ("x", ExecutionRequest(operator="beat", idempotency_key="k"), MINUTELY),
        {},
        "idempotency_key",
        id="key",
    )


@pytest.mark.parametrize(("given", "more", "named"), [*_wrong()])
async def test_what_cannot_be_a_schedule_is_refused(given: Any, more: Any, named: str) -> None:
    async with scene() as s:
        with pytest.raises(InvalidInput, match=named):
            await s.kernel.schedules.put(*given, **more)
        assert list(await s.kernel.schedules.list()) == []
