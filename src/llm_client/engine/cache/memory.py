"""A cache in this process's memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from llm_client.errors import ConfigurationError
from llm_client.messages import CompletionResult


class MemoryCache:
    """The answers last used, up to a number.

    Args:
        max_entries: How many answers are kept; the ones unused for longest go first.
        ttl: Seconds an answer stays valid; `None` is for ever.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        max_entries: int = 1_000,
        ttl: float | None = 3600.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_entries < 1:
            raise ConfigurationError("a cache holds at least one entry")
        self._max_entries = max_entries
        self._ttl = ttl
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, CompletionResult]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: str) -> CompletionResult | None:
        """Return the answer stored under a key, or `None`."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        stored, result = entry
        if self._ttl is not None and self._clock() - stored >= self._ttl:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return result

    async def put(self, key: str, result: CompletionResult) -> None:
        """Store an answer, replacing an older one."""
        self._entries[key] = (self._clock(), result)
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    async def aclose(self) -> None:
        """Forget everything."""
        self._entries.clear()
