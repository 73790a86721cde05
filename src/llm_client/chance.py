"""Random names: for ids, that nobody else draws, and that are no secrets. The system is asked for chance a block at a time."""

from __future__ import annotations

import os
import threading
from typing import Final

BLOCK: Final = 4096
"""Bytes: each asking takes a call of the system, some microseconds where there is nothing between, a tenth of a millisecond in a sandbox."""


class _Chance:
    """A block of random bytes, each of which is given away once: to one thread, of one process."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget the block: whoever was forked has the same one as the parent."""
        self._lock = threading.Lock()
        self._block = b""
        self._given = 0

    def draw(self, size: int) -> bytes:
        """Return bytes that are given to nobody else."""
        with self._lock:
            if self._given + size > len(self._block):
                self._block, self._given = os.urandom(max(BLOCK, size)), 0
            begin, self._given = self._given, self._given + size
            return self._block[begin : self._given]


_CHANCE: Final = _Chance()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_CHANCE.begin_anew)


def random_name(size: int) -> str:
    """Return so many random bytes as hexadecimal digits. For names: a secret is drawn with `secrets`."""
    return _CHANCE.draw(size).hex()
