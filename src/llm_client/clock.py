"""The wall clock: the one place of this package that asks what time it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present as a timezone-aware time."""


def utc_now() -> datetime:
    """Return the present in UTC."""
    return datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 -- this function is the port's implementation
