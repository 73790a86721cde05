"""One name for JSON values that mean the same: what people vote for, and what they are held to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from agent_runtime.errors import InvalidInput

_EXACT: Final = 2**53
"""Whole numbers up to here are the same as text, as float and in every reader of JSON."""
_SMALLEST, _BEYOND = -(2**63), 2**64
"""Where whole numbers end for orjson; Postgres reads 1e300 back as one with three hundred zeros."""


def digest(value: Any) -> str:
    """Return 128 bits of a hash that nobody finds a second value for; 10 and 10.0 are one value, 1 and `true` two.

    Raises:
        InvalidInput: The value is not JSON.
    """
    try:
        text = orjson.dumps(_canonical(value), option=orjson.OPT_SORT_KEYS)
    except (TypeError, RecursionError, OverflowError) as error:
        raise InvalidInput("a value is not JSON, or holds numbers beyond 64 bits") from error
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, int) and not _SMALLEST <= value < _BEYOND:
        return float(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, Mapping):
        return {name: _canonical(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(inner) for inner in value]
    return value
