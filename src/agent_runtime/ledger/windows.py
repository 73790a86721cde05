"""When a minute, hour, day or month begins and ends, in UTC or in a named zone.

A window is named by its kind and the instant it starts, in UTC, so that a day of 23 or 25 hours is one day, the hour
that comes twice in autumn is two hours, and no two windows of a kind overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from agent_runtime.time_zones import zone
from agent_runtime.values.standing_budget import WindowKind

_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time in which something is counted; without a start it never ends."""

    kind: WindowKind
    starts_at: datetime | None = None
    """In UTC."""
    ends_at: datetime | None = None

    @property
    def key(self) -> str:
        """Names it among the windows of its budget; later windows of a kind sort after earlier ones."""
        return "" if self.starts_at is None else _key(self.kind, self.starts_at)

    @property
    def forget_before(self) -> str:
        """The key before which windows of this kind can be forgotten: long enough ago for every clock to agree."""
        if self.starts_at is None or self.ends_at is None:
            return ""
        return _key(self.kind, self.starts_at - max(_HOUR, 2 * (self.ends_at - self.starts_at)))


def _key(kind: WindowKind, moment: datetime) -> str:
    return f"{kind.value}:{moment.strftime('%Y-%m-%dT%H:%M:%SZ')}"


def window_at(kind: WindowKind, moment: datetime, timezone: str = "UTC") -> Window:
    """Return the window of a kind that contains a moment."""
    if kind in (WindowKind.TOTAL, WindowKind.REQUEST):
        return Window(kind)
    local_zone = UTC if kind is WindowKind.MINUTE else zone(timezone)
    starts_at = _start(kind, moment, local_zone)
    return Window(kind, starts_at, _end(kind, starts_at, local_zone))


def _start(kind: WindowKind, moment: datetime, local_zone: tzinfo) -> datetime:
    if kind is WindowKind.MINUTE:
        return moment.astimezone(UTC).replace(second=0, microsecond=0)
    local = moment.astimezone(local_zone).replace(minute=0, second=0, microsecond=0)
    if kind is WindowKind.DAY:
        local = local.replace(hour=0, fold=0)
    elif kind is WindowKind.MONTH:
        local = local.replace(day=1, hour=0, fold=0)
    return local.astimezone(UTC)


def _end(kind: WindowKind, starts_at: datetime, local_zone: tzinfo) -> datetime:
    """Return when the next window of the kind starts."""
    if kind is WindowKind.MINUTE:
        return starts_at + _MINUTE
    if kind is WindowKind.HOUR:
        following = _start(kind, starts_at + _HOUR, local_zone)
        return following if following > starts_at else _start(kind, starts_at + 2 * _HOUR, local_zone)
    # Some hour of the next day, or some day of the next month, however long this one is.
    later = starts_at + (_DAY + 6 * _HOUR if kind is WindowKind.DAY else 33 * _DAY)
    return _start(kind, later, local_zone)
