"""Every place of a JSON value, and the value with something else there."""

import copy
from collections.abc import Iterator
from typing import Any

Place = tuple[Any, ...]


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield every place in a value but the whole of it."""
    if place:
        yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places(inner, (*place, key))


def at(value: Any, place: Place) -> Any:
    """Return what stands at a place."""
    for key in place:
        value = value[key]
    return value


def replaced(value: Any, place: Place, by: Any) -> Any:
    """Return a copy of a value with something else at a place."""
    copied = copy.deepcopy(value)
    at(copied, place[:-1])[place[-1]] = by
    return copied
