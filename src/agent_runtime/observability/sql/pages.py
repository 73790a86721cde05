"""Pages of the logs with how many rows there are in all, each read by one statement, and bounded in what they bring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, Text, and_, cast, func, or_, select

from agent_runtime.observability.sql.reading import MAX_REASON, conditions_of, count, execution_named
from agent_runtime.observability.sql.records import ExecutionLog, LLMCallLog, columns_of
from agent_runtime.observability.sql.tables import CONTENT, execution_logs, llm_call_logs

Row = TypeVar("Row", ExecutionLog, LLMCallLog)

MAX_CALLS: Final = 500
"""Model calls that come with a page of executions."""
_TOTAL: Final = "rows_in_all"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage(Generic[Row]):
    """Some rows of a list, and how many it has."""

    rows: tuple[Row, ...]
    total: int
    """Rows of the whole list."""
    call_counts: Mapping[str, int] = field(default_factory=dict)
    """How many model calls belong to executions, by the ids of their rows; only where calls were asked for."""


def executions(
    connection: Connection,
    filters: Mapping[str, object],
    *,
    limit: int,
    offset: int,
    include_llm_calls: bool,
) -> LogPage[ExecutionLog]:
    """Return executions without their texts, the newest first."""
    found, total = _page(connection, execution_logs, filters, limit=limit, offset=offset)
    page = LogPage(rows=tuple(map(ExecutionLog.of, found)), total=total)
    return _with_calls(connection, page) if include_llm_calls else page


def llm_calls(
    connection: Connection, filters: Mapping[str, object], *, limit: int, offset: int
) -> LogPage[LLMCallLog]:
    """Return model calls without their texts, the newest first."""
    found, total = _page(connection, llm_call_logs, filters, limit=limit, offset=offset)
    return LogPage(rows=tuple(map(LLMCallLog.of, found)), total=total)


def execution(
    connection: Connection,
    execution_id: str,
    *,
    scope_id: str | None,
    include_llm_calls: bool,
    limit: int,
    offset: int,
    most: int,
) -> LogPage[ExecutionLog]:
    """Return what belongs to an execution with its texts, in the order it began, up to so many characters of texts, or one row."""
    named = execution_named(connection, execution_id, scope_id)
    filters = {"execution_id": named, "scope_id": scope_id}
    ids, total = _that_fit(connection, filters, limit=limit, offset=offset, most=most)
    logs = execution_logs
    query = select(*columns_of(logs, content=True)).where(logs.c.id.in_(ids))
    rows = connection.execute(query.order_by(logs.c.start_time, logs.c.id)).mappings()
    page = LogPage(rows=tuple(map(ExecutionLog.of, rows)), total=total)
    return _with_calls(connection, page) if include_llm_calls else page


def _page(
    connection: Connection, table: Table, filters: Mapping[str, object], *, limit: int, offset: int
) -> tuple[Sequence[RowMapping], int]:
    """Return rows with the beginnings of what errors say, and how many there are in all."""
    among = conditions_of(table, filters)
    reason = func.substr(table.c.error_message, 1, MAX_REASON).label("error_message")
    query = (
        select(*columns_of(table, content=False), reason, _counted(table, among))
        .where(*among)
        .order_by(table.c.start_time.desc(), table.c.id.desc())
        .limit(limit)
        .offset(offset)
    )
    found = connection.execute(query).mappings().all()
    return found, _total(connection, table, filters, found)


def _counted(table: Table, among: Sequence[ColumnElement[bool]]) -> Any:
    """Return the column that says how many rows there are: counted once, in the moment in which the page is read."""
    query = select(func.count()).select_from(table).where(*among)
    return query.correlate(None).scalar_subquery().label(_TOTAL)


def _total(
    connection: Connection, table: Table, filters: Mapping[str, object], found: Sequence[RowMapping]
) -> int:
    """Return what the rows say of how many there are; behind the end of the list there is none to say it."""
    return int(found[0][_TOTAL]) if found else count(connection, table, filters)


def _that_fit(
    connection: Connection, filters: Mapping[str, object], *, limit: int, offset: int, most: int
) -> tuple[list[str], int]:
    """Return the rows of an execution whose texts fit, at least one, and how many it has: one text may be as long as many a page."""
    logs = execution_logs
    among = conditions_of(logs, filters)
    texts: list[Any] = [func.coalesce(func.length(cast(logs.c[name], Text)), 0) for name in CONTENT[logs]]
    size = sum(texts[1:], texts[0]).label("size")
    query = (
        select(logs.c.id, size, _counted(logs, among))
        .where(*among)
        .order_by(logs.c.start_time, logs.c.id)
        .limit(limit)
        .offset(offset)
    )
    found = connection.execute(query).mappings().all()
    ids: list[str] = []
    read = 0
    for row in found:
        read += int(row["size"])
        if ids and read > most:
            break
        ids.append(str(row["id"]))
    return ids, _total(connection, logs, filters, found)


def _with_calls(connection: Connection, page: LogPage[ExecutionLog]) -> LogPage[ExecutionLog]:
    """Add the calls of executions: the first ones of each, as many as a page takes."""
    if not page.rows:
        return page
    calls = llm_call_logs.c
    each = (calls.execution_log_id, calls.scope_id)
    placed = (
        select(
            calls.id,
            func.row_number().over(partition_by=each, order_by=(calls.start_time, calls.id)).label("place"),
            func.count().over(partition_by=each).label("calls"),
        )
        .where(_belongs_to(page.rows))
        .subquery()
    )
    query = (
        select(*columns_of(llm_call_logs, content=False), placed.c.calls)
        .join(placed, placed.c.id == calls.id)
        .order_by(placed.c.place, calls.execution_log_id)
        .limit(MAX_CALLS)
    )
    found: dict[str, list[LLMCallLog]] = {one.id: [] for one in page.rows}
    counts = dict.fromkeys(found, 0)
    for row in connection.execute(query).mappings():
        call = LLMCallLog.of(row)
        found[call.execution_log_id or ""].append(call)
        counts[call.execution_log_id or ""] = int(row["calls"])
    rows = tuple(replace(one, llm_calls=tuple(found[one.id])) for one in page.rows)
    return replace(page, rows=rows, call_counts=counts)


def _belongs_to(executions: Iterable[ExecutionLog]) -> ColumnElement[bool]:
    """Return the condition of the calls of executions. Anybody may name any execution, so the scope has to be the same."""
    calls = llm_call_logs.c
    scopes: dict[str, list[str]] = {}
    for one in executions:
        scopes.setdefault(one.scope_id, []).append(one.id)
    return or_(
        *(
            and_(calls.scope_id == scope_id, calls.execution_log_id.in_(ids))
            for scope_id, ids in scopes.items()
        )
    )
