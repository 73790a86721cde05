"""Python values as SQLite stores them: times in whole microseconds, JSON as text."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from agent_runtime.ports.commit import Timer
from agent_runtime.storage.json_columns import read_json, write_json
from agent_runtime.storage.queries import Dialect
from agent_runtime.storage.rows import EVENT, Columns
from agent_runtime.values.event import EPOCH, RuntimeEvent

_MICROSECOND = timedelta(microseconds=1)


def from_time(moment: datetime) -> int:
    """Return microseconds since 1970."""
    return (moment - EPOCH) // _MICROSECOND


def to_time(microseconds: int) -> datetime:
    """Return the moment, in UTC."""
    return EPOCH + timedelta(microseconds=microseconds)


DIALECT: Final = Dialect(
    parameter=lambda _: "?",
    stored=lambda value: from_time(value) if isinstance(value, datetime) else value,
    has_tag="EXISTS (SELECT 1 FROM json_each(tags) WHERE key = {} AND value = {})",
)


def from_json(value: object) -> str:
    """Return JSON text."""
    return write_json(value)


def encode(columns: Columns, row: Iterable[object]) -> list[object]:
    """Turn a row of Python values into what the driver takes."""
    values: Iterable[Any] = row
    return [
        value
        if value is None or kind == "plain"
        else from_time(value)
        if kind == "time"
        else from_json(value)
        for kind, value in zip(columns.values(), values, strict=True)
    ]


def decode(columns: Columns, row: Iterable[object]) -> list[object]:
    """Turn a row from the driver into Python values."""
    values: Iterable[Any] = row
    return [
        value if value is None or kind == "plain" else to_time(value) if kind == "time" else read_json(value)
        for kind, value in zip(columns.values(), values, strict=True)
    ]


def event_record(job_id: str, scope_id: str, row: Iterable[object]) -> RuntimeEvent:
    """Build an event from a row in the order of `EVENT`."""
    values: Iterable[Any] = row
    seq, type_, at, operation_id, data, content = values
    return RuntimeEvent(
        type=type_,
        job_id=job_id,
        scope_id=scope_id,
        seq=seq,
        timestamp=to_time(at),
        operation_id=operation_id,
        data=read_json(data),
        content=content,
    )


EVENT_COLUMNS = ", ".join(EVENT)


def timer_record(row: Iterable[object]) -> Timer:
    """Build a timer from its columns."""
    values: Iterable[Any] = row
    job_id, key, due_at, type_, operation_id, data = values
    return Timer(job_id, key, to_time(due_at), type_, operation_id, read_json(data))
