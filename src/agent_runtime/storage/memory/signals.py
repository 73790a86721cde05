"""Signals within one process."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from agent_runtime.ports.clock import Clock, SystemClock
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.signals import MAX_SIGNAL, SignalMessage
from agent_runtime.storage.waiters import Waiters
from agent_runtime.values.content import encode


@after_the_journal(but=("start", "stop"))
class InMemorySignalChannel:
    """A `SignalChannel` for one process: waiters are told at once, without looking into the store again and again.

    Args:
        message_ttl_seconds: How long a signal is kept for those who come late.
        clock: What time it is.
    """

    def __init__(self, *, message_ttl_seconds: float = 3600.0, clock: Clock | None = None) -> None:
        self._ttl = message_ttl_seconds
        self._clock = clock or SystemClock()
        self._waiters = Waiters()
        self._last: dict[str, tuple[float, SignalMessage]] = {}
        """Messages by action, oldest first, each with the moment at which it is forgotten."""

    async def start(self) -> None:
        """Do nothing: nobody is far away."""

    async def stop(self) -> None:
        """Let whoever waits fail with `StorageClosed`."""
        self._waiters.close()

    async def signal(self, action_id: str, message: SignalMessage, job_id: str | None = None) -> None:
        """Tell all who wait for an action."""
        encode([message.error, message.resolution], limit=MAX_SIGNAL)
        self._forget_old()
        self._last.pop(action_id, None)
        self._last[action_id] = (self._clock.monotonic() + self._ttl, message)
        self._waiters.publish(message)

    def _forget_old(self) -> None:
        now = self._clock.monotonic()
        while self._last and next(iter(self._last.values()))[0] <= now:
            del self._last[next(iter(self._last))]

    async def wait(self, action_id: str, timeout: float | None = None) -> SignalMessage:
        """Wait for the signal of an action."""
        return await self.wait_any((action_id,), timeout)

    async def wait_any(self, action_ids: Collection[str], timeout: float | None = None) -> SignalMessage:
        """Wait for the first signal of any of these actions."""
        self._forget_old()
        for action_id in action_ids:
            if action_id in self._last:
                return self._last[action_id][1]
        future = self._waiters.add(action_ids)
        try:
            async with asyncio.timeout(timeout):
                return await future
        finally:
            self._waiters.remove(action_ids, future)
