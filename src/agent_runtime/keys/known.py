"""The keys that a process has looked at a moment ago, so that a request does not ask the database each time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Final

from agent_runtime.ports.clock import Clock
from agent_runtime.ports.keys import StoredKey
from llm_client.background import begin

KNOWN_SECONDS: Final = 1.0
"""How long a key is taken for what it was when it was read: so much later a revocation counts in every process."""
MAX_KNOWN: Final = 1000


@dataclass(slots=True)
class KnownKey:
    """A key as it was read."""

    stored: StoredKey
    read_at: float
    """When the reading began."""
    noted_at: float | None = None
    """When this process last had its use written down."""


class KnownKeys:
    """Reads keys, each at most once a second, and once for all who ask for it at the same time.

    Only keys that are there are remembered, so that whoever tries many ids pushes out none of those in use.

    Args:
        read: Reads a key from the storage.
        clock: Measures how long ago that was.
    """

    def __init__(self, read: Callable[[str], Awaitable[StoredKey | None]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._known: OrderedDict[str, KnownKey] = OrderedDict()
        self._reading: dict[str, asyncio.Task[StoredKey | None]] = {}

    async def get(self, key_id: str) -> StoredKey | None:
        """Return a key, or `None`. Raises `StorageError`."""
        known = self._known.get(key_id)
        if known is not None and self._clock.monotonic() - known.read_at < KNOWN_SECONDS:
            return known.stored
        reading = self._reading.get(key_id)
        if reading is None:
            reading = begin(self._read_anew(key_id), name="api key", context=Context())
            self._reading[key_id] = reading
            reading.add_done_callback(lambda done: self._has_read(key_id, done))
        return await asyncio.shield(reading)  # whoever goes leaves it to the others

    def has_read(self, key_id: str) -> bool:
        """Whether there was such a key when it was last looked for."""
        return key_id in self._known

    async def _read_anew(self, key_id: str) -> StoredKey | None:
        began = self._clock.monotonic()
        stored = await self._read(key_id)
        if self._reading.get(key_id) is asyncio.current_task():
            before = self._known.pop(key_id, None)
            if stored is not None:
                self._known[key_id] = KnownKey(stored, began, None if before is None else before.noted_at)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return stored

    def _has_read(self, key_id: str, reading: asyncio.Task[StoredKey | None]) -> None:
        if self._reading.get(key_id) is reading:
            del self._reading[key_id]
        if not reading.cancelled():
            reading.exception()  # told to those who wait, if there still are any

    def is_to_be_noted(self, key_id: str, every: float) -> bool:
        """Whether this process has not had a key's use written down for so many seconds; it is taken to be done now."""
        known, now = self._known.get(key_id), self._clock.monotonic()
        if known is None or (known.noted_at is not None and now - known.noted_at < every):
            return False
        known.noted_at = now
        return True

    def forget(self, key_id: str) -> None:
        """Read a key again when it is next asked for, also if it is being read now."""
        self._known.pop(key_id, None)
        self._reading.pop(key_id, None)
