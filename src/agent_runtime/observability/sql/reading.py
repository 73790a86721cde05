"""Queries of the logs: filters, pages and single rows. Values are parameters; names are columns of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, TypedDict
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, func, or_, select

from agent_runtime.errors import InvalidInput
from agent_runtime.observability.sql.ids import run_row
from agent_runtime.observability.sql.prompts import messages_of, text_of
from agent_runtime.observability.sql.records import ExecutionLog, LLMCallLog, columns_of
from agent_runtime.observability.sql.tables import execution_logs, llm_call_logs
from agent_runtime.observability.sql.texts import stored_id, stored_name
from agent_runtime.observability.sql.writing import IDS, utc

MAX_LIMIT: Final = 500


class LogTimes(TypedDict, total=False):
    """When something began."""

    start_date: datetime | None
    """At this moment or later."""
    end_date: datetime | None
    """Before this moment."""


class ExecutionFilters(LogTimes, total=False):
    """Which executions are meant; what is left out is not looked at."""

    scope_id: str | None
    principal_id: str | None
    session_id: str | None
    execution_id: str | None
    parent_id: str | None
    report_id: str | None
    agent_type: str | None
    execution_step: str | None
    action_type: str | None
    status: str | None
    external_platform: str | None
    external_user_id: str | None


class LLMCallFilters(LogTimes, total=False):
    """Which model calls are meant; what is left out is not looked at."""

    scope_id: str | None
    principal_id: str | None
    session_id: str | None
    execution_log_id: str | None
    job_id: str | None
    report_id: str | None
    agent: str | None
    provider: str | None
    model_id: str | None
    call_type: str | None
    status: str | None


def conditions_of(table: Table, filters: Mapping[str, object]) -> list[ColumnElement[bool]]:
    """Return the conditions of filters.

    Raises:
        InvalidInput: A time has no zone, or a value is no text.
    """
    conditions: list[ColumnElement[bool]] = []
    for name, value in filters.items():
        if value is None:
            continue
        if name in ("start_date", "end_date"):
            column, moment = table.c.start_time, as_moment(name, value)
            conditions.append(column >= moment if name == "start_date" else column < moment)
            continue
        conditions.append(table.c[name] == _as_stored(name, as_text(name, value)))
    return conditions


_NOT_TEXT: Final = re.compile("[\x00\ud800-\udfff]")
"""What no database takes."""
_AS_THEY_ARE: Final = frozenset({"scope_id", "status", "job_id", "execution_log_id", "parent_id"})


def as_moment(name: str, value: object) -> datetime:
    """Return a time in UTC. Raises `InvalidInput`: it is none, or has no zone."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidInput(f"{name} is a time with its zone")
    try:
        return utc(value)
    except OverflowError:
        raise InvalidInput(f"{name} is no time in UTC") from None


def as_text(name: str, value: object) -> str:
    """Return a text that a database takes. Raises `InvalidInput`."""
    if not isinstance(value, str) or _NOT_TEXT.search(value):
        raise InvalidInput(f"{name} is a text")
    return value


def _as_stored(name: str, value: str) -> str | None:
    """Return what stands in a column for what was given: names are cut, and have no secrets."""
    if name in _AS_THEY_ARE:
        return value
    return stored_id(value) if name in ("principal_id", "session_id") else stored_name(value)


def check_page(limit: int, offset: int) -> None:
    """Refuse a page that nobody can mean. Raises `InvalidInput`."""
    for name, value, least, most in (("limit", limit, 1, MAX_LIMIT), ("offset", offset, 0, 2**31)):
        if not least <= value <= most:
            raise InvalidInput(f"{name} is a whole number from {least} to {most}")


def page(
    connection: Connection,
    table: Table,
    filters: Mapping[str, object],
    *,
    limit: int,
    offset: int,
    before: str | None,
    content: bool = False,
) -> list[RowMapping]:
    """Return rows, the newest first."""
    conditions = conditions_of(table, filters)
    if before is not None:
        conditions.append(_older(connection, table, before))
    query = (
        select(*columns_of(table, content=content))
        .where(*conditions)
        .order_by(table.c.start_time.desc(), table.c.id.desc())
        .limit(limit)
        .offset(offset)
    )
    return list(connection.execute(query).mappings())


def _older(connection: Connection, table: Table, before: str) -> ColumnElement[bool]:
    row = connection.execute(select(table.c.start_time).where(has_id(table, before))).one_or_none()
    if row is None:
        raise InvalidInput(f"there is no row {before!r} to go on after")
    return or_(
        table.c.start_time < row.start_time,
        and_(table.c.start_time == row.start_time, table.c.id < before),
    )


def has_id(table: Table, id_: str) -> ColumnElement[bool]:
    """Return the condition of the row with an id. Raises `InvalidInput`: it is none."""
    try:
        return table.c.id == str(UUID(id_))
    except (ValueError, AttributeError, TypeError):
        raise InvalidInput(f"{id_!r} is not the id of a row") from None


def count(connection: Connection, table: Table, filters: Mapping[str, object]) -> int:
    """Return how many rows there are."""
    query = select(func.count()).select_from(table).where(*conditions_of(table, filters))
    return int(connection.execute(query).scalar_one())


def executions(
    connection: Connection,
    filters: Mapping[str, object],
    *,
    limit: int,
    offset: int = 0,
    before: str | None = None,
    include_llm_calls: bool = False,
) -> list[ExecutionLog]:
    """Return executions without their texts, the newest first."""
    rows = page(connection, execution_logs, filters, limit=limit, offset=offset, before=before)
    found = [ExecutionLog.of(row) for row in rows]
    return _with_calls(connection, found) if include_llm_calls else found


def execution(
    connection: Connection, execution_id: str, *, scope_id: str | None, include_llm_calls: bool, limit: int
) -> list[ExecutionLog]:
    """Return all that belongs to an execution with its texts, in the order it began."""
    logs = execution_logs
    query = (
        select(*columns_of(logs, content=True))
        .where(*conditions_of(logs, {"execution_id": execution_id, "scope_id": scope_id}))
        .order_by(logs.c.start_time, logs.c.id)
        .limit(limit)
    )
    found = [ExecutionLog.of(row) for row in connection.execute(query).mappings()]
    return _with_calls(connection, found) if include_llm_calls else found


def _with_calls(connection: Connection, found: Sequence[ExecutionLog]) -> list[ExecutionLog]:
    calls: dict[str, list[LLMCallLog]] = {one.id: [] for one in found}
    scopes = {one.id: one.scope_id for one in found}
    table, ids = llm_call_logs, list(calls)
    for first in range(0, len(ids), IDS):
        query = (
            select(*columns_of(table, content=False))
            .where(table.c.execution_log_id.in_(ids[first : first + IDS]))
            .order_by(table.c.start_time, table.c.id)
            .limit(MAX_CALLS)
        )
        for row in connection.execute(query).mappings():
            call = LLMCallLog.of(row)
            if call.scope_id == scopes[call.execution_log_id or ""]:  # anybody may name any execution
                calls[call.execution_log_id or ""].append(call)
    return [replace(one, llm_calls=tuple(calls[one.id])) for one in found]


MAX_CALLS: Final = 10_000
"""Calls that are read with executions."""


def llm_calls(
    connection: Connection,
    filters: Mapping[str, object],
    *,
    limit: int,
    offset: int = 0,
    before: str | None = None,
) -> list[LLMCallLog]:
    """Return calls without their texts, the newest first."""
    job_id = filters.get("job_id")
    if job_id is not None:
        filters = {**filters, "execution_log_id": run_row(str(job_id))}  # which an index knows
    rows = page(connection, llm_call_logs, filters, limit=limit, offset=offset, before=before)
    return [LLMCallLog.of(row) for row in rows]


def llm_call(connection: Connection, id_: str, *, scope_id: str | None) -> LLMCallLog | None:
    """Return a call with its texts, all that it asked put together."""
    table = llm_call_logs
    query = select(*columns_of(table, content=True)).where(has_id(table, id_))
    if scope_id is not None:
        query = query.where(table.c.scope_id == as_text("scope_id", scope_id))
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    call = LLMCallLog.of(row)
    messages = messages_of(connection, row)
    return replace(call, messages=messages, prompt=call.prompt or text_of(messages))
