"""When schedules are due: a year of cron expressions against croniter, and the days on which clocks change against Debian's rule."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.errors import InvalidInput
from agent_runtime.schedules.timing import (
    Timing,
    count_within,
    first_within,
    last_within,
    next_after,
    upcoming,
)

BERLIN, NEW_YORK, LORD_HOWE, KATHMANDU = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # whose clock changes by half an hour
    "Asia/Kathmandu",  # whose clock never changes, at 5:45
)
SANTIAGO = "America/Santiago"  # whose clock changes at midnight
ZONES = [BERLIN, NEW_YORK, LORD_HOWE, KATHMANDU]
CHANGES = {
    BERLIN: ["2026-03-29", "2026-10-25"],
    NEW_YORK: ["2026-03-08", "2026-11-01"],
    LORD_HOWE: ["2026-04-05", "2026-10-04"],
    KATHMANDU: [],
}
"""The days of 2026 on which clocks change."""
CRONS = [
    "20 * * * *",
    "*/30 6-9 * * *",
    "7-59/26 */6 * * *",
    "0 9 * * MON-FRI",
    "0,30 1,2,3 * * *",
    "15 1-3 * * *",
    "*/7 1,2 * * *",
    "0 2 * * *",
    "30 */2 * * *",
    "0 0 1,15 * FRI",
    "5 0 * jan-Mar,DEC sun",
    "59 23 L * *",
    "0 12 29-31 * *",
    "17 4 */10 * *",
    "45 6 * * 7",
    "0 22 * * MON#1",
]
TICK = timedelta(microseconds=1)
QUICK = 0.3
"""Seconds of processor time; measured are 15 ms at most, but coverage and old machines take longer."""


def local(text: str, zone: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def due(timing: Timing, start: datetime, end: datetime) -> list[datetime]:
    found = []
    moment = next_after(timing, start - TICK)
    while moment is not None and moment < end:
        found.append(moment)
        moment = next_after(timing, moment)
    return found


def shown(moments: list[datetime], zone: str) -> list[str]:
    return [moment.astimezone(ZoneInfo(zone)).strftime("%d %H:%M %z") for moment in moments]


def croniters(cron: str, zone: str, start: datetime, end: datetime) -> Iterator[datetime]:
    times = croniter(cron, start.astimezone(ZoneInfo(zone)) - timedelta(seconds=1), implement_cron_bug=True)
    while (moment := times.get_next(datetime).astimezone(UTC)) < end:
        yield moment


def debians(cron: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """Walk through minutes as Debian's cron does: cron(8), "time has moved forwards", "time has moved backwards"."""
    fixed = not any(field.startswith("*") for field in cron.split()[:2])
    minutes, hours, _, _, weekdays = croniter.expand(cron)[0]  # no such cron names days or months

    def fits(wall: datetime) -> bool:
        values = ((wall.minute, minutes), (wall.hour, hours), (wall.isoweekday() % 7, weekdays))
        return all(allowed == ["*"] or value in allowed for value, allowed in values)

    minute = timedelta(minutes=1)
    found = []
    reached = (
        start.astimezone(ZoneInfo(zone)).replace(tzinfo=None) - minute
    )  # what the clock showed at the latest
    for number in range(int((end - start) / minute)):
        moment = start + number * minute
        wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        passed = [wall] if wall > reached or not fixed else []
        while fixed and passed and passed[0] - minute > reached:
            passed.insert(0, passed[0] - minute)
        if any(fits(each) for each in passed):
            found.append(moment)
        reached = max(reached, wall)
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", CRONS)
def test_a_year_is_the_same_as_with_croniter_but_for_the_days_when_clocks_change(
    cron: str, zone: str
) -> None:
    """On those days croniter does not follow Debian: it repeats in autumn what is to be once, and in spring it makes up at
    the end of the missing hour for what goes by real time. See the tests below for what we do then."""
    start, end = local("2026-01-01", zone).astimezone(UTC), local("2027-01-01", zone).astimezone(UTC)

    def on_usual_days(moments: list[datetime]) -> list[datetime]:
        return [
            each for each in moments if f"{each.astimezone(ZoneInfo(zone)):%Y-%m-%d}" not in CHANGES[zone]
        ]

    ours = due(Timing(cron=cron, timezone=zone), start, end)

    assert on_usual_days(ours) == on_usual_days(list(croniters(cron, zone, start, end)))
    assert len(ours) == count_within(Timing(cron=cron, timezone=zone), start, end) > 10


@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone in ZONES for day in CHANGES[zone]])
@pytest.mark.parametrize(
    "cron",
    ["*/20 * * * *", "0 * * * *", "*/20 2 * * *", "0,30 1,2,3 * * *", "15 1-3 * * *", "0 2 * * *", "45 1 * * *",
     "10 */2 * * *", "0-59/10 0-23 * * *", "30 2 * * SUN", "0 3 * * *"],
)  # fmt: skip
def test_on_days_when_clocks_change_debians_rule_holds(cron: str, zone: str, day: str) -> None:
    start = local(day, zone).astimezone(UTC) - timedelta(hours=3)
    end = start + timedelta(hours=12)

    assert due(Timing(cron=cron, timezone=zone), start, end) == debians(cron, zone, start, end)


@pytest.mark.parametrize(
    ("cron", "zone", "day", "expected", "croniter_agrees"),
    [
        # What the change skips happens at its moment, once.
        ("30 2 * * *", BERLIN, "2026-03-29", ["29 03:00 +0200"], True),
        ("0,15,30 2 * * *", BERLIN, "2026-03-29", ["29 03:00 +0200"], True),
        ("0,30 2,3 * * *", BERLIN, "2026-03-29", ["29 03:00 +0200", "29 03:30 +0200"], True),
        ("15 2 * * *", LORD_HOWE, "2026-10-04", ["04 02:30 +1100"], True),
        # What comes twice happens the first time; croniter does it twice.
        ("30 2 * * *", BERLIN, "2026-10-25", ["25 02:30 +0200"], False),
        ("15 1-3 * * *", NEW_YORK, "2026-11-01", ["01 01:15 -0400", "01 02:15 -0500", "01 03:15 -0500"], False),
        ("45 1 * * *", LORD_HOWE, "2026-04-05", ["05 01:45 +1100"], False),
        # What goes by real time is not made up for; croniter does it at 03:00.
        ("*/20 2 * * *", BERLIN, "2026-03-29", [], False),
        ("0 */2 * * *", BERLIN, "2026-03-29",
         ["29 00:00 +0100", *(f"29 {hour:02}:00 +0200" for hour in range(4, 24, 2))], False),
        # What goes by real time happens twice; croniter loses some where clocks change by half an hour.
        ("*/20 2 * * *", BERLIN, "2026-10-25", [f"25 02:{m}0 +0{o}00" for o in (2, 1) for m in (0, 2, 4)], True),
        ("*/15 1 * * *", LORD_HOWE, "2026-04-05",
         [*(f"05 01:{m:02} +1100" for m in (0, 15, 30, 45)), "05 01:30 +1030", "05 01:45 +1030"], True),
        ("*/7 1 * * *", LORD_HOWE, "2026-04-05",
         [*(f"05 01:{m:02} +1100" for m in range(0, 60, 7)), *(f"05 01:{m} +1030" for m in (35, 42, 49, 56))], False),
        # Midnight is missing: it is that of the day that begins.
        ("30 0 * * SUN", SANTIAGO, "2026-09-06", ["06 01:00 -0300"], True),
        # The hour before midnight comes twice.
        ("30 23 * * *", SANTIAGO, "2026-04-04", ["04 23:30 -0300"], False),
        ("*/30 23 * * *", SANTIAGO, "2026-04-04",
         [f"04 23:{m} -0{o}00" for o in (3, 4) for m in ("00", "30")], True),
    ],
)  # fmt: skip
def test_what_happens_when_a_clock_changes(
    cron: str, zone: str, day: str, expected: list[str], croniter_agrees: bool
) -> None:
    start = local(day, zone)
    end = local(f"{datetime.fromisoformat(day) + timedelta(days=1):%Y-%m-%d}", zone)

    assert shown(due(Timing(cron=cron, timezone=zone), start, end), zone) == expected
    assert (shown(list(croniters(cron, zone, start, end)), zone) == expected) == croniter_agrees


def test_in_the_second_pass_of_an_hour_nothing_is_due_before_now() -> None:
    second_pass = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15 in Berlin, again

    assert next_after(Timing(cron="30 2 * * *", timezone=BERLIN), second_pass) == datetime(
        2026, 10, 26, 1, 30, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("cron", "same"),
    [
        ("0 9 * JAN,Feb,dec mon-FRI", "0 9 * 1,2,12 1-5"),
        ("0 0 * * SUN", "0 0 * * 7"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@Weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 JAN *"),
        ("5/20 * * * *", "5,25,45 * * * *"),
        ("10-30/10 8-18/5 * * *", "10,20,30 8,13,18 * * *"),
        ("  0\t12 * *   * ", "0 12 * * *"),
    ],
)
def test_names_ranges_and_steps_are_read(cron: str, same: str) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    assert upcoming(Timing(cron=cron), start, 40) == upcoming(Timing(cron=same), start, 40)


@pytest.mark.parametrize(
    ("cron", "days"),
    [
        ("0 0 13 * FRI", ["01-02", "01-09", "01-13", "01-16", "01-23", "01-30", "02-06", "02-13"]),
        ("0 0 * * FRI", ["01-02", "01-09", "01-16", "01-23", "01-30", "02-06", "02-13", "02-20"]),
        ("0 0 13 * *", ["01-13", "02-13", "03-13", "04-13", "05-13", "06-13", "07-13", "08-13"]),
        ("0 0 */10 * MON", ["05-11", "06-01", "08-31", "09-21", "12-21", "01-11", "02-01", "03-01"]),
        ("0 0 * * 5L", ["01-30", "02-27", "03-27", "04-24", "05-29", "06-26", "07-31", "08-28"]),
        ("0 0 13 * */5", ["02-13", "03-13", "09-13", "11-13", "12-13", "06-13", "08-13", "02-13"]),
    ],
)
def test_day_of_month_and_weekday_go_together_by_debians_rule(cron: str, days: list[str]) -> None:
    """Either is enough, unless one of them begins with a star."""
    found = upcoming(Timing(cron=cron), datetime(2026, 1, 1, 12, tzinfo=UTC), len(days))

    assert [f"{each:%m-%d}" for each in found] == days


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 0 29 2 *", "2025-01-01", "2028-02-29"),
        ("0 0 29 2 *", "2097-01-01", "2104-02-29"),  # 2100 has no leap day
        ("0 0 29 2 */7", "2088-03-01", "2128-02-29"),  # a Sunday: the longest wait there is
        ("0 0 * FEB MON#5", "2026-01-01", "2044-02-29"),
        ("0 0 31 4,5 *", "2026-06-01", "2027-05-31"),
        ("0 0 L 2 *", "2028-01-01", "2028-02-29"),
        ("0 0 LW 2 *", "2026-01-01", "2026-02-27"),
    ],
)
def test_rare_days_are_found(cron: str, after: str, expected: str) -> None:
    start = datetime.fromisoformat(after).replace(tzinfo=UTC)

    assert next_after(Timing(cron=cron), start) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "cron", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 */31 * MON#2", "* * 31 FEB *", "0 0 30 2 */2"]
)
def test_what_never_comes_is_refused_quickly(cron: str) -> None:
    began = process_time()
    with pytest.raises(InvalidInput, match=r"^cron .*never comes"):
        Timing(cron=cron)
    assert process_time() - began < QUICK


def test_what_comes_only_in_an_hour_that_is_always_skipped_has_no_next_time() -> None:
    timing = Timing(cron="* 2 * 3 7L", timezone=BERLIN)
    ZoneInfo(BERLIN)
    began = process_time()

    assert next_after(timing, datetime(2026, 1, 1, tzinfo=UTC)) is None
    assert process_time() - began < QUICK
    assert next_after(Timing(cron="* 2 * 3 7L"), datetime(2026, 1, 1, tzinfo=UTC)) is not None


def test_an_interval_keeps_its_cadence_whenever_one_asks() -> None:
    anchor = datetime(2026, 3, 1, 9, 0, 7, tzinfo=UTC)
    timing = Timing(every=900, anchor=anchor)

    assert next_after(timing, anchor - timedelta(days=3)) == anchor
    assert next_after(timing, anchor) == anchor + timedelta(seconds=900)
    assert next_after(timing, anchor + timedelta(seconds=1000)) == anchor + timedelta(seconds=1800)
    assert next_after(timing, anchor + timedelta(days=400)) == anchor + timedelta(days=400, seconds=900)
    assert count_within(timing, anchor, anchor + timedelta(days=400)) == 400 * 96


def test_an_interval_without_an_anchor_falls_on_quarters_of_the_hour() -> None:
    assert next_after(Timing(every=900), datetime(2026, 3, 1, 9, 3, tzinfo=UTC)) == datetime(
        2026, 3, 1, 9, 15, tzinfo=UTC
    )


def test_a_broken_interval_does_not_drift() -> None:
    anchor = datetime(2026, 1, 1, tzinfo=UTC)
    timing = Timing(every=1.1, anchor=anchor)

    assert next_after(timing, anchor + 10_000_000 * timedelta(seconds=1.1) - TICK) == anchor + timedelta(
        seconds=11_000_000
    )


def test_once_is_once() -> None:
    timing = Timing(at=local("2026-07-01T09:00", BERLIN))

    assert next_after(timing, datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 7, 1, 7, tzinfo=UTC)
    assert next_after(timing, datetime(2026, 7, 1, 7, tzinfo=UTC)) is None
    assert upcoming(timing, datetime(2026, 1, 1, tzinfo=UTC), 5) == [datetime(2026, 7, 1, 7, tzinfo=UTC)]


def test_the_end_of_time_is_reached_without_an_error() -> None:
    last = datetime(9999, 12, 31, tzinfo=UTC)

    for timing in (Timing(cron="* * * * *"), Timing(every=1), Timing(at=datetime(2026, 1, 1, tzinfo=UTC))):
        assert next_after(timing, last) is None
        assert next_after(timing, datetime(1901, 1, 1, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "cron, every, at"),
        ({"cron": "* * * * *", "every": 5.0}, "cron, every, at"),
        ({"cron": "0 * * * * *"}, "cron"),  # seconds
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "@reboot"}, "cron"),
        ({"cron": ""}, "cron"),
        ({"cron": 5}, "cron"),
        ({"cron": "* " * 2000}, "cron"),
        ({"cron": "60 * * * *"}, "cron"),
        ({"cron": "* * * * 8"}, "cron"),
        ({"cron": "*/0 * * * *"}, "cron"),
        ({"cron": "* 5-3 * * *"}, "cron"),
        ({"cron": "* * * MAI *"}, "cron"),
        ({"cron": "* * * * *", "timezone": "Europe/Atlantis"}, "timezone"),
        ({"cron": "* * * * *", "timezone": ""}, "timezone"),
        ({"cron": "* * * * *", "timezone": None}, "timezone"),
        ({"cron": "* * * * *", "timezone": "../etc/passwd"}, "timezone"),
        ({"cron": "* * * * *", "anchor": datetime(2026, 1, 1, tzinfo=UTC)}, "anchor"),
        ({"every": 0.5}, "every"),
        ({"every": 0}, "every"),
        ({"every": -1}, "every"),
        ({"every": float("nan")}, "every"),
        ({"every": float("inf")}, "every"),
        ({"every": True}, "every"),
        ({"every": "5"}, "every"),
        ({"every": 5, "anchor": datetime(2026, 1, 1)}, "anchor"),  # noqa: DTZ001 -- it is what is refused
        ({"every": 5, "anchor": datetime(1, 1, 1, tzinfo=ZoneInfo(BERLIN))}, "anchor"),
        ({"at": datetime(2026, 1, 1)}, "at"),  # noqa: DTZ001 -- it is what is refused
        ({"at": "tomorrow"}, "at"),
        ({"at": datetime.max.replace(tzinfo=UTC)}, "at"),
    ],
)
def test_what_cannot_be_is_refused_by_name(fields: dict, named: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{named}[ :]"):
        Timing(**fields)


@given(st.text("0123456789*/,-#LW@ JANMOSUTFRI", max_size=30) | st.text(max_size=30))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    try:
        timing = Timing(cron=text)
    except InvalidInput:
        return
    assert next_after(timing, datetime(2026, 1, 1, tzinfo=UTC)) is not None


BEGIN, END = datetime(1971, 1, 1), datetime(9000, 1, 1)  # noqa: DTZ001 -- hypothesis adds the zone
timings = st.one_of(
    st.builds(Timing, cron=st.sampled_from([*CRONS, "@daily"]), timezone=st.sampled_from([*ZONES, "UTC"])),
    st.builds(Timing, at=st.datetimes(BEGIN, END, timezones=st.sampled_from([UTC, ZoneInfo(BERLIN)]))),
    st.builds(
        Timing,
        every=st.floats(1, 1e9),
        anchor=st.none() | st.datetimes(BEGIN, END, timezones=st.just(UTC)),
    ),
)  # fmt: skip


@given(timings)
def test_what_is_written_as_json_is_read_again(timing: Timing) -> None:
    assert Timing.from_json(timing.to_json()) == timing


def test_json_says_what_was_set() -> None:
    assert Timing(cron=" @daily ", timezone=BERLIN).to_json() == {"cron": "@daily", "timezone": BERLIN}
    assert Timing(every=900).to_json() == {"every": 900.0, "anchor": "1970-01-01T00:00:00+00:00"}
    assert Timing(at=local("2026-07-01T09:00", BERLIN)).to_json() == {"at": "2026-07-01T07:00:00+00:00"}
    assert Timing.from_json({"at": "2026-07-01T09:00:00+02:00", "cron": None}).at == datetime(
        2026, 7, 1, 7, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"corn": "* * * * *"}, "a timing has the fields"),
        ({"at": "2026-07-01T09:00:00"}, "at"),
        ({"at": 5}, "at"),
        ({"every": 5, "anchor": "long ago"}, "anchor"),
    ],
)
def test_json_of_no_timing_is_refused(data: dict, named: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{named} "):
        Timing.from_json(data)


@given(
    timings,
    st.datetimes(datetime(2005, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 20),
    st.timedeltas(timedelta(0), timedelta(days=20)),
)
def test_first_last_and_count_agree_with_going_from_one_to_the_next(
    timing: Timing, start: datetime, most: int, further: timedelta
) -> None:
    walked = [each for each in upcoming(timing, start - TICK, most) if each < start + further]
    end = start + further if len(walked) < most else walked[-1] + TICK

    assert first_within(timing, start, end) == (walked[0] if walked else None)
    assert last_within(timing, start, end) == (walked[-1] if walked else None)
    assert count_within(timing, start, end) == len(walked)
    assert walked == sorted(set(walked))
