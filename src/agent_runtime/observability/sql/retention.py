"""Letting logs go: rows and what they count, or only their texts; a few at a time, since others write the same database."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, or_, select, update

from agent_runtime.observability.sql import rollups
from agent_runtime.observability.sql.database import LogDatabase
from agent_runtime.observability.sql.reading import conditions_of
from agent_runtime.observability.sql.tables import CONTENT, execution_logs, llm_call_logs
from agent_runtime.observability.sql.writing import remove

CHUNK: Final = 200
"""Rows that go in one transaction."""


class Forgotten(NamedTuple):
    """How many rows have gone, or lost their texts."""

    executions: int = 0
    llm_calls: int = 0


async def forget(
    database: LogDatabase, before: datetime, scope_id: str | None, *, only_content: bool
) -> Forgotten:
    """Delete what began before a moment, the oldest first."""
    gone = []
    for table in (execution_logs, llm_call_logs):
        conditions = [
            *conditions_of(table, {"end_date": before, "scope_id": scope_id}),
            *([_has_content(table)] if only_content else []),
        ]
        gone.append(await _in_chunks(database, table, conditions, only_content=only_content))
    return Forgotten(*gone)


async def delete_execution(database: LogDatabase, execution_id: str, scope_id: str | None) -> Forgotten:
    """Delete the rows of an execution, and those of the calls that belong to it."""
    of_execution = conditions_of(execution_logs, {"execution_id": execution_id, "scope_id": scope_id})
    ids = await database.read(partial(_ids_of, conditions=of_execution))
    calls = 0
    for first in range(0, len(ids), CHUNK):
        some = llm_call_logs.c.execution_log_id.in_(ids[first : first + CHUNK])
        of_scope = conditions_of(llm_call_logs, {"scope_id": scope_id})
        calls += await _in_chunks(database, llm_call_logs, [some, *of_scope], only_content=False)
    return Forgotten(await _in_chunks(database, execution_logs, of_execution, only_content=False), calls)


def _ids_of(connection: Connection, conditions: list[ColumnElement[bool]]) -> list[str]:
    return [str(one) for one in connection.execute(select(execution_logs.c.id).where(*conditions)).scalars()]


async def _in_chunks(
    database: LogDatabase, table: Table, conditions: list[ColumnElement[bool]], *, only_content: bool
) -> int:
    step = partial(_empty if only_content else _delete, table=table, conditions=conditions)
    gone, narrowed = 0, set[rollups.Key]()
    while True:
        number, keys = await database.run(step)
        gone += number
        narrowed |= keys
        if number < CHUNK:
            break
    if gone and not only_content:
        await database.run(partial(_tidy, keys=narrowed))
    return gone


def _next_ids(connection: Connection, table: Table, conditions: list[ColumnElement[bool]]) -> list[str]:
    query = select(table.c.id).where(*conditions).order_by(table.c.start_time, table.c.id).limit(CHUNK)
    return [str(one) for one in connection.execute(query).scalars()]


def _delete(
    connection: Connection, table: Table, conditions: list[ColumnElement[bool]]
) -> tuple[int, set[rollups.Key]]:
    ids = _next_ids(connection, table, conditions)
    return len(ids), remove(connection, table, ids) if ids else set()


def _empty(
    connection: Connection, table: Table, conditions: list[ColumnElement[bool]]
) -> tuple[int, set[rollups.Key]]:
    ids = _next_ids(connection, table, conditions)
    if ids:
        nothing: dict[str, Any] = dict.fromkeys(CONTENT[table])
        connection.execute(update(table).where(table.c.id.in_(ids)).values(nothing))
    return len(ids), set()


def _tidy(connection: Connection, keys: set[rollups.Key]) -> None:
    rollups.narrow(connection, keys)
    rollups.forget_nothing(connection)


def _has_content(table: Table) -> ColumnElement[bool]:
    return or_(*(table.c[name].is_not(None) for name in CONTENT[table]))
