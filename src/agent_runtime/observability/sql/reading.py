"""Queries of the logs: filters, pages and single rows. Values are parameters; names are columns of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    Text,
    and_,
    cast,
    func,
    or_,
    select,
)

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
    """A model's name, or `provider:model`."""
    call_type: str | None
    status: str | None


def conditions_of(table: Table, filters: Mapping[str, object]) -> list[ColumnElement[bool]]:
    """Return the conditions of filters.

    Raises:
        InvalidInput: There is no such filter or status, a time has no zone, or a value is no text.
    """
    conditions: list[ColumnElement[bool]] = []
    allowed = _ALLOWED[table]
    for name, value in filters.items():
        if name not in allowed:
            raise InvalidInput(f"there is no filter {name!r}: there are {', '.join(allowed)}")
        if value is None:
            continue
        if name in ("start_date", "end_date"):
            column, moment = table.c.start_time, as_moment(name, value)
            conditions.append(column >= moment if name == "start_date" else column < moment)
            continue
        text = as_text(name, value)
        if name == "status" and text not in STATUSES:
            raise InvalidInput(f"there is no status {text!r}: there are {', '.join(STATUSES)}")
        is_meant = table.c[name] == _as_stored(name, text)
        conditions.append(_is_of_model(text) if name == "model_id" else is_meant)
    return conditions


def _is_of_model(value: str) -> ColumnElement[bool]:
    """Return the condition of a model, by its name alone or as `provider:model`. Names of models have colons too."""
    calls = llm_call_logs.c
    named = calls.model_id == stored_name(value)
    provider, colon, model = value.partition(":")
    if not colon:
        return named
    return or_(named, and_(calls.provider == stored_name(provider), calls.model_id == stored_name(model)))


STATUSES: Final = ("started", "completed", "failed", "cancelled")
_ALLOWED: Final = {
    execution_logs: tuple(sorted(ExecutionFilters.__optional_keys__)),
    llm_call_logs: tuple(sorted(LLMCallFilters.__optional_keys__)),
}
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
    errors: bool = False,
    among: Sequence[ColumnElement[bool]] = (),
    sort: str | None = None,
) -> list[RowMapping]:
    """Return rows, the newest first or the largest, of them with the beginnings of what errors say."""
    conditions = [*conditions_of(table, filters), *among]
    columns: list[ColumnElement[Any]] = [*columns_of(table, content=False)]
    if errors:
        columns.append(func.substr(table.c.error_message, 1, MAX_REASON).label("error_message"))
    query, order = select(*columns), [table.c.start_time.desc(), table.c.id.desc()]
    if sort is not None:
        if before is not None:
            raise InvalidInput("before goes on after a row of the list that is sorted by time")
        query, largest = _sorted(query, filters, sort)
        order = [*largest, *order]
    if before is not None:
        conditions.append(_older(connection, table, before))
    query = query.where(*conditions).order_by(*order).limit(limit).offset(offset)
    return list(connection.execute(query).mappings())


MAX_REASON: Final = 200
"""Characters of an error that lists read."""
SORTS: Final = ("duration", "calls", "cost")


def _sorted(query: Select[Any], filters: Mapping[str, object], sort: str) -> tuple[Select[Any], list[Any]]:
    """Return a query of executions, and what it is to be ordered by. What their calls add up to is added up of the rows of the period."""
    if sort not in SORTS:
        raise InvalidInput(f"executions are sorted by {', '.join(SORTS)}, or by time")
    if sort == "duration":
        return query, [execution_logs.c.duration_ms.desc().nulls_last()]
    calls = llm_call_logs.c
    same = {name: value for name, value in filters.items() if name in ("scope_id", "start_date")}
    sums = (
        select(
            calls.execution_log_id,
            calls.scope_id,
            func.count().label("calls"),
            func.sum(calls.total_cost_units).label("cost"),
        )
        .where(*conditions_of(llm_call_logs, same), calls.execution_log_id.is_not(None))
        .group_by(calls.execution_log_id, calls.scope_id)
        .subquery()
    )
    is_of = (cast(execution_logs.c.id, Text) == sums.c.execution_log_id) & (
        execution_logs.c.scope_id == sums.c.scope_id
    )
    largest = ("cost", "calls") if sort == "cost" else ("calls", "cost")
    return query.outerjoin(sums, is_of), [sums.c[name].desc().nulls_last() for name in largest]


def _older(connection: Connection, table: Table, before: str) -> ColumnElement[bool]:
    if table is execution_logs and _row_id(before) is None:
        before = run_row(before)  # of a job
    row = connection.execute(select(table.c.start_time).where(has_id(table, before))).one_or_none()
    if row is None:
        raise InvalidInput(f"there is no row {before!r} to go on after")
    return or_(
        table.c.start_time < row.start_time,
        and_(table.c.start_time == row.start_time, table.c.id < before),
    )


def has_id(table: Table, id_: str) -> ColumnElement[bool]:
    """Return the condition of the row with an id. Raises `InvalidInput`: it is none."""
    row = _row_id(id_)
    if row is None:
        raise InvalidInput(f"{id_!r} is not the id of a row")
    return table.c.id == row


def _row_id(id_: str) -> str | None:
    """Return an id of a row as it is stored, `None` for what is none."""
    try:
        return str(UUID(id_))
    except (ValueError, AttributeError, TypeError):
        return None


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
    steps: bool = True,
    errors: bool = False,
    sort: str | None = None,
) -> list[ExecutionLog]:
    """Return executions without their texts, the newest first."""
    among = [] if steps else [execution_logs.c.execution_step.not_in(STEPS)]
    rows = page(
        connection,
        execution_logs,
        filters,
        limit=limit,
        offset=offset,
        before=before,
        errors=errors,
        among=among,
        sort=sort,
    )
    found = [ExecutionLog.of(row) for row in rows]
    return _with_calls(connection, found) if include_llm_calls else found


def execution(
    connection: Connection, execution_id: str, *, scope_id: str | None, include_llm_calls: bool, limit: int
) -> list[ExecutionLog]:
    """Return all that belongs to an execution with its texts, in the order it began."""
    named = execution_named(connection, execution_id, scope_id)
    found = _of_execution(connection, named, scope_id, limit)
    return _with_calls(connection, found) if include_llm_calls else found


def execution_named(connection: Connection, execution_id: str, scope_id: str | None) -> str:
    """Return the id of an execution; it may be given by the id of one of its rows."""
    logs = execution_logs
    among = conditions_of(logs, {"execution_id": execution_id, "scope_id": scope_id})
    if _row_id(execution_id) is None or connection.execute(select(logs.c.id).where(*among).limit(1)).first():
        return execution_id
    query = select(logs.c.execution_id).where(has_id(logs, execution_id))
    return connection.execute(query).scalar_one_or_none() or execution_id


def scopes_of(connection: Connection, execution_id: str, scope_id: str | None) -> list[str]:
    """Return in which scopes there are rows of an execution."""
    among = conditions_of(execution_logs, {"execution_id": execution_id, "scope_id": scope_id})
    scope = execution_logs.c.scope_id
    return list(connection.execute(select(scope).where(*among).distinct().order_by(scope)).scalars())


def _of_execution(
    connection: Connection, execution_id: str, scope_id: str | None, limit: int
) -> list[ExecutionLog]:
    logs = execution_logs
    query = (
        select(*columns_of(logs, content=True))
        .where(*conditions_of(logs, {"execution_id": execution_id, "scope_id": scope_id}))
        .order_by(logs.c.start_time, logs.c.id)
        .limit(limit)
    )
    return [ExecutionLog.of(row) for row in connection.execute(query).mappings()]


STEPS: Final = ("step", "tool")
"""What is done within a run of a job."""
_CLOCKS: Final = timedelta(hours=1)
"""How far the clocks of two processes may be apart."""


def descendants(
    connection: Connection, execution_id: str, *, scope_id: str | None, limit: int
) -> list[ExecutionLog]:
    """Return the executions that an execution has begun, and those which they have, in the order of the generations.

    A child begins while its parent is running, so this looks at no other time.
    """
    logs, found = execution_logs.c, dict[str, ExecutionLog]()
    parents = _of_execution(connection, execution_id, scope_id, MAX_LIMIT)
    known = {one.id for one in parents}
    while parents and len(found) < limit:
        ends = [one.end_time for one in parents]
        among = [
            logs.parent_id.in_([one.id for one in parents]),
            logs.scope_id == parents[0].scope_id,
            logs.start_time >= min(one.start_time for one in parents) - _CLOCKS,
            logs.execution_id != execution_id,
        ]
        if None not in ends:
            among.append(logs.start_time <= max(end for end in ends if end is not None) + _CLOCKS)
        query = select(*columns_of(execution_logs, content=False)).where(*among)
        query = query.order_by(logs.start_time, logs.id).limit(min(limit - len(found), MAX_LIMIT))
        rows = map(ExecutionLog.of, connection.execute(query).mappings())
        parents = [row for row in rows if row.id not in known]
        known.update(one.id for one in parents)
        found.update((one.id, one) for one in parents if one.execution_step not in STEPS)
    return list(found.values())


def execution_ids(connection: Connection, rows: Sequence[str]) -> dict[str, str]:
    """Return to which executions rows belong."""
    logs, found = execution_logs.c, dict[str, str]()
    ids = sorted({one for one in map(_row_id, rows) if one is not None})
    for first in range(0, len(ids), IDS):
        query = select(logs.id, logs.execution_id).where(logs.id.in_(ids[first : first + IDS]))
        found |= {str(id_): execution for id_, execution in connection.execute(query)}
    return found


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
    errors: bool = False,
) -> list[LLMCallLog]:
    """Return calls without their texts, the newest first."""
    job_id = filters.get("job_id")
    if job_id is not None:
        filters = {**filters, "execution_log_id": run_row(str(job_id))}  # which an index knows
    rows = page(connection, llm_call_logs, filters, limit=limit, offset=offset, before=before, errors=errors)
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
