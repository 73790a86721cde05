"""Cron expressions: the minutes that one names on the wall clock, and when those are in a time zone.

`cronsim` reads the expression. It is not asked for the next time: it goes from one to the next, which is too slow for the
years in which a machine was suspended, it searches decades for what never comes, and where clocks change by half an hour
it loses times. Here days are counted by the month, and the clock is followed in spans in which it does not change.
"""

from __future__ import annotations

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final

from cronsim import CronSim, CronSimError

from agent_runtime.errors import InvalidInput

NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
"""Names for common expressions."""
SEARCHED: Final = 50
"""Calendar years in which the next or the last due time is looked for; 29 February on a certain weekday can take 40."""
COUNTED: Final = 100
"""Calendar years of a longer time in which due times are counted."""

_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9990
_YEARS_OF_ALL_KINDS: Final = range(2000, 2028)
"""Among them is each month with each length it can have and each first weekday."""
_NOTHING, _TICK = timedelta(0), timedelta(microseconds=1)
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
_STEP: Final = timedelta(days=6)
"""No two changes of a clock since 1970 are nearer to each other than seven days (tzdata 2026)."""


class Cron:
    """The minutes that a cron expression names, on a wall clock that never changes.

    Times are naive here. Debian's rule holds for days: where neither the day of the month nor the weekday begins with a
    star, one of them is enough; else both must fit.
    """

    def __init__(self, text: str) -> None:
        fields = NICKNAMES.get(text.strip().lower(), text).split()
        if len(fields) != 5:
            raise InvalidInput(
                f"cron has five fields (minute, hour, day of month, month, weekday) or is one of {', '.join(NICKNAMES)}"
            )
        try:
            self._parsed = CronSim(" ".join(fields), datetime(2000, 1, 1))  # noqa: DTZ001 -- a wall clock
        except CronSimError as error:
            raise InvalidInput(f"cron cannot be read or never comes: {error}") from error
        self.at_fixed_times = not fields[0].startswith("*") and not fields[1].startswith("*")
        """Whether neither minutes nor hours begin with a star, which decides what it does when clocks change."""
        self._minutes = sorted(
            60 * hour + minute for hour in self._parsed.hours for minute in self._parsed.minutes
        )
        self._days: dict[tuple[int, int, int], Sequence[int]] = {}
        if not any(self._numbers_of(year, month) for year in _YEARS_OF_ALL_KINDS for month in range(1, 13)):
            raise InvalidInput("cron never comes: no month has such a day")

    def first(self, start: datetime, end: datetime) -> datetime | None:
        """Return the first of its minutes in `[start, end)`."""
        for month in _months(start, end):
            for day in self._days_of(*month):
                place = self._place(day, start)
                if place < len(self._minutes):
                    found = _at(day, self._minutes[place])
                    return found if found < end else None
        return None

    def last(self, start: datetime, end: datetime) -> datetime | None:
        """Return the last of its minutes in `[start, end)`."""
        for month in _months(start, end, backwards=True):
            for day in reversed(self._days_of(*month)):
                place = self._place(day, end)
                if place:
                    found = _at(day, self._minutes[place - 1])
                    return found if found >= start else None
        return None

    def count(self, start: datetime, end: datetime) -> int:
        """Return how many of its minutes are in `[start, end)`."""
        if start >= end:
            return 0
        edges = ((start.year, start.month), (end.year, end.month))
        total = 0
        for month in _months(start, end):
            if month in edges:
                total += sum(self._place(day, end) - self._place(day, start) for day in self._days_of(*month))
            else:
                total += len(self._numbers_of(*month)) * len(self._minutes)
        return total

    def _place(self, day: date, moment: datetime) -> int:
        """Return how many of a day's minutes are before a moment."""
        if day != moment.date():
            return len(self._minutes) if day < moment.date() else 0
        return bisect_left(self._minutes, (moment - datetime.combine(day, time())) / _MINUTE)

    def _days_of(self, year: int, month: int) -> list[date]:
        return [date(year, month, day) for day in self._numbers_of(year, month)]

    def _numbers_of(self, year: int, month: int) -> Sequence[int]:
        """Return the days of a month. Its length and first weekday decide which they are, so few months are worked out."""
        if month not in self._parsed.months:
            return ()
        first, length = monthrange(year, month)
        known = self._days.get((month, length, first))
        if known is None:
            days = (date(year, month, day) for day in range(1, length + 1))
            known = self._days[month, length, first] = [
                day.day for day in days if self._parsed.match_day(day)
            ]
        return known


class ZonedCron:
    """When the minutes of a cron expression are in a time zone, by Debian's rule for clocks that change.

    * Where minutes or hours begin with a star (`*/15 * * * *`, `0 * * * *`), it goes by real time: what a change skips
      does not happen, and what comes twice happens twice.
    * Any other happens once a day whatever clocks do: all that a change skips happens together, once, at the moment of the
      change; what comes twice happens the first time.

    Times are naive and in UTC here.
    """

    def __init__(self, cron: Cron, zone: tzinfo) -> None:
        self._cron = cron
        self._zone = zone

    def first(self, start: datetime, end: datetime) -> datetime | None:
        """Return the first due time in `[start, end)`, or in the first fifty calendar years of it."""
        found = (self._first(*part) for part in self._parts(start, end))
        return next((moment for moment in found if moment is not None), None)

    def last(self, start: datetime, end: datetime) -> datetime | None:
        """Return the last due time in `[start, end)`, or in the last fifty calendar years of it."""
        found = (self._last(*part) for part in self._parts(start, end, backwards=True))
        return next((moment for moment in found if moment is not None), None)

    def count(self, start: datetime, end: datetime) -> int:
        """Return how many due times are in `[start, end)`, or in the first hundred calendar years of it."""
        return sum(self._count(*part) for part in self._parts(start, end, most=COUNTED))

    def _parts(
        self, start: datetime, end: datetime, *, most: int = SEARCHED, backwards: bool = False
    ) -> Iterator[tuple[_Span, datetime, datetime]]:
        """Cut `[start, end)` where the clock changes, as far as so many calendar years from the side that comes first."""
        years = range(max(start.year, _FIRST_YEAR), min(end.year, _LAST_YEAR) + 1)
        years = years[-most:] if backwards else years[:most]
        for year in reversed(years) if backwards else years:
            spans = _spans(self._zone, year)
            for span in reversed(spans) if backwards else spans:
                since, until = max(span.start, start, _new_year(year)), min(span.end, end)
                if since < until:
                    yield span, since, until

    def _first(self, span: _Span, since: datetime, until: datetime) -> datetime | None:
        if self._makes_up(span, since):
            return span.start
        found = self._cron.first(*self._walls(span, since, until))
        return None if found is None else found - span.offset

    def _last(self, span: _Span, since: datetime, until: datetime) -> datetime | None:
        found = self._cron.last(*self._walls(span, since, until))
        if found is not None:
            return found - span.offset
        return span.start if self._makes_up(span, since) else None

    def _count(self, span: _Span, since: datetime, until: datetime) -> int:
        start, end = self._walls(span, since, until)
        both = self._makes_up(span, since) and self._cron.first(start, start + _TICK) is not None
        return self._cron.count(start, end) + self._makes_up(span, since) - both

    def _makes_up(self, span: _Span, since: datetime) -> bool:
        """Whether the change with which a span begins has skipped something that happens then."""
        if not self._cron.at_fixed_times or span.skipped <= _NOTHING or since > span.start:
            return False
        wall = span.start + span.offset
        return self._cron.first(wall - span.skipped, wall) is not None

    def _walls(self, span: _Span, since: datetime, until: datetime) -> tuple[datetime, datetime]:
        """Return what the clock shows at the begin and the end of a part, without what it shows again."""
        start = since + span.offset
        if self._cron.at_fixed_times:
            start = max(start, span.start + span.offset - min(span.skipped, _NOTHING))
        return start, until + span.offset


@dataclass(frozen=True, slots=True)
class _Span:
    """A time in which a zone's clock does not change, in UTC, within a year or a few days longer."""

    start: datetime
    end: datetime
    offset: timedelta
    skipped: timedelta
    """How far the clock was put forward when it began; below zero: what it shows again."""


@lru_cache(maxsize=2048)
def _spans(zone: tzinfo, year: int) -> tuple[_Span, ...]:
    """Cut a year of UTC where the zone's clock changes. The first span may have begun before it."""
    start, end = _new_year(year), _new_year(year + 1)
    begun, offset, skipped = start - _STEP, _offset(zone, start - _STEP), _NOTHING
    spans: list[_Span] = []
    for change in _changes(zone, begun, end):
        spans.append(_Span(begun, change, offset, skipped))
        following = _offset(zone, change)
        begun, offset, skipped = change, following, following - offset
    spans.append(_Span(begun, end, offset, skipped))
    return tuple(span for span in spans if span.end > start)


def _changes(zone: tzinfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield when the zone's clock changes, after `start` and before `end`."""
    before = _offset(zone, start)
    while start < end:
        stop = min(start + _STEP, end)
        after = _offset(zone, stop)
        if after != before:
            change = _change(zone, start, stop)
            if change < end:
                yield change
        start, before = stop, after


def _change(zone: tzinfo, start: datetime, stop: datetime) -> datetime:
    """Return the second in which the clock changes, after `start` and no later than `stop`."""
    before = _offset(zone, start)
    while stop - start > _SECOND:
        middle = start + (stop - start) // _SECOND // 2 * _SECOND
        if _offset(zone, middle) == before:
            start = middle
        else:
            stop = middle
    return stop


def _offset(zone: tzinfo, moment: datetime) -> timedelta:
    return moment.replace(tzinfo=UTC).astimezone(zone).utcoffset() or _NOTHING


def _new_year(year: int) -> datetime:
    return datetime(year, 1, 1)  # noqa: DTZ001 -- in UTC


def _months(start: datetime, end: datetime, *, backwards: bool = False) -> Iterator[tuple[int, int]]:
    """Yield the months that `[start, end]` touches, as year and month."""
    first, last = 12 * start.year + start.month - 1, 12 * end.year + end.month - 1
    for number in range(last, first - 1, -1) if backwards else range(first, last + 1):
        yield number // 12, number % 12 + 1


def _at(day: date, minute: int) -> datetime:
    return datetime.combine(day, time(*divmod(minute, 60)))
