"""JSON that remembers types: what JSON has no word for is written as an object with one key, `{"$decimal": "12.50"}`.

A declared type alone does not always tell how to read JSON back: `"12.50"` under `Decimal | str` may be either. So the
values at the leaves, and tuples and sets, carry their own type. Only the types of this page are ever made from a row:
nothing is imported; classes are left to the declared type, which also says which enumerations there are.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from agent_runtime.errors import ResultNotSerializable
from llm_client.json_text import JsonValue, LongFloat

_LEAST_INTEGER: Final = -(2**63)
_MOST_INTEGER: Final = 2**64 - 1
"""What an integer of JSON may be here; others are written as hexadecimal text, of any length."""
_NO_ENUMS: Final[Mapping[str, type[Enum]]] = {}


def tag(value: object) -> JsonValue:
    """Return JSON values that `untag` turns into the same value again.

    Raises:
        ResultNotSerializable: Something in it is neither JSON nor one of the types of this page.
    """
    return _Tagger(plain=False).value(value)


def tag_plain(value: object) -> JsonValue:
    """Return JSON values for JSON values; tuples become lists. What would come back as another type is refused.

    Raises:
        ResultNotSerializable: Something in it is not JSON.
    """
    return _Tagger(plain=True).value(value)


class _Tagger:
    """One pass over one value."""

    def __init__(self, *, plain: bool) -> None:
        self._plain = plain

    def value(self, value: Any) -> JsonValue:
        kind, plain = type(value), cast("JsonValue", value)
        if value is None or kind is str or kind is bool:
            return plain
        if kind is int:
            return plain if _LEAST_INTEGER <= value <= _MOST_INTEGER else self._rich("$int", hex(value), kind)
        if kind is float or kind is LongFloat:
            return finite(value)
        if kind is dict:
            return self._dict(value)
        if kind is list:
            return [self.value(item) for item in value]
        if kind is tuple:
            items = [self.value(item) for item in value]
            return items if self._plain else {"$tuple": items}
        if kind in (set, frozenset):
            return self._rich(f"${kind.__name__}", [self.value(item) for item in value], kind)
        return self._other(value)

    def _other(self, value: Any) -> JsonValue:
        if self._plain:
            raise _refusal(value)
        if isinstance(value, Enum):
            member = None if isinstance(value, Flag) else value.name
            return {"$enum": [type(value).__qualname__, member, self.value(value.value)]}
        write = _WRITERS.get(type(value))
        if write is not None:
            return write(value)
        for base in (str, int, float):  # of a class of its own, which the declared type knows
            if isinstance(value, base):
                return self.value(base(value))
        if isinstance(value, Mapping):
            return self._dict(dict(value))
        return self.value(_jsonable(value))

    def _dict(self, value: Mapping[Any, object]) -> JsonValue:
        if all(type(key) is str for key in value) and not (len(value) == 1 and _is_tag(next(iter(value)))):
            return {key: self.value(item) for key, item in value.items()}
        if self._plain and not all(type(key) is str for key in value):
            raise ResultNotSerializable("not JSON: the keys of an object are texts")
        return {"$dict": [[self.value(key), self.value(item)] for key, item in value.items()]}

    def _rich(self, name: str, written: JsonValue, kind: type) -> JsonValue:
        if self._plain:
            raise ResultNotSerializable(
                "an integer of more than 64 bits is not JSON" if kind is int else _said(kind)
            )
        return {name: written}


def finite(value: float) -> float:
    """Return a number as it is.

    Raises:
        ResultNotSerializable: It is infinite or no number, for which JSON has no word.
    """
    if not math.isfinite(value):
        raise ResultNotSerializable(f"{value} is not JSON")
    return value


def _jsonable(value: Any) -> Any:
    """Return what pydantic makes of a value of another type, for the declared type to read back."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        written = to_jsonable_python(value)
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise _refusal(value) from error
    if type(written) is type(value):
        raise _refusal(value)
    return written


def _refusal(value: Any) -> ResultNotSerializable:
    return ResultNotSerializable(_said(type(value)))


def _said(kind: type) -> str:
    return f"a {kind.__name__} is not JSON"


def _is_tag(key: Any) -> bool:
    return isinstance(key, str) and key.startswith("$")


def _write_datetime(moment: datetime) -> JsonValue:
    zone = moment.tzinfo
    name = zone.key if isinstance(zone, ZoneInfo) else None
    if name is None and not moment.fold:
        return {"$datetime": moment.isoformat()}
    text = moment.isoformat() if name is None else moment.replace(tzinfo=None).isoformat()
    return {"$datetime": [text, name, moment.fold]}


def _read_datetime(written: Any) -> datetime:
    if isinstance(written, str):
        return datetime.fromisoformat(written)
    text, zone, fold = written
    moment = datetime.fromisoformat(text).replace(fold=fold)
    return moment if zone is None else moment.replace(tzinfo=ZoneInfo(zone))


def _write_time(moment: time) -> JsonValue:
    return {"$time": [moment.isoformat(), moment.fold] if moment.fold else moment.isoformat()}


def _read_time(written: Any) -> time:
    if isinstance(written, str):
        return time.fromisoformat(written)
    text, fold = written
    return time.fromisoformat(text).replace(fold=fold)


_WRITERS: Final[Mapping[type, Callable[[Any], JsonValue]]] = {
    Decimal: lambda value: {"$decimal": str(value)},
    datetime: _write_datetime,
    date: lambda value: {"$date": value.isoformat()},
    time: _write_time,
    timedelta: lambda value: {"$timedelta": [value.days, value.seconds, value.microseconds]},
    UUID: lambda value: {"$uuid": value.hex},
    bytes: lambda value: {"$bytes": base64.b64encode(value).decode()},
    bytearray: lambda value: {"$bytes": base64.b64encode(value).decode()},
    type(Path()): lambda value: {"$path": str(value)},
}
_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "$int": lambda written: int(written, 16),
    "$decimal": Decimal,
    "$datetime": _read_datetime,
    "$date": date.fromisoformat,
    "$time": _read_time,
    "$timedelta": lambda written: timedelta(*written),
    "$uuid": lambda written: UUID(hex=written),
    "$bytes": lambda written: base64.b64decode(written, validate=True),
    "$path": Path,
}
_SERIES: Final[Mapping[str, Callable[[Iterator[Any]], Any]]] = {
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$dict": dict,
}
"""What is made from a list of items; of a dictionary they are pairs."""


def untag(value: Any, enums: Mapping[str, type[Enum]] = _NO_ENUMS) -> Any:
    """Return the value that `tag` was given.

    Args:
        value: JSON values.
        enums: Enumerations that may be in it, by name; members of others are read as their values.
    """
    kind = type(value)
    if kind is list:
        return [untag(item, enums) for item in value]
    if kind is not dict:
        return value
    if len(value) == 1:
        ((key, written),) = value.items()
        if key in _SERIES:
            return _SERIES[key](untag(item, enums) for item in written)
        if key in _READERS:
            return _READERS[key](written)
        if key == "$enum":
            return _read_enum(written, enums)
    return {key: untag(item, enums) for key, item in value.items()}


def _read_enum(written: Any, enums: Mapping[str, type[Enum]]) -> Any:
    name, member, value = written
    known = enums.get(name)
    if known is not None and member in known.__members__:
        return known[member]
    return untag(value, enums)
