"""Minutes, hours, days and months, on the days when clocks change too."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.errors import ConfigurationError
from agent_runtime.ledger.windows import window_at
from agent_runtime.time_zones import zone
from agent_runtime.values.standing_budget import WindowKind

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kolkata", "Australia/Lord_Howe",
         "Pacific/Apia", "Atlantic/Azores", "America/Havana", "Africa/Casablanca", "Asia/Kathmandu"]  # fmt: skip
TIMED = [WindowKind.MINUTE, WindowKind.HOUR, WindowKind.DAY, WindowKind.MONTH]
moments = st.datetimes(
    min_value=datetime(2005, 1, 1),  # noqa: DTZ001 -- hypothesis adds the zone
    max_value=datetime(2036, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def span(kind: WindowKind, moment: str, name: str) -> tuple[str, float]:
    window = window_at(kind, datetime.fromisoformat(moment), name)
    assert window.starts_at is not None
    assert window.ends_at is not None
    return window.starts_at.astimezone(zone(name)).isoformat(), (
        window.ends_at - window.starts_at
    ) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("kind", "moment", "name", "starts_at", "hours"),
    [
        (WindowKind.DAY, "2026-11-21T23:59:59.999999+00:00", "UTC", "2026-11-21T00:00:00+00:00", 24),
        (WindowKind.DAY, "2026-11-21T23:30:00+00:00", "Europe/Berlin", "2026-11-22T00:00:00+01:00", 24),
        (WindowKind.DAY, "2026-03-29T12:00:00+00:00", "Europe/Berlin", "2026-03-29T00:00:00+01:00", 23),
        (WindowKind.DAY, "2026-10-25T12:00:00+00:00", "Europe/Berlin", "2026-10-25T00:00:00+02:00", 25),
        (WindowKind.HOUR, "2026-10-25T00:30:00+00:00", "Europe/Berlin", "2026-10-25T02:00:00+02:00", 1),
        (WindowKind.HOUR, "2026-10-25T01:30:00+00:00", "Europe/Berlin", "2026-10-25T02:00:00+01:00", 1),
        (WindowKind.DAY, "2018-11-04T12:00:00+00:00", "America/Sao_Paulo", "2018-11-04T01:00:00-02:00", 23),
        (WindowKind.DAY, "2026-11-01T05:30:00+00:00", "America/Havana", "2026-11-01T00:00:00-04:00", 25),
        (WindowKind.DAY, "2011-12-30T09:59:00+00:00", "Pacific/Apia", "2011-12-29T00:00:00-10:00", 24),
        (WindowKind.HOUR, "2026-11-21T10:50:00+00:00", "Asia/Kolkata", "2026-11-21T16:00:00+05:30", 1),
        (
            WindowKind.MONTH,
            "2026-01-31T23:30:00+00:00",
            "Europe/Berlin",
            "2026-02-01T00:00:00+01:00",
            28 * 24,
        ),
        (WindowKind.MONTH, "2024-02-29T23:59:59+00:00", "UTC", "2024-02-01T00:00:00+00:00", 29 * 24),
        (
            WindowKind.MONTH,
            "2026-03-31T20:00:00+00:00",
            "Europe/Berlin",
            "2026-03-01T00:00:00+01:00",
            31 * 24 - 1,
        ),
        (WindowKind.MONTH, "2026-12-31T23:59:59+00:00", "UTC", "2026-12-01T00:00:00+00:00", 31 * 24),
        (
            WindowKind.MINUTE,
            "2026-11-21T10:50:59+00:00",
            "Asia/Kathmandu",
            "2026-11-21T16:35:00+05:45",
            1 / 60,
        ),
    ],
)
def test_a_window_begins_and_ends_by_its_zones_clock(
    kind: WindowKind, moment: str, name: str, starts_at: str, hours: float
) -> None:
    assert span(kind, moment, name) == (starts_at, pytest.approx(hours))


@given(st.sampled_from(TIMED), moments, st.sampled_from(ZONES))
def test_windows_of_a_kind_follow_each_other_without_gap_or_overlap(
    kind: WindowKind, moment: datetime, name: str
) -> None:
    window = window_at(kind, moment, name)
    assert window.starts_at is not None
    assert window.ends_at is not None

    assert window.starts_at <= moment < window.ends_at
    assert window_at(kind, window.starts_at, name) == window
    assert window_at(kind, window.ends_at - timedelta(microseconds=1), name) == window
    following = window_at(kind, window.ends_at, name)
    assert following.starts_at == window.ends_at
    assert window.key < following.key


@given(st.sampled_from(TIMED), moments, st.sampled_from(ZONES))
def test_the_window_before_is_not_forgotten(kind: WindowKind, moment: datetime, name: str) -> None:
    window = window_at(kind, moment, name)
    assert window.starts_at is not None
    before = window_at(kind, window.starts_at - timedelta(minutes=1), name)

    assert window.forget_before <= before.key < window.key
    assert window.forget_before.startswith(f"{kind}:")


def test_a_total_never_ends() -> None:
    window = window_at(WindowKind.TOTAL, datetime(2026, 1, 1, tzinfo=UTC), "Europe/Berlin")

    assert (window.key, window.starts_at, window.ends_at, window.forget_before) == ("", None, None, "")


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe"])
def test_an_unknown_zone_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not known"):
        zone(name)
