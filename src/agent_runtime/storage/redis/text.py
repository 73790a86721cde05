"""What goes over the wire, whatever the client was told about decoding: bytes go out, bytes or text come back.

JSON is written in ASCII, so that no `encoding` of a client can spoil it.
"""

from __future__ import annotations

import json
from typing import Any

from agent_runtime.errors import ContentTooLarge, ResultNotSerializable


def as_text(value: bytes | str) -> str:
    """Return what the server said as text."""
    return value.decode() if isinstance(value, bytes) else value


def to_json(value: Any, *, limit: int) -> str:
    """Write a value as ASCII JSON.

    Raises:
        ResultNotSerializable: It is not made of JSON values.
        ContentTooLarge: The text is longer than `limit` bytes.
    """
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultNotSerializable(f"not JSON: {error}") from error
    if len(text) > limit:
        raise ContentTooLarge(f"{len(text):,} bytes; {limit:,} are kept in Redis")
    return text


def escaped(pattern: str) -> str:
    """Return text that matches itself where Redis takes a pattern."""
    return "".join(f"\\{character}" if character in "*?[]^\\" else character for character in pattern)
