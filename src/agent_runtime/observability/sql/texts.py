"""What goes into a column: without secrets, in a bounded size, and in characters and numbers that databases take."""

from __future__ import annotations

import hashlib
import math
import re
from functools import partial
from typing import Any, Final

from agent_runtime.observability.shortened import Shortened, read_written
from llm_client.json_text import dumps
from llm_client.public_text import CUT_MARGIN, beginning, without_halves
from llm_client.redaction import redact
from llm_client.turns import read_aside

MAX_TEXT: Final = 200_000
"""Characters of one text; what is longer is cut, and says so."""
MAX_NAME: Final = 512
"""Bytes of a name or an id: several of them together still fit one entry of an index."""
TEXTS: Final = frozenset({"prompt", "response", "error_message"})
"""Columns that hold text; the others hold JSON."""
UNREADABLE: Final = "<cannot be written>"
_CUT: Final = "…"
_SHOWN: Final = 32
"""Characters of an id that stands there as its hash."""
_HASHED: Final = re.compile("#[0-9a-f]{32}$")
"""What nobody's own id ends with in the rows."""


async def kept(**columns: object) -> dict[str, object]:
    """Return columns with texts and values as they are kept, large ones made so in a thread."""
    return await read_aside(columns, partial(_kept, columns))


def _kept(columns: dict[str, object]) -> dict[str, Any]:
    return {name: _stored(name, value) for name, value in columns.items()}


def _stored(name: str, value: object) -> Any:
    if name not in TEXTS or value is None:
        return stored_json(value)
    try:
        return stored_text(str(value))
    except Exception:  # noqa: BLE001 -- a value that no text can be made of costs its place, not the row
        return UNREADABLE


def stored_text(text: str | None, most: int = MAX_TEXT) -> str | None:
    """Return a text as it is kept. It is cut before it is redacted, which bounds the time that takes."""
    if text is None:
        return None
    if len(text) <= most:
        return _clean(redact(text))
    return _clean(f"{beginning(text, most)} … ({len(text) - most} characters more)")


def stored_name(name: object) -> str | None:
    """Return a name as it is kept."""
    if name is None:
        return None
    text = _clean(beginning(str(name), MAX_NAME + 1))
    if len(text.encode()) <= MAX_NAME:
        return text
    return f"{text.encode()[: MAX_NAME - 3].decode('utf-8', 'ignore')}{_CUT}"


def stored_id(id_: str | None) -> str | None:
    """Return the id of a person or a session as it is kept and looked for: that of nobody else.

    One that cannot be kept, such as a key that is used as one, stands there as its hash.
    """
    if id_ is None:
        return None
    kept = stored_name(id_) or ""
    if kept == id_ and not _HASHED.search(id_):
        return id_
    digest = hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{kept[:_SHOWN]}#{digest}"


def stored_json(value: object, most: int = MAX_TEXT) -> object:
    """Return a value as JSON values to be kept; what is none becomes its text, what is too long a text that is cut.

    What is too long is shortened as a value, and redacted as one: in the text of JSON a secret looks otherwise, and its neighbours do not
    tell of it.
    """
    if value is None:
        return None
    try:
        written = dumps(value, default=str)
        if len(written) <= most:
            return _cleaned(redact(read_written(written)))
        short = Shortened(most + CUT_MARGIN).value(value)
        text = dumps(_cleaned(redact(read_written(dumps(short, default=str))))).decode()
        kept = text[: max(0, min(most, len(text) - CUT_MARGIN))]
        return _clean(f"{kept} … ({len(written) - most} characters more)")
    except Exception:  # noqa: BLE001 -- a value that cannot be read costs its place, not the row
        return UNREADABLE


def _clean(text: str) -> str:
    return without_halves(text.replace("\x00", "\N{REPLACEMENT CHARACTER}"))


def _cleaned(value: Any) -> Any:
    """Return JSON values without what Postgres's JSON does not take, and without numbers that no reader of JSON can be trusted with."""
    if isinstance(value, str):
        return value if "\x00" not in value else _clean(value)
    if isinstance(value, dict):
        return {_clean(name): _cleaned(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
