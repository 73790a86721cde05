"""How often somebody may ask: a bucket of requests for each, which fills again with time."""

from __future__ import annotations

from collections import OrderedDict
from math import ceil
from typing import Final

from agent_runtime.ports.clock import Clock

MAX_BUCKETS: Final = 10_000
"""Callers that are counted; of more, who has not asked for longest begins anew."""


class Rates:
    """Counts the requests of each caller, in this process.

    Args:
        clock: What time it is.
        per_second: Requests of one caller in the long run.
        burst: Requests that may come at once.
    """

    def __init__(self, clock: Clock, *, per_second: float, burst: int) -> None:
        self._clock = clock
        self._per_second = per_second
        self._burst = float(burst)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """How many requests each has left, as of when."""

    def take(self, name: str) -> int:
        """Count a request; return 0, or after how many seconds another one makes sense if it is one too many."""
        now = self._clock.monotonic()
        left, since = self._left.pop(name, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        allowed = left >= 1.0
        self._left[name] = (left - 1.0 if allowed else left, now)
        if len(self._left) > MAX_BUCKETS:
            self._left.popitem(last=False)
        return 0 if allowed else ceil((1.0 - left) / self._per_second)

    def give_back(self, name: str) -> None:
        """Take a request as not asked."""
        if name in self._left:
            left, since = self._left[name]
            self._left[name] = (left + 1.0, since)
