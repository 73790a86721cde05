"""What becomes of due times: each in exactly one outcome, whenever one looks and however long nobody did."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.errors import InvalidInput
from agent_runtime.schedules.planning import DueRange, Policy, plan
from agent_runtime.schedules.timing import Timing, next_after

BERLIN = "Europe/Berlin"
TICK = timedelta(microseconds=1)
HOURLY = Timing(cron="0 * * * *")
EIGHT = datetime(2026, 5, 4, 8, tzinfo=UTC)
QUICK = 0.3
"""Seconds of processor time; measured are 25 ms at most, but coverage and old machines take longer."""


def at(hour: int, minute: int = 0, second: int = 0, day: int = 4) -> datetime:
    return datetime(2026, 5, day, hour, minute, second, tzinfo=UTC)


def told(outcomes: tuple[DueRange, ...]) -> list[tuple[str, str, int, int, int]]:
    return [
        (each.outcome, each.reason, each.first_due.hour, each.last_due.hour, each.count) for each in outcomes
    ]


def walked(timing: Timing, start: datetime, end: datetime) -> list[datetime]:
    """Return all due times from `start` to `end`, both included."""
    found = []
    moment = next_after(timing, start - TICK)
    while moment is not None and moment <= end:
        found.append(moment)
        moment = next_after(timing, moment)
    return found


def test_what_is_on_time_is_fired() -> None:
    found = plan(HOURLY, Policy(), EIGHT, at(8, 0, 1))

    assert told(found.outcomes) == [("fired", "on_time", 8, 8, 1)]
    assert found.next_due == at(9)


def test_at_the_very_moment_it_is_due() -> None:
    found = plan(HOURLY, Policy(), EIGHT, EIGHT)

    assert told(found.outcomes) == [("fired", "on_time", 8, 8, 1)]
    assert found.next_due == at(9)


def test_before_it_is_due_nothing_is_decided() -> None:
    found = plan(HOURLY, Policy(), EIGHT, EIGHT - TICK)

    assert (found.outcomes, found.next_due) == ((), EIGHT)


def test_a_clock_that_is_put_back_fires_nothing_again() -> None:
    following = plan(HOURLY, Policy(), EIGHT, at(8, 0, 1)).next_due
    assert following is not None

    assert plan(HOURLY, Policy(catch_up="all"), following, at(6)).outcomes == ()
    assert plan(HOURLY, Policy(catch_up="all"), following, at(6)).next_due == following


def test_last_fires_the_newest_for_all_of_the_window_and_misses_the_others() -> None:
    found = plan(HOURLY, Policy(catch_up="last", window=3 * 3600), EIGHT, at(14, 30))

    assert told(found.outcomes) == [
        ("missed", "outside_window", 8, 11, 4),
        ("coalesced", "newer_one", 12, 13, 2),
        ("fired", "caught_up", 14, 14, 1),
    ]
    assert found.next_due == at(15)


def test_all_fires_each_of_the_window() -> None:
    found = plan(HOURLY, Policy(catch_up="all", window=3 * 3600), EIGHT, at(14, 0, 30))

    assert told(found.outcomes) == [
        ("missed", "outside_window", 8, 11, 4),
        ("fired", "caught_up", 12, 12, 1),
        ("fired", "caught_up", 13, 13, 1),
        ("fired", "on_time", 14, 14, 1),
    ]


def test_all_fires_no_more_than_its_cap_and_those_are_the_newest() -> None:
    found = plan(HOURLY, Policy(catch_up="all", window=86_400, cap=2), EIGHT, at(14, 30))

    assert told(found.outcomes) == [
        ("missed", "over_cap", 8, 12, 5),
        ("fired", "caught_up", 13, 13, 1),
        ("fired", "caught_up", 14, 14, 1),
    ]


@pytest.mark.parametrize(("late", "outcome"), [(60, "fired"), (61, "missed")])
def test_none_fires_only_what_is_within_its_grace(late: int, outcome: str) -> None:
    found = plan(HOURLY, Policy(catch_up="none", grace=60), EIGHT, at(10) + timedelta(seconds=late))

    assert sum(each.count for each in found.outcomes) == 3
    assert found.outcomes[-1].outcome == outcome
    assert found.outcomes[0].reason == "no_catch_up"
    assert {each.outcome for each in found.outcomes[:-1]} <= {"missed"}


@pytest.mark.parametrize(("late", "outcome"), [(600, "fired"), (601, "missed")])
def test_the_window_ends_to_the_second(late: int, outcome: str) -> None:
    found = plan(HOURLY, Policy(window=600), EIGHT, EIGHT + timedelta(seconds=late))

    assert [each.outcome for each in found.outcomes] == [outcome]


def test_a_window_is_never_shorter_than_the_grace() -> None:
    found = plan(HOURLY, Policy(window=0, grace=60), EIGHT, EIGHT + timedelta(seconds=5))

    assert told(found.outcomes) == [("fired", "on_time", 8, 8, 1)]


def test_once_is_fired_or_missed_and_never_due_again() -> None:
    timing = Timing(at=EIGHT)

    fired, missed = plan(timing, Policy(), EIGHT, at(8, 30)), plan(timing, Policy(), EIGHT, at(12))

    assert told(fired.outcomes) == [("fired", "caught_up", 8, 8, 1)]
    assert told(missed.outcomes) == [("missed", "outside_window", 8, 8, 1)]
    assert fired.next_due is missed.next_due is None


def test_a_stored_due_time_that_is_none_any_more_is_passed_over() -> None:
    """As when a zone's rules have changed since it was stored."""
    found = plan(HOURLY, Policy(), at(8, 30), at(9, 0, 1))

    assert told(found.outcomes) == [("fired", "on_time", 9, 9, 1)]
    assert plan(HOURLY, Policy(), at(8, 30), at(8, 45)).outcomes == ()


def test_a_host_suspended_for_hours_fires_once() -> None:
    """dbos-transact-py #803: it fired every missed tick."""
    every_minute = Timing(cron="* * * * *")
    found = plan(every_minute, Policy(), EIGHT, at(15, 0, 2))

    assert Counter(each.outcome for each in found.outcomes) == {"missed": 1, "coalesced": 1, "fired": 1}
    assert sum(each.count for each in found.outcomes) == 7 * 60 + 1


def test_a_restart_changes_no_cadence() -> None:
    """openclaw #59977: the cadence began anew with each start, with beats that came twice or never."""
    timing = Timing(every=900, anchor=EIGHT)
    due, fired = EIGHT, []
    for now in (at(8, 7), at(8, 16), at(8, 29, 59), at(8, 30), at(9, 1), at(9, 2)):
        found = plan(timing, Policy(catch_up="all"), due, now)
        fired += [each.first_due for each in found.outcomes if each.outcome == "fired"]
        assert found.next_due is not None
        due = found.next_due

    assert fired == [EIGHT + number * timedelta(minutes=15) for number in range(5)]


timings = st.one_of(
    st.builds(
        Timing,
        cron=st.sampled_from(["* * * * *", "*/7 1,2 * * *", "0,30 1-3 * * *", "15 * * * *", "0 9 * * MON-FRI", "59-59 2 * * *",
                              "0 0 1 * *"]),
        timezone=st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    ),
    st.builds(Timing, every=st.sampled_from([1.0, 7.3, 60, 3600, 86_400]),
              anchor=st.sampled_from([None, datetime(2026, 3, 1, 0, 0, 0, 5, tzinfo=UTC)])),
    st.builds(Timing, at=st.just(datetime(2026, 3, 29, 2, tzinfo=UTC))),
)  # fmt: skip
policies = st.builds(
    Policy,
    catch_up=st.sampled_from(["none", "last", "all"]),
    window=st.sampled_from([0, 1, 59.5, 600, 3600, 86_400, 1e9]),
    cap=st.integers(1, 30),
    grace=st.sampled_from([0, 1, 60, 5000]),
)
gaps = st.sampled_from([0, 1, 59, 60, 61, 1000, 3600, 7200, 10_000]) | st.floats(0, 10_000)
CHANGES = [datetime(2026, 3, 8, 6, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 4, 4, 14, tzinfo=UTC),
           datetime(2026, 10, 3, 14, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 11, 1, 5, tzinfo=UTC)]  # fmt: skip
"""Shortly before clocks change in one of the zones."""
moments = st.builds(lambda day, off: day + timedelta(seconds=off), st.sampled_from(CHANGES), gaps)


@given(timings, policies, moments, gaps)
def test_outcomes_are_a_partition_of_the_due_times(
    timing: Timing, policy: Policy, due: datetime, gap: float
) -> None:
    now = due + timedelta(seconds=gap)
    expected = walked(timing, due, now)

    found = plan(timing, policy, due, now)

    sliced: list[datetime] = []
    for each in found.outcomes:
        between = [moment for moment in expected if each.first_due <= moment <= each.last_due]
        assert (between[0], between[-1], len(between)) == (each.first_due, each.last_due, each.count)
        assert each.count == 1 or each.outcome != "fired"
        sliced += between
    assert sliced == expected  # each once, in order
    assert found.next_due == next_after(timing, now)
    assert found.next_due is None or found.next_due > now
    assert plan(timing, policy, due, now) == found


@given(timings, policies, moments, gaps)
def test_outcomes_are_what_the_policy_says(timing: Timing, policy: Policy, due: datetime, gap: float) -> None:
    now = due + timedelta(seconds=gap)
    seconds = policy.grace if policy.catch_up == "none" else max(policy.window, policy.grace)
    in_time = [each for each in walked(timing, due, now) if now - each <= timedelta(seconds=seconds)]

    outcomes = plan(timing, policy, due, now).outcomes

    fired = [each.first_due for each in outcomes if each.outcome == "fired"]
    coalesced = sum(each.count for each in outcomes if each.outcome == "coalesced")
    if policy.catch_up == "all":
        assert fired == in_time[-policy.cap :]
    else:
        assert fired == in_time[-1:]
    assert coalesced == (max(0, len(in_time) - 1) if policy.catch_up == "last" else 0)
    assert len(outcomes) <= 2 + len(fired)


@given(timings, policies, moments, gaps, st.floats(0, 1))
def test_in_two_steps_nothing_is_left_out_and_nothing_comes_twice(
    timing: Timing, policy: Policy, due: datetime, gap: float, share: float
) -> None:
    now = due + timedelta(seconds=gap)
    first = plan(timing, policy, due, due + timedelta(seconds=gap * share))
    following = first.next_due
    outcomes = first.outcomes + (plan(timing, policy, following, now).outcomes if following else ())

    assert sum(each.count for each in outcomes) == len(walked(timing, due, now))
    assert all(one.last_due < other.first_due for one, other in pairwise(outcomes))


@pytest.mark.parametrize(
    "timing",
    [
        Timing(cron="* * * * *"),
        Timing(cron="* * * * *", timezone=BERLIN),
        Timing(cron="0-59 0-23 * * *", timezone="Australia/Lord_Howe"),
        Timing(every=1),
    ],
)
@pytest.mark.parametrize(
    "policy", [Policy(), Policy(catch_up="none"), Policy(catch_up="all", window=1e9, cap=500)]
)
@pytest.mark.parametrize("years", [1, 10, 56])
def test_years_nobody_was_there_are_counted_and_not_walked_through(
    timing: Timing, policy: Policy, years: int
) -> None:
    due = EIGHT.replace(year=2026 - years)
    next_after(timing, EIGHT)  # the zone is read
    began = process_time()

    found = plan(timing, policy, due, EIGHT)

    assert process_time() - began < QUICK
    assert len(found.outcomes) <= 2 + policy.cap
    assert sum(each.count for each in found.outcomes) == exact(timing, due)


def exact(timing: Timing, due: datetime) -> int:
    """Count without looking at a calendar."""
    if timing.every is not None:
        return int((EIGHT - due).total_seconds()) + 1
    minutes = int((EIGHT - due) / timedelta(minutes=1)) + 1
    if not (timing.cron or "").startswith("0-59"):
        return minutes
    # In Lord Howe a spring and an autumn of each year: neither the minutes that are skipped, for the one that stands for
    # all of them is a due time anyway, nor those that come again are due times of their own.
    return minutes - repeated(due)


def repeated(due: datetime) -> int:
    """Count the minutes in which Lord Howe's clock shows what it has shown before."""
    zone = ZoneInfo("Australia/Lord_Howe")
    hours = int((EIGHT - due) / timedelta(hours=1))
    offsets = [
        (due + number * timedelta(hours=1)).astimezone(zone).utcoffset() for number in range(0, hours, 24)
    ]
    offsets = [each for each in offsets if each is not None]
    back = [one - other for one, other in pairwise(offsets) if one > other]
    return int(sum(back, timedelta(0)) / timedelta(minutes=1))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"catch_up": "some"}, "catch_up"),
        ({"window": -1}, "window"),
        ({"window": float("inf")}, "window"),
        ({"cap": 0}, "cap"),
        ({"cap": 501}, "cap"),
        ({"cap": 2.5}, "cap"),
        ({"grace": -1}, "grace"),
        ({"grace": "5"}, "grace"),
    ],
)
def test_what_a_policy_cannot_be_is_refused_by_name(fields: dict, named: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{named} "):
        replace(Policy(), **fields)


@pytest.mark.parametrize("named", ["due", "now"])
def test_times_have_a_zone(named: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{named} "):
        plan(HOURLY, Policy(), **{"due": EIGHT, "now": EIGHT, named: EIGHT.replace(tzinfo=None)})
