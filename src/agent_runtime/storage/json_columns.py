"""JSON in columns: numbers that 64 bits do not hold are kept, digit for digit, in what people are asked and what they answer."""

from __future__ import annotations

from typing import Any

import orjson

from llm_client.json_text import dumps, exact


def write_json(value: object) -> str:
    """Return JSON text. Raises `TypeError` for what is no JSON."""
    return dumps(value, option=0).decode()


def read_json(text: str | bytes) -> Any:
    """Return the value of JSON text that `write_json` has written."""
    return exact(orjson.loads(text), text)
