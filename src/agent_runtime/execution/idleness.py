"""Whether a run only waits: then its job leaves the memory after a while."""

from __future__ import annotations

import asyncio
from typing import Protocol

from agent_runtime.execution.lifecycle import Lifecycle


class Blockable(Protocol):
    """All the work of a run."""

    def is_blocked(self) -> bool:
        """Whether nothing of it can go on without a signal."""


class LeftStream(Protocol):
    """A stream nobody reads any more, in which effects are still going on."""

    def cancel_if_blocked(self) -> None:
        """End it, once nothing but durable waits is going on in it."""


class Idleness:
    """The clock after which a job that only waits is suspended.

    Args:
        lifecycle: The run's; one that is about to be given up does not idle.
        seconds: How long it may idle in memory.
    """

    def __init__(self, lifecycle: Lifecycle, seconds: float) -> None:
        self._lifecycle = lifecycle
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self.work: Blockable | None = None
        """What is watched, once it has begun."""
        self.left_streams: set[LeftStream] = set()
        self.is_idle = False
        """Every line has been blocked for as long as a job may idle in memory."""

    def check(self) -> None:
        """Start or stop the clock: to be called whenever a line begins or ends a wait."""
        self.stop()
        self.is_idle = False
        for stream in self.left_streams:
            stream.cancel_if_blocked()
        if not self._lifecycle.is_over and self._is_blocked():
            delay = self._seconds if self._lifecycle.is_running else 0.0
            self._timer = asyncio.get_running_loop().call_later(delay, self._become_idle)

    def _is_blocked(self) -> bool:
        return self.work is not None and self.work.is_blocked()

    def _become_idle(self) -> None:
        self._timer = None
        self.is_idle = self._is_blocked()
        if self.is_idle:
            self._lifecycle.attention.set()

    def stop(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
