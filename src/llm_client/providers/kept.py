"""What is kept of an answer beside its texts: blocks, sources, details and fields that a vendor has put anywhere."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

MAX_KEPT: Final = 1_000_000
"""Values of one answer that are kept until its end. Its longest reasoning is some hundred thousand pieces of five values each, where a server
asks for every piece back."""


class Kept:
    """Counts the values that are kept of one answer, whatever number of events they come with.

    The parts of each event are counted before it is read, and its bytes bound a stream. An empty list takes three of them and becomes sixty: what
    is kept of a stream could be thirty times as large as the stream.

    Args:
        most: How many they may be.
    """

    __slots__ = ("_most", "_room")

    def __init__(self, most: int = MAX_KEPT) -> None:
        self._most = self._room = most

    def take(self, value: T) -> T:
        """Count a value and all that is in it. Raises `ValueError` when the answer's are too many."""
        self._room -= 1
        below: list[Any] = [value] if isinstance(value, dict | list) else []
        while below and self._room >= 0:
            item = below.pop()
            self._room -= len(item)
            inside = item.values() if isinstance(item, dict) else item
            below += [one for one in inside if isinstance(one, dict | list)]
        if self._room < 0:
            raise ValueError(f"more than {self._most} values beside its texts")
        return value

    def update(self, fields: dict[K, Any], stated: Mapping[K, Any]) -> None:
        """Put fields in the place of what they were; what is said again is not counted again. Raises like `take`."""
        for name, value in stated.items():
            is_new = name not in fields
            if is_new or (isinstance(value, dict | list) and value != fields[name]):
                self.take(value)
            fields[name] = value
