"""When a schedule is due: a cron expression, an interval, or once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Protocol

from agent_runtime.errors import ConfigurationError, InvalidInput
from agent_runtime.schedules.cron import Cron, ZonedCron
from agent_runtime.time_zones import check_zone, zone
from agent_runtime.values.checks import MAX_SECONDS, check_seconds, check_text, check_time, check_whole
from llm_client.json_text import JsonObject, JsonValue

SHORTEST: Final = 1.0
"""Seconds that an interval has at least."""
MAX_UPCOMING: Final = 1000
"""Due times that one look ahead returns at most."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS: Final = range(1970, 9991)
_END: Final = datetime(_YEARS.stop, 1, 1)  # noqa: DTZ001 -- in UTC
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When something is due: exactly one of `cron`, `every` and `at`.

    A cron expression is read as Debian's cron reads it. It has five fields: minute, hour, day of month, month and weekday,
    with names of months and weekdays (in English, of three letters), lists, ranges and steps; 0 and 7 are Sunday. `L` is
    the last day of a month, `LW` its last weekday, `MON#2` the second Monday, `5L` the last Friday. Where neither the day
    of the month nor the weekday begins with a star, one of them is enough; else both must fit (`*/2` begins with one).
    `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` are short for the usual ones.

    Where the clocks of its zone change, Debian's rule holds:

    * What begins its minutes or its hours with a star (`*/15 * * * *`, `0 * * * *`) goes by real time: what the change skips
      does not happen, what comes twice happens twice.
    * Anything else happens whatever clocks do: what the change skips happens together, once, at the moment of the change
      (`30 2 * * *` at 03:00, when 02:00 to 03:00 is missing); what comes twice happens the first time only.

    No time is read from a clock, and making one reads no file. `next_after` and whatever looks at due times of a cron in a
    zone does, the first time: `await load_zones([timing.timezone])` before (`agent_runtime.time_zones`).

    Raises:
        InvalidInput: A field has a value it cannot have; it names the field. So it does where a cron expression names no day
            there is, like 30 February.
    """

    cron: str | None = None
    every: float | None = None
    """Seconds between due times, one at least, counted to the microsecond from `anchor`, however often processes start. A day
    of it is 24 hours long: what is to be at a time of day is a cron expression."""
    at: datetime | None = None
    """The only due time, with a time zone; kept in UTC."""
    timezone: str = "UTC"
    """In which a cron expression is read: a name like `Europe/Berlin`."""
    anchor: datetime | None = None
    """The first due time of an interval, with a time zone; kept in UTC. If none is given the beginning of 1970, so 900 seconds
    are the quarters of every hour."""

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.cron, self.every, self.at)) != 1:
            raise InvalidInput("cron, every, at: a timing has exactly one of them")
        _check_zone(self.timezone)
        if self.cron is not None:
            object.__setattr__(self, "cron", _checked_cron(self.cron))
        if self.at is not None:
            object.__setattr__(self, "at", _in_utc("at", self.at))
        if self.every is not None:
            check_seconds("every", self.every, zero=False)
            if self.every < SHORTEST:
                raise InvalidInput(f"every is a number of seconds from {SHORTEST:g} to {MAX_SECONDS}")
            object.__setattr__(self, "every", float(self.every))
            object.__setattr__(self, "anchor", _in_utc("anchor", self.anchor or _EPOCH))
        elif self.anchor is not None:
            raise InvalidInput("anchor goes with every, and with nothing else")

    def to_json(self) -> dict[str, JsonValue]:
        """Return what was set, as JSON values; times as text in ISO 8601."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in said.items()
            if value is not None and (name, value) != ("timezone", "UTC")
        }

    @classmethod
    def from_json(cls, data: JsonObject) -> Timing:
        """Build from what `to_json` gave, or what somebody wrote like it.

        Raises:
            InvalidInput: As for a timing, or there is a field that a timing does not have.
        """
        known = [field.name for field in fields(cls)]
        if any(name not in known for name in data):
            raise InvalidInput(f"a timing has the fields {', '.join(known)}")
        given: dict[str, Any] = {name: value for name, value in data.items() if value is not None}
        for name in ("at", "anchor"):
            if name in given:
                given[name] = _read_time(name, given[name])
        return cls(**given)


def next_after(timing: Timing, moment: datetime) -> datetime | None:
    """Return the first due time strictly after a moment, in UTC.

    `None`: there is none any more; or for a cron expression none in fifty calendar years, as for `* 2 * 3 7L` where the
    hour of 2 is what the change in March skips. A new schedule without a next due time is one to refuse.
    """
    check_time("moment", moment)
    start = _naive(moment)
    return _aware(_due_times(timing).first(start + _TICK, _END)) if start < _END else None


def upcoming(timing: Timing, moment: datetime, most: int) -> Sequence[datetime]:
    """Return the next due times strictly after a moment, in UTC: at most so many, up to 1,000."""
    check_whole("most", most, most=MAX_UPCOMING)
    found: list[datetime] = []
    while len(found) < most:
        following = next_after(timing, found[-1] if found else moment)
        if following is None:
            break
        found.append(following)
    return found


def first_within(timing: Timing, start: datetime, end: datetime) -> datetime | None:
    """Return the first due time in `[start, end)`, in UTC; of a cron expression, in its first fifty calendar years."""
    return _aware(_due_times(timing).first(_naive(start), _naive(end)))


def last_within(timing: Timing, start: datetime, end: datetime) -> datetime | None:
    """Return the last due time in `[start, end)`, in UTC; of a cron expression, in its last fifty calendar years."""
    return _aware(_due_times(timing).last(_naive(start), _naive(end)))


def count_within(timing: Timing, start: datetime, end: datetime) -> int:
    """Count the due times in `[start, end)`, without looking at each; of a cron expression, in its first hundred years."""
    return _due_times(timing).count(_naive(start), _naive(end))


class _DueTimes(Protocol):
    """Due times in UTC, as naive times."""

    def first(self, start: datetime, end: datetime) -> datetime | None: ...

    def last(self, start: datetime, end: datetime) -> datetime | None: ...

    def count(self, start: datetime, end: datetime) -> int: ...


class _Once:
    def __init__(self, at: datetime) -> None:
        self._at = at

    def first(self, start: datetime, end: datetime) -> datetime | None:
        return self._at if start <= self._at < end else None

    def last(self, start: datetime, end: datetime) -> datetime | None:
        return self.first(start, end)

    def count(self, start: datetime, end: datetime) -> int:
        return int(start <= self._at < end)


class _Every:
    def __init__(self, every: timedelta, anchor: datetime) -> None:
        self._every = every
        self._anchor = anchor

    def first(self, start: datetime, end: datetime) -> datetime | None:
        passed = self._before(start) * self._every
        return self._anchor + passed if passed < end - self._anchor else None

    def last(self, start: datetime, end: datetime) -> datetime | None:
        number = self._before(end) - 1
        return self._anchor + number * self._every if number >= self._before(start) else None

    def count(self, start: datetime, end: datetime) -> int:
        return max(0, self._before(end) - self._before(start))

    def _before(self, moment: datetime) -> int:
        """Return how many due times are before a moment."""
        return max(0, -((self._anchor - moment) // self._every))


def _due_times(timing: Timing) -> _DueTimes:
    if timing.cron is not None:
        return ZonedCron(_cron(timing.cron), zone(timing.timezone))
    if timing.every is not None:
        return _Every(timedelta(seconds=timing.every), _naive(timing.anchor or _EPOCH))
    return _Once(_naive(timing.at or _EPOCH))


@lru_cache(maxsize=4096)
def _cron(text: str) -> Cron:
    return Cron(text)


def _checked_cron(given: object) -> str:
    text = check_text("cron", " ".join(given.split()) if isinstance(given, str) else given)
    _cron(text)
    return text


def _check_zone(given: object) -> None:
    try:
        check_zone(check_text("timezone", given))
    except ConfigurationError as error:
        raise InvalidInput(f"timezone: {error}") from error


def _in_utc(name: str, given: datetime) -> datetime:
    check_time(name, given)
    try:
        moment = given.astimezone(UTC)
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC)
    if moment.year not in _YEARS:
        raise InvalidInput(f"{name} is a time from {_YEARS[0]} to {_YEARS[-1]}")
    return moment


def _read_time(name: str, given: object) -> datetime:
    try:
        return datetime.fromisoformat(given if isinstance(given, str) else "")
    except ValueError as error:
        raise InvalidInput(f"{name} is a time in ISO 8601 with a time zone") from error


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _aware(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)
