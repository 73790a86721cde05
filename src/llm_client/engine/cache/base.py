"""The port to a cache of model answers."""

from __future__ import annotations

from typing import Protocol

from llm_client.messages import CompletionResult


class Cache(Protocol):
    """Answers by key. Keys are hashes that include the tenant; a cache neither reads nor changes them.

    An entry is visible to `get` as soon as `put` returns, and never after its time to live. A cache may forget any
    entry at any time. The engine treats whatever a cache raises as a miss. `aclose` may be called twice.
    """

    async def get(self, key: str) -> CompletionResult | None:
        """Return the answer stored under a key, or `None`."""
        ...

    async def put(self, key: str, result: CompletionResult) -> None:
        """Store an answer, replacing an older one."""
        ...

    async def aclose(self) -> None:
        """Release what the cache holds."""
        ...
