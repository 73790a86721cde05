"""A clock that a test moves, so that what takes days takes no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Stands still until it is moved: `RuntimeKernel(clock=FakeClock())`.

    A kernel looks at its timers every `KernelOptions.sweep_interval` seconds in any case, which are real ones; a short
    interval makes it notice a move soon.

    Args:
        moment: What time it is at first, with a time zone.
    """

    def __init__(self, moment: datetime = datetime(2026, 3, 14, 12, 0, 30, tzinfo=UTC)) -> None:
        self._now = moment.astimezone(UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        """Return the moment that it was moved to, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds that go with the moment."""
        return self._monotonic

    def move(self, **by: float) -> None:
        """Let time pass; the arguments are those of `timedelta`, such as `days=1`."""
        passed = timedelta(**by)
        self._now += passed
        self._monotonic += passed.total_seconds()
