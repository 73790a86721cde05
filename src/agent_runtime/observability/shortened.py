"""The beginning of a value, before it is redacted: what is too long is shortened as a value, for in the text of JSON a secret looks otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from llm_client.json_text import MAX_DEPTH, dumps, exact, read_exactly
from llm_client.public_text import without_cut_run

_CUT: Final = "…"


def read_written(written: bytes) -> Any:
    """Read JSON of our own, with all digits of its numbers."""
    try:
        return exact(orjson.loads(written), written)
    except orjson.JSONDecodeError:  # it has a whole number that no float is as large as
        return read_exactly(written)


class Shortened:
    """Takes as much of a value as there is room for.

    Args:
        room: Characters.
    """

    def __init__(self, room: int) -> None:
        self._room = room

    def value(self, value: Any, depth: int = 0) -> Any:
        """Return the beginning of a value."""
        if isinstance(value, str):
            room = max(0, self._room)
            self._room -= len(value) + 2
            return value if len(value) <= room else without_cut_run(value[:room])
        if isinstance(value, Mapping | list | tuple):
            return _CUT if depth > MAX_DEPTH else self._items(value, depth)
        if isinstance(value, int | float | None):
            self._room -= 8
            return value
        return self.value(read_written(dumps(value, default=str)), depth)

    def _items(self, value: Any, depth: int) -> Any:
        named = isinstance(value, Mapping)
        taken: dict[Any, Any] = {}
        for name, item in value.items() if named else enumerate(value):
            if self._room <= 0:
                break
            self._room -= len(name) + 4 if isinstance(name, str) else 1
            taken[name] = self.value(item, depth + 1)
        return taken if named else list(taken.values())
