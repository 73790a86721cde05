"""What goes over the wire, whatever the client was told about decoding: bytes go out, bytes or text come back.

JSON is written in ASCII, so that no `encoding` of a client can spoil it.
"""

from __future__ import annotations

import json
import re
from typing import Final

from agent_runtime.errors import ContentTooLarge, ResultNotSerializable
from agent_runtime.storage.json_columns import write_json
from llm_client.json_text import non_finite

_NOT_ASCII: Final = re.compile("[^\x00-\x7f]+")


def as_text(value: bytes | str) -> str:
    """Return what the server said as text."""
    return value.decode() if isinstance(value, bytes) else value


def to_json(value: object, *, limit: int) -> str:
    """Write a value as ASCII JSON.

    Raises:
        ResultNotSerializable: It is not made of JSON values.
        ContentTooLarge: The text is longer than `limit` bytes.
    """
    try:
        text = _NOT_ASCII.sub(_escaped, write_json(value))
    except (TypeError, RecursionError) as error:
        raise ResultNotSerializable(f"not JSON: {error}") from error
    if "null" in text and (number := non_finite(value)) is not None:
        raise ResultNotSerializable(f"not JSON: {number}")
    if len(text) > limit:
        raise ContentTooLarge(f"{len(text):,} bytes; {limit:,} are kept in Redis")
    return text


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def escaped(pattern: str) -> str:
    """Return text that matches itself where Redis takes a pattern."""
    return "".join(f"\\{character}" if character in "*?[]^\\" else character for character in pattern)
