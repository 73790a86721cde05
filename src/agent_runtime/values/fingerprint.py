"""Hashes of arguments: whatever a function was called with, the same call has the same hash in every process.

Arguments need not be JSON, nor even be readable. Values of well-known kinds count by what they are; an object of any other
class counts by its class alone, because what it prints may hold an address, or a set in an order of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

import orjson

from llm_client.json_text import LongFloat

_MAX_DEPTH: Final = 100
_BY_TEXT: Final = (Decimal, Fraction, date, time, timedelta, UUID, PurePath, complex, range)


def hash_of(value: object) -> str:
    """Return a hash of any value, the same for the same values in any order of keys; approvals are bound to it."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=_described)
    except (
        TypeError,
        RecursionError,
    ):  # keys that are no texts, long numbers, circles, halves of surrogates
        text = "".join(_spelled(value, ())).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def type_name(value: object) -> str:
    """Return a sign for a value that is not shown."""
    return f"<{type(value).__name__}>"


def _described(value: Any) -> Any:
    """Return JSON for what is none."""
    if isinstance(value, LongFloat):
        raise TypeError  # as a text it would be like one that reads so
    if isinstance(value, _BY_TEXT):
        return f"{type_name(value)}{value}"
    if isinstance(value, bytes | bytearray):
        return [type_name(value), hashlib.blake2b(value, digest_size=16).hexdigest()]
    if isinstance(value, set | frozenset):
        return [type_name(value), *sorted("".join(_spelled(item, ())) for item in value)]
    parts = _parts_of(value)
    return type_name(value) if parts is None else [type_name(value), parts]


def _parts_of(value: Any) -> Mapping[Any, Any] | None:
    """Return what a value of a class consists of, where its class says so."""
    try:
        if is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in fields(value)}
        if callable(getattr(type(value), "model_dump", None)):
            return dict(value)
        if isinstance(value, Mapping):
            return dict(value)
    except Exception:  # noqa: BLE001 -- an object that cannot be read counts by its class
        return None
    return None


def _spelled(value: Any, above: tuple[int, ...]) -> Iterator[str]:
    """Spell a value that JSON cannot hold, piece by piece."""
    if isinstance(value, Enum | bool) or value is None:
        yield f"{type_name(value)}{value if isinstance(value, bool) else getattr(value, 'name', '')}"
    elif isinstance(value, str):
        yield repr(str.__str__(value))
    elif isinstance(value, int):
        yield hex(value)  # of any size: decimal digits of a very large one are refused
    elif isinstance(value, float):
        yield repr(value if isinstance(value, LongFloat) else float(value))
    elif id(value) in above or len(above) > _MAX_DEPTH:
        yield "<above>"
    else:
        yield from _spelled_container(value, (*above, id(value)))


def _spelled_container(value: Any, above: tuple[int, ...]) -> Iterator[str]:
    yield type_name(value)
    yield from _inside(value, above)
    yield "<end>"  # what follows is not in it


def _inside(value: Any, above: tuple[int, ...]) -> Iterator[str]:
    try:
        if isinstance(value, _BY_TEXT):
            yield str(value)
        elif isinstance(value, bytes | bytearray):
            yield hashlib.blake2b(value, digest_size=16).hexdigest()
        elif isinstance(value, Set):
            yield from sorted("".join(_spelled(item, above)) for item in value)
        elif isinstance(value, Sequence):
            for item in value:
                yield from _spelled(item, above)
                yield ","
        elif (parts := _parts_of(value)) is not None:
            yield from sorted(
                f"{''.join(_spelled(key, above))}:{''.join(_spelled(item, above))},"
                for key, item in parts.items()
            )
    except Exception:  # noqa: BLE001 -- an object that cannot be read counts by its class
        yield "<unreadable>"
