"""Readers of streams, counted: of all of them, and of each key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Readers:
    """Counts who reads streams in this process.

    Args:
        most: Of all callers together.
        most_each: Of one caller.
    """

    def __init__(self, *, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._of: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many read now."""
        return self._of.total()

    def has_room(self, name: str) -> bool:
        """Whether there is room for a reader."""
        return self._of[name] < self._most_each and len(self) < self._most

    @contextmanager
    def one_more(self, name: str) -> Iterator[None]:
        """Count a reader for as long as it reads."""
        self._of[name] += 1
        try:
            yield
        finally:
            self._of[name] -= 1
            if not self._of[name]:
                del self._of[name]
