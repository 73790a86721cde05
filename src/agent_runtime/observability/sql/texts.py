"""What goes into a column: without secrets, in a bounded size, and in characters that databases take."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from llm_client.json_text import dumps, loads
from llm_client.public_text import without_halves
from llm_client.redaction import redact
from llm_client.turns import read_aside

MAX_TEXT: Final = 200_000
"""Characters of one text; what is longer is cut, and says so."""
MAX_NAME: Final = 500
TEXTS: Final = frozenset({"prompt", "response", "error_message"})
"""Columns that hold text; the others hold JSON."""
_MARGIN: Final = 4096
"""Characters behind a cut that are read all the same: a secret that the cut goes through would not be known as one."""


async def kept(**columns: object) -> dict[str, object]:
    """Return columns with texts and values as they are kept, large ones made so in a thread."""
    return await read_aside(columns, partial(_kept, columns))


def _kept(columns: dict[str, object]) -> dict[str, Any]:
    return {name: _stored(name, value) for name, value in columns.items()}


def _stored(name: str, value: object) -> Any:
    return stored_text(str(value)) if name in TEXTS and value is not None else stored_json(value)


def stored_text(text: str | None, most: int = MAX_TEXT) -> str | None:
    """Return a text as it is kept. It is cut before it is redacted, which bounds the time that takes."""
    if text is None:
        return None
    if len(text) <= most:
        return _clean(redact(text))
    head = redact(text[: most + _MARGIN])
    kept = head[: max(0, min(most, len(head) - _MARGIN))]
    return _clean(f"{kept} … ({len(text) - most} characters more)")


def stored_name(name: object) -> str | None:
    """Return a name or an id as it is kept."""
    if name is None:
        return None
    return stored_text(str(name), MAX_NAME)


def stored_json(value: object, most: int = MAX_TEXT) -> object:
    """Return a value as JSON values to be kept; what is none becomes its text, what is too long a text that is cut."""
    if value is None:
        return None
    try:
        written = dumps(value, default=str)
    except Exception:  # noqa: BLE001 -- a value that cannot be read costs its place, not the row
        return "<cannot be written>"
    if len(written) > most:
        return stored_text(written.decode("utf-8", "replace"), most)
    return _cleaned(redact(loads(written)))


def _clean(text: str) -> str:
    return without_halves(text.replace("\x00", "\N{REPLACEMENT CHARACTER}"))


def _cleaned(value: Any) -> Any:
    """Return JSON values without what Postgres's JSON does not take."""
    if isinstance(value, str):
        return value if "\x00" not in value else _clean(value)
    if isinstance(value, dict):
        return {_clean(name): _cleaned(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value
