"""What JSON text and Python's values cannot both hold: halves of surrogate pairs, NaN and the infinities.

Halves come from vendors who cut a text between two events, and from file names and prompts that are no Unicode. Pairs are
joined, halves become U+FFFD. For numbers that are none, JSON has no word.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final, NoReturn

import orjson

_HALF: Final = re.compile("[\ud800-\udfff]")
_ESCAPED: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def whole_text(text: str) -> str:
    """Return a text in which pairs are joined and every half is U+FFFD; the same one when it has none."""
    if text.isascii() or _HALF.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_value(value: Any) -> Any:
    """Return JSON values with all their texts whole, keys included; what is no JSON stays as it is."""
    if isinstance(value, str):
        return whole_text(value)
    if isinstance(value, dict):
        return {whole_value(name): whole_value(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [whole_value(entry) for entry in value]
    return value


def loads(content: bytes | str, *, whole: bool = True) -> Any:
    """Decode JSON text; without `whole`, halves that it escapes are left in for whoever joins them with the next piece.

    Raises:
        orjson.JSONDecodeError: It is no JSON.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        if _ESCAPED.search(raw) is None and (isinstance(content, bytes) or _HALF.search(content) is None):
            raise
        try:
            value = json.loads(content, parse_constant=_no_constant)
            return whole_value(value) if whole else value
        except (ValueError, RecursionError):
            pass
        raise


def dumps(value: Any) -> bytes:
    """Write JSON with keys of any plain type. Raises `TypeError` for what is no JSON."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return orjson.dumps(whole_value(value), option=orjson.OPT_NON_STR_KEYS)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


class HalfWaits:
    """Joins the pieces of one text: half a pair at the end of a piece waits for the next."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = ""

    def take(self, piece: str) -> str:
        """Return what can be shown now."""
        if not self._half and piece.isascii():
            return piece
        if self._half:
            piece, self._half = self._half + piece, ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._half = piece[:-1], piece[-1]
        return whole_text(piece)

    def rest(self) -> str:
        """Return what has waited in vain."""
        half, self._half = self._half, ""
        return whole_text(half)


def non_finite(value: Any) -> float | None:
    """Return a NaN or an infinity that a value holds; orjson writes `null` in its place, without a word."""
    below = [value]
    while below:
        item = below.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return item
        elif isinstance(item, Mapping):
            below += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            below += item
        elif isinstance(item, Enum):
            below.append(item.value)
        elif is_dataclass(item) and not isinstance(item, type):
            below += [getattr(item, part.name, None) for part in fields(item)]
        elif callable(getattr(type(item), "model_dump", None)):
            below.append(item.model_dump())
    return None
