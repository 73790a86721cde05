"""Time, as a port: tests set it, replay reads it from the journal."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from llm_client.logs import logger_of

logger = logger_of(__name__)

TOLD_SECONDS: Final = 5.0
"""How far this machine's clock may be from a server's before people are told."""
TRUSTED_SECONDS: Final = 60.0
"""How long a close look at a server's clock is preferred to a later one that was less close."""


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


class ServerClock:
    """The time of a server that many machines share, carried on by this machine's own between two looks.

    What is due, which day's budget is spent, when a job expires: with every machine asking its own clock, the one that
    is three hours ahead would fire everybody's timers and forget everybody's counters. Until the first look it is this
    machine's time.
    """

    def __init__(self, local: Clock | None = None) -> None:
        self._local = local or SystemClock()
        self._seen: datetime | None = None
        self._seen_at = 0.0
        self._doubt = 0.0
        """Seconds that the last look may have been wrong by."""
        self._last: datetime | None = None

    def now(self) -> datetime:
        """Return the server's time, in UTC. Small corrections never make it go back."""
        if self._seen is None:
            return self._local.now()
        moment = self._seen + timedelta(seconds=self._local.monotonic() - self._seen_at)
        if self._last is not None and moment < self._last < moment + timedelta(seconds=1):
            return self._last
        self._last = moment
        return moment

    def monotonic(self) -> float:
        """Return this machine's."""
        return self._local.monotonic()

    def learn(self, seen: datetime, *, asked_at: float) -> None:
        """Take note of the time that the server has just told.

        Args:
            seen: The server's time.
            asked_at: When it was asked, by `monotonic`.
        """
        answered_at = self.monotonic()
        doubt = (answered_at - asked_at) / 2
        if self._seen is None:
            off = (self._local.now() - seen).total_seconds()
            if abs(off) > TOLD_SECONDS:
                logger.warning(
                    "this machine's clock is %+.0f s off the database's, which is used instead", off
                )
        elif doubt > self._doubt and answered_at - self._seen_at < TRUSTED_SECONDS:
            return
        self._seen, self._seen_at, self._doubt = seen, asked_at + doubt, doubt


def clock_of(storage: object) -> Clock:
    """Return the clock that everybody who uses a storage goes by."""
    clock: Clock | None = getattr(storage, "clock", None)
    return clock or SystemClock()
