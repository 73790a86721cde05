"""What a value given from outside may be. Every storage can hold what passes, so a refusal is the same on all of them.

Refusals name the field and what it may be; they never repeat the value, which may be long, secret, or not printable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from agent_runtime.errors import ContentTooLarge, InvalidInput, ResultNotSerializable
from agent_runtime.values.content import MAX_CONTENT_BYTES, json_text

MAX_TEXT_BYTES: Final = 512
"""Bytes of UTF-8 in an id, a key or a name: several of them together still fit one entry of an index."""
MAX_INTEGER: Final = 2**31 - 1
"""The largest number that a column of 32 bits holds."""
MAX_COUNT: Final = 2**53 - 1
"""The largest whole number that every reader of JSON reads exactly."""
MAX_SECONDS: Final = 100 * 366 * 86_400
"""A hundred years: durations stay addable to any date there is."""
MAX_LABELS_BYTES: Final = 1024 * 1024
"""Bytes of JSON in metadata or tags, which are read with every look at a job."""

_NOT_TEXT: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of surrogate pairs."""


def check_whole(name: str, value: object, *, least: int = 0, most: int = MAX_INTEGER) -> None:
    """Refuse what is no whole number within bounds.

    Raises:
        InvalidInput: It names the field.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidInput(f"{name} is a whole number from {least} to {most}")


def check_seconds(name: str, value: object, *, zero: bool = True) -> None:
    """Refuse what is no duration: a finite number of seconds, up to a hundred years.

    Args:
        name: The field.
        value: What was given.
        zero: Whether it may be zero.

    Raises:
        InvalidInput: It names the field.
    """
    seconds = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 <= seconds <= MAX_SECONDS or (seconds == 0 and not zero):
        raise InvalidInput(f"{name} is a number of seconds {'from' if zero else 'above'} 0 to {MAX_SECONDS}")


def check_text(name: str, value: object) -> str:
    """Return an id, key or name: text without control characters, of 1 to 512 bytes. Refuse what is none.

    Raises:
        InvalidInput: It names the field.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{name} is a text")
    if not 0 < len(value) <= MAX_TEXT_BYTES:
        raise InvalidInput(f"{name} is a text of 1 to {MAX_TEXT_BYTES} bytes")
    if _NOT_TEXT.search(value):
        raise InvalidInput(f"{name} is a text of UTF-8 without control characters")
    if len(value.encode()) > MAX_TEXT_BYTES:
        raise InvalidInput(f"{name} is a text of 1 to {MAX_TEXT_BYTES} bytes")
    return value


def can_be_id(value: object) -> bool:
    """Whether anything could have this id: storages differ in what they make of one that nothing has."""
    try:
        check_text("id", value)
    except InvalidInput:
        return False
    return True


def check_texts(values: object, *names: str) -> None:
    """Refuse fields that are neither `None` nor what `check_text` accepts.

    Raises:
        InvalidInput: It names the field.
    """
    for name in names:
        value = getattr(values, name)
        if value is not None:
            check_text(name, value)


def check_time(name: str, value: object) -> None:
    """Refuse what is neither `None` nor a time with a time zone.

    Raises:
        InvalidInput: It names the field.
    """
    if value is not None and (not isinstance(value, datetime) or value.utcoffset() is None):
        raise InvalidInput(f"{name} is a time with a time zone")


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse what is none of the words that are allowed.

    Raises:
        InvalidInput: It names the field.
    """
    if value not in allowed:
        raise InvalidInput(f"{name} is one of {', '.join(allowed)}")


def check_json(name: str, value: object, *, limit: int = MAX_CONTENT_BYTES, exact: bool = False) -> None:
    """Refuse what is no JSON object, or longer than so many bytes.

    Args:
        name: Of the field.
        value: What it holds.
        limit: Bytes.
        exact: Whether its numbers may be longer than 64 bits.

    Raises:
        InvalidInput: It names the field.
    """
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name} is a mapping with JSON values")
    try:
        size = len(json_text(dict(value), exact=exact))
    except ResultNotSerializable as error:
        raise ResultNotSerializable(f"{name} is {error}") from error
    if size > limit:
        raise ContentTooLarge(f"{name} has {size:,} bytes of JSON; it may have {limit:,}")
