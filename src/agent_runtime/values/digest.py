"""One name for JSON values that mean the same: what people vote for, and what they are held to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import orjson

from agent_runtime.errors import InvalidInput
from llm_client.json_text import LongFloat, dumps

_EXACT: Final = 2**53
"""Whole numbers up to here are the same as text, as float and in every reader of JSON."""
_AS_THEY_ARE: Final = frozenset({str, int, bool, type(None)})


def digest(value: object) -> str:
    """Return 128 bits of a hash that nobody finds a second value for; 10 and 10.0 are one value, 1 and `true` two.

    Raises:
        InvalidInput: The value is not JSON.
    """
    try:
        text = dumps(canonical(value), option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError, OverflowError) as error:
        raise InvalidInput("a value is not JSON") from error
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def canonical(value: Any) -> Any:
    """Return a JSON value of which all storages give back the same, however they write its numbers."""
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, float) and math.isfinite(value):
        if abs(value) < _EXACT and not isinstance(value, LongFloat):
            return int(value) if value.is_integer() else value
        return _whole_or_same(value)
    if isinstance(value, Mapping):
        return {name: canonical(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [inner if type(inner) in _AS_THEY_ARE else canonical(inner) for inner in value]
    return value


def _whole_or_same(value: float) -> Any:
    """Return a large or a long number as every storage gives it back: Postgres reads 1e300 as one with three hundred zeros."""
    digits = format(Decimal(str(value)), "f")
    whole, _, rest = digits.partition(".")
    rest = rest.rstrip("0")
    return LongFloat(f"{whole}.{rest}") if rest else int(whole)
