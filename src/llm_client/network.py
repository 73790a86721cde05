"""The switch that keeps tests off the network."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from llm_client.errors import NetworkBlocked


class NetworkSwitch:
    """Whether providers may leave the process. One per process, so that no thread or task slips past it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0

    def check(self, target: str) -> None:
        """Let a provider go out, or refuse. Every provider calls this before it connects.

        Args:
            target: What is about to be called, for the error's text.

        Raises:
            NetworkBlocked: `block_network()` is active.
        """
        if self._blocks:
            raise NetworkBlocked(
                f"{target} was called while block_network() is active; use a ScriptedProvider"
            )

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Refuse everything while the block lasts; blocks may nest."""
        with self._lock:
            self._blocks += 1
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1


NETWORK = NetworkSwitch()
"""The switch every provider asks."""

block_network = NETWORK.blocked
"""Context manager: every call of a real provider raises `NetworkBlocked` while it lasts."""
