"""The switch that keeps tests off the network, and which addresses others can read along at."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

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


def is_private(address: str) -> bool:
    """Whether nobody on the way can read what is sent to an address: it is encrypted, or does not leave this machine."""
    url = urlsplit(address)
    return url.scheme == "https" or is_here(url.hostname or "")


def is_here(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
