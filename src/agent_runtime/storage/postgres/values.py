"""Python values as Postgres stores them: aware times as they are, JSON as text for JSONB, text without NUL.

Neither TEXT nor JSONB can hold U+0000. It is written as U+001A "0" and U+001A itself as U+001A "1", and read back, so
that what SQLite keeps is kept here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from agent_runtime.ports.commit import Timer
from agent_runtime.storage.json_columns import read_json, write_json
from agent_runtime.storage.queries import Dialect
from agent_runtime.storage.rows import EVENT, Columns
from agent_runtime.values.event import RuntimeEvent
from llm_client.turns import LARGE, aside

_JSON_CONTROL = re.compile(r"\\(u0000|u001a|.)")
_JSON_ESCAPED = re.compile(r"\\(u001a[01]|.)")
_TEXT_ESCAPED = re.compile("\x1a([01])")


def to_text(value: str) -> str:
    """Return text that Postgres can hold."""
    if "\x00" not in value and "\x1a" not in value:
        return value
    return value.replace("\x1a", "\x1a1").replace("\x00", "\x1a0")


def from_text(value: str) -> str:
    """Return the text that `to_text` was given."""
    if "\x1a" not in value:
        return value
    return _TEXT_ESCAPED.sub(lambda found: "\x00" if found[1] == "0" else "\x1a", value)


DIALECT: Final = Dialect(
    parameter=lambda number: f"${number}",
    stored=lambda value: to_text(value) if isinstance(value, str) else value,
    has_tag="tags ->> {}::text = {}",
)


def to_json(value: object) -> str:
    """Return JSON text that JSONB can hold."""
    text = write_json(value)
    if "\\u0000" not in text and "\\u001a" not in text:
        return text
    escaped = {"u0000": r"\u001a0", "u001a": r"\u001a1"}
    return _JSON_CONTROL.sub(lambda found: escaped.get(found[1], found[0]), text)


def from_json(text: str) -> Any:
    """Return the value of JSON text that `to_json` has written."""
    if "\\u001a" in text:
        plain = {"u001a0": r"\u0000", "u001a1": r"\u001a"}
        text = _JSON_ESCAPED.sub(lambda found: plain.get(found[1], found[0]), text)
    return read_json(text)


def encode(columns: Columns, row: Iterable[object]) -> list[object]:
    """Turn a row of Python values into what the driver takes."""
    values: Iterable[Any] = row
    return [
        value
        if value is None or kind == "time"
        else to_json(value)
        if kind == "json"
        else to_text(value)
        if isinstance(value, str)
        else value
        for kind, value in zip(columns.values(), values, strict=True)
    ]


def decode(columns: Columns, row: Iterable[object]) -> list[object]:
    """Turn a row from the driver into Python values."""
    values: Iterable[Any] = row
    return [
        value
        if value is None or kind == "time"
        else from_json(value)
        if kind == "json"
        else from_text(value)
        if isinstance(value, str)
        else value
        for kind, value in zip(columns.values(), values, strict=True)
    ]


def event_record(job_id: str, scope_id: str, row: Iterable[object]) -> RuntimeEvent:
    """Build an event from a row in the order of `EVENT`."""
    values: Iterable[Any] = row
    seq, type_, at, operation_id, data, content = values
    return RuntimeEvent(
        type=from_text(type_),
        job_id=job_id,
        scope_id=scope_id,
        seq=seq,
        timestamp=at,
        operation_id=None if operation_id is None else from_text(operation_id),
        data=from_json(data),
        content=content,
    )


async def event_records(rows: Sequence[tuple[str, str, Sequence[object]]]) -> list[RuntimeEvent]:
    """Build events from their jobs' ids, scopes, and rows in the order of `EVENT`; much data is read in a thread."""

    def build() -> list[RuntimeEvent]:
        return [event_record(*row) for row in rows]

    is_much = sum(len(str(row[_DATA])) for _, _, row in rows) > _MUCH
    return await aside(build) if is_much else build()


_DATA: Final = list(EVENT).index("data")
_MUCH: Final = 4 * LARGE
"""Characters of JSON, more than many ordinary entries have together; one entry's data may be four times as long."""
EVENT_COLUMNS = ", ".join(EVENT)


def timer_record(row: Iterable[object]) -> Timer:
    """Build a timer from its columns."""
    values: Iterable[Any] = row
    job_id, key, due_at, type_, operation_id, data = values
    operation = None if operation_id is None else from_text(operation_id)
    return Timer(from_text(job_id), from_text(key), due_at, from_text(type_), operation, from_json(data))
