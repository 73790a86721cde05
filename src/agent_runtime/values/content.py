"""The private content of journal entries: JSON in bytes, compressed above a size, refused above another.

Never pickle. Numbers beyond 64 bits, NaN and lone surrogates do not survive JSON and are refused where they occur,
so that what a step returned the first time is what it returns on every resume.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import orjson

from agent_runtime.errors import ContentTooLarge, ResultNotSerializable
from llm_client.finite import non_finite

COMPRESS_ABOVE: Final = 8 * 1024
"""Bytes. Below this, compression costs more than it saves."""
MAX_CONTENT_BYTES: Final = 32 * 1024 * 1024
"""Bytes of JSON that one entry may hold."""
_ZLIB_MARK: Final = 0x78
"""First byte of a zlib stream; no JSON text begins with it."""

_OPTIONS = (
    orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)


def encode(value: Any, *, limit: int = MAX_CONTENT_BYTES) -> bytes:
    """Write JSON values as content.

    Raises:
        ResultNotSerializable: The value is not made of JSON values.
        ContentTooLarge: Its JSON is longer than `limit` bytes.
    """
    text = json_text(value)
    if len(text) > limit:
        raise ContentTooLarge(f"{len(text):,} bytes of content; the journal accepts {limit:,} per entry")
    return zlib.compress(text, 1) if len(text) > COMPRESS_ABOVE else text


def json_text(value: Any) -> bytes:
    """Write JSON values as JSON.

    Raises:
        ResultNotSerializable: The value is not made of JSON values; NaN and infinities are none.
    """
    try:
        text = orjson.dumps(value, option=_OPTIONS)
    except (TypeError, RecursionError) as error:
        raise ResultNotSerializable(f"not JSON: {error}") from error
    if b"null" in text and (number := non_finite(value)) is not None:
        raise ResultNotSerializable(f"not JSON: {number}")
    return text


def decode(content: bytes) -> Any:
    """Read what `encode` wrote."""
    if content[:1] == b"x":
        content = zlib.decompress(content)
    return orjson.loads(content)
