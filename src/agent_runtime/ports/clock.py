"""Time, as a port: tests set it, replay reads it from the journal."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time for records and timers, monotonic time for durations."""

    def now(self) -> datetime:
        """Return the current time, in UTC with its time zone set."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, and that pass while the machine sleeps where it can tell."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)  # noqa: TID251 -- this is the port's one real implementation

    def monotonic(self) -> float:
        """Return `CLOCK_BOOTTIME` where there is one: a suspended laptop must not look alive when it wakes."""
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        return time.clock_gettime(boottime) if boottime is not None else time.monotonic()
