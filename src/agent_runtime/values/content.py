"""The private content of journal entries: JSON in bytes, compressed above a size, refused above another.

The bound is what one entry can cost everybody else: reading JSON keeps the interpreter to itself until it is done, and four
megabytes of small values take some tens of milliseconds. Long texts, such as a picture in base64, are little work for their
size, so they count by a bound of their own. Larger things belong into a file or an object store, and their name into the journal.

Never pickle. NaN and lone surrogates do not survive JSON and are refused where they occur, so that what a step returned the first
time is what it returns on every resume. Numbers that 64 bits do not hold are kept digit for digit: JSON with such numbers begins with
a blank, so that everything else is read at full speed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import orjson

from agent_runtime.errors import ContentTooLarge, ResultNotSerializable
from llm_client.json_text import (
    has_more_lists,
    long_numbers_written,
    non_finite,
    parts_of,
    read_exactly,
)
from llm_client.turns import LARGE, aside

T = TypeVar("T")

COMPRESS_ABOVE: Final = 8 * 1024
"""Bytes. Below this, compression costs more than it saves."""
COMPRESS_ASIDE: Final = 64 * 1024
"""Bytes. Above this, compression takes milliseconds, and the storage does it in a thread."""
MAX_CONTENT_BYTES: Final = 32 * 1024 * 1024
"""Bytes of JSON that one entry may hold, long texts included."""
MAX_VALUES_BYTES: Final = 4 * 1024 * 1024
"""Bytes of JSON that one entry may hold beside its long texts."""
MAX_LISTS: Final = 100_000
"""Lists and objects that one entry may hold: reading them has the collector of garbage go through each again and again, whichever thread reads."""
LONG_TEXT: Final = 64 * 1024
"""Bytes from which a text is long."""
MAX_EXACT_VALUES: Final = 50_000
"""Values beside a number that 64 bits do not hold: all of them are then written and read one by one, digit for digit."""
_ZLIB_MARK: Final = b"x"
"""First byte of a zlib stream; no JSON text begins with it."""
_EXACT_MARK: Final = b" "
"""First byte of JSON with numbers that are read digit for digit."""

_OPTIONS = (
    orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)


def encode(value: object, *, limit: int = MAX_CONTENT_BYTES) -> bytes:
    """Write JSON values as content.

    Raises:
        ResultNotSerializable: The value is not made of JSON values.
        ContentTooLarge: Its JSON is longer than `limit` bytes.
    """
    text = json_text(value, exact=True)
    if len(text) > limit:
        raise ContentTooLarge(
            f"{len(text):,} bytes of content; the journal accepts {limit:,} per entry: keep what is larger elsewhere, and "
            "its name here"
        )
    _check_values(text)
    return zlib.compress(text, 1) if COMPRESS_ABOVE < len(text) <= COMPRESS_ASIDE else text


def _check_values(text: bytes) -> None:
    """Refuse JSON of more values than are read in a moment. Raises `ContentTooLarge`."""
    if len(text) <= MAX_LISTS or (
        len(text) <= MAX_VALUES_BYTES and parts_of(text, vectors=True) <= MAX_LISTS
    ):
        return
    size = len(text) if len(text) <= MAX_VALUES_BYTES else _beside_long_texts(text)
    if size > MAX_VALUES_BYTES or has_more_lists(text, MAX_LISTS):
        raise ContentTooLarge(
            f"{size:,} bytes of many values; the journal accepts {MAX_VALUES_BYTES:,} per entry, and {MAX_LISTS:,} lists and "
            "objects, beside long texts: keep what is larger elsewhere, and its name here"
        )


def _beside_long_texts(text: bytes) -> int:
    """Return how many bytes JSON has beside its long texts."""
    plain = text.replace(rb"\\", b"__").replace(rb"\"", b"__")
    if plain.count(b'"') > MAX_VALUES_BYTES:  # not worth cutting up: none of so many can be long
        return len(text)
    return len(text) - sum(len(one) for one in plain.split(b'"')[1::2] if len(one) >= LONG_TEXT)


def json_text(value: object, *, exact: bool = False) -> bytes:
    """Write JSON values as JSON.

    Args:
        value: The values.
        exact: Whether numbers may be longer than 64 bits.

    Raises:
        ResultNotSerializable: The value is not made of JSON values; NaN and infinities are none, nor are long numbers among very many values.
    """
    try:
        text = orjson.dumps(value, option=_OPTIONS)
    except (TypeError, RecursionError) as error:
        if not exact:
            raise ResultNotSerializable(f"not JSON: {error}") from error
        text = _exact_text(value, error)
    if b"null" in text and (number := non_finite(value)) is not None:
        raise ResultNotSerializable(f"not JSON: {number}")
    return text


def _exact_text(value: Any, refused: Exception) -> bytes:
    """Write what orjson refuses, if that is long numbers alone."""
    if _has_more_values(value, MAX_EXACT_VALUES):
        raise ResultNotSerializable(
            f"not JSON: {refused}; beside more than {MAX_EXACT_VALUES:,} values no number may have more than 64 bits"
        ) from refused
    try:
        return _EXACT_MARK + orjson.dumps(long_numbers_written(value), option=_OPTIONS)
    except (TypeError, RecursionError) as error:
        raise ResultNotSerializable(f"not JSON: {error}") from error


def _has_more_values(value: Any, most: int) -> bool:
    """Whether there are more values in one than so many; looks at no more than it takes to tell."""
    count, below = 0, [value]
    while below and count <= most:
        item = below.pop()
        count += 1
        if isinstance(item, Mapping | list | tuple):
            if len(item) > most:
                return True
            below += item.values() if isinstance(item, Mapping) else item
    return count > most


async def content_aside(content: bytes | None, reading: Callable[[], T]) -> T:
    """Return what a function makes of content: of what is, or becomes, large in a thread."""
    is_short = content is None or len(content) <= (COMPRESS_ABOVE if is_compressed(content) else LARGE)
    return reading() if is_short else await aside(reading)


def is_compressed(content: bytes) -> bool:
    """Whether content is compressed already; no JSON text begins like that."""
    return content[:1] == _ZLIB_MARK


def decode(content: bytes) -> Any:
    """Read what `encode` wrote.

    Raises:
        ContentTooLarge: It becomes more than `encode` can have written: somebody else has.
    """
    if is_compressed(content):
        content = zlib.decompressobj().decompress(content, MAX_CONTENT_BYTES + 1)
        if len(content) > MAX_CONTENT_BYTES:
            raise ContentTooLarge(f"compressed content becomes more than {MAX_CONTENT_BYTES:,} bytes")
    _check_values(content)
    return read_exactly(content) if content[:1] == _EXACT_MARK else orjson.loads(content)
