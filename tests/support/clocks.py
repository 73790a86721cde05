"""A clock that a test sets."""

from datetime import UTC, datetime, timedelta


class SetClock:
    """Stands still until it is moved."""

    def __init__(self, moment: datetime = datetime(2026, 3, 14, 12, 0, 30, tzinfo=UTC)) -> None:
        self._now = moment
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def move(self, **by: float) -> None:
        """Let time pass."""
        passed = timedelta(**by)
        self._now += passed
        self._monotonic += passed.total_seconds()
