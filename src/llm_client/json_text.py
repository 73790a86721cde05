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

MAX_PARTS: Final = 500_000
"""Lists, objects and commas of one JSON text from outside. An empty list takes two bytes and becomes sixty, and reading millions of them holds the
interpreter for seconds, whichever thread does it. The longest answers have some hundred thousand tokens."""
_HALF: Final = re.compile("[\ud800-\udfff]")
_ESCAPED: Final = re.compile(rb"\\u[dD][89a-fA-F]")


class TooManyParts(orjson.JSONDecodeError):
    """A JSON text would become more values than anybody can have meant."""

    def __init__(self) -> None:
        super().__init__(f"it has more than {MAX_PARTS} parts", "", 0)


def check_parts(content: bytes | str, *, vectors: bool = False) -> None:
    """Count the parts of a JSON text before it is read. Those in its texts count as well: telling them apart would take reading it.

    Args:
        content: The text.
        vectors: Whether it may have any number of numbers, which take little more room than their digits.

    Raises:
        TooManyParts: They are more than `MAX_PARTS`.
    """
    if len(content) > MAX_PARTS and parts_of(content, vectors=vectors) > MAX_PARTS:
        raise TooManyParts


def parts_of(content: bytes | str, *, vectors: bool = False) -> int:
    """Return how many parts a JSON text, or a piece of one, has at most."""
    marks = "[{" if vectors else "[{,"
    if isinstance(content, str):
        return sum(map(content.count, marks))
    return sum(content.count(mark.encode()) for mark in marks)


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


def loads(content: bytes | str, *, whole: bool = True, vectors: bool = False) -> Any:
    """Decode JSON text from outside.

    Args:
        content: The text.
        whole: Whether halves that it escapes become U+FFFD; else they are left in for whoever joins them with the next piece.
        vectors: Whether it may have any number of numbers.

    Raises:
        TooManyParts: It has more than `MAX_PARTS` parts.
        orjson.JSONDecodeError: It is no JSON.
    """
    check_parts(content, vectors=vectors)
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
