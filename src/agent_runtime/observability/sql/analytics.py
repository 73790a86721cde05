"""What the logs add up to: the documented summary, and sums, days and percentiles. All of it is read from what is added up already."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, case, func, select

from agent_runtime.errors import InvalidInput
from agent_runtime.observability.sql import rollups
from agent_runtime.observability.sql.reading import as_moment, as_text
from agent_runtime.observability.sql.records import ExecutionLog
from agent_runtime.observability.sql.rollups import day_of, middle_of
from agent_runtime.observability.sql.tables import (
    call_rollups,
    execution_logs,
    execution_rollups,
    latency_rollups,
    llm_call_logs,
)
from agent_runtime.observability.sql.writing import IDS
from agent_runtime.values.money import to_dollars

_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""Further away there is no whole day to add to."""
PERCENTILES: Final = (50, 90, 95, 99)
GROUPS: Final = ("day", "scope", "agent", "provider", "model", "status", "call_type")
RUN_GROUPS: Final = ("day", "scope", "agent")


class Period(NamedTuple):
    """What is looked at: from a moment on, before another one."""

    start: datetime
    end: datetime
    scope_id: str | None = None
    report_id: str | None = None


class CallSums(NamedTuple):
    """What some calls add up to."""

    calls: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal = Decimal(0)
    """US dollars, of those that have a price."""
    saved: Decimal = Decimal(0)
    """US dollars that the tokens from vendors' caches would have cost more, of calls where that is known."""
    unpriced: int = 0
    """Calls that have ended and have no known price: what they cost is in no sum."""
    uncertain: int = 0
    duration_ms: int = 0
    timed: int = 0

    @property
    def success_rate(self) -> float | None:
        """Per cent of the calls that have ended."""
        return _rate(self.completed, self.ended)

    @property
    def ended(self) -> int:
        """Calls that have ended."""
        return self.completed + self.failed + self.cancelled


_RUN_COLUMN_OF: Final = {"scope": "scope_id", "agent": "agent_type"}
_COLUMN_OF: Final = {
    "scope": "scope_id",
    "agent": "agent",
    "provider": "provider",
    "model": "model_id",
    "status": "status",
    "call_type": "call_type",
}


def _rate(part: int, whole: int) -> float | None:
    return None if whole == 0 else round(100 * part / whole, 2)


def period(
    start: datetime, end: datetime, scope_id: str | None = None, report_id: str | None = None
) -> Period:
    """Return a period. Raises `InvalidInput`: a time has no zone, it ends before it begins, or a name is no text."""
    first = max(_FIRST, as_moment("start_date", start))
    last = min(_LAST, as_moment("end_date", end))
    for name, id_ in (("scope_id", scope_id), ("report_id", report_id)):
        if id_ is not None:
            as_text(name, id_)
    if first > last:
        raise InvalidInput("the period ends before it begins")
    return Period(first, last, scope_id, report_id)


class _Sums(NamedTuple):
    """How the rows of a table are added up, and where the sums of whole hours stand."""

    logs: Table
    sums: Table
    of_row: Mapping[str, Any]
    """What one row counts, by name of a sum."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the sums."""
        return tuple(self.of_row)


def _ended(table: Table) -> ColumnElement[bool]:
    return table.c.status != "started"


def _number(condition: Any) -> Any:
    return case((condition, 1), else_=0)


_OF_CALLS: Final = _Sums(
    llm_call_logs,
    call_rollups,
    {
        "calls": 1,
        "timed": _number(llm_call_logs.c.duration_ms.is_not(None)),
        "duration_ms": llm_call_logs.c.duration_ms,
        "input_tokens": llm_call_logs.c.input_tokens,
        "output_tokens": llm_call_logs.c.output_tokens,
        "cached_tokens": llm_call_logs.c.cached_tokens,
        "reasoning_tokens": llm_call_logs.c.reasoning_tokens,
        "cost_units": llm_call_logs.c.total_cost_units,
        "saved_units": llm_call_logs.c.saved_cost_units,
        "unpriced": _number(llm_call_logs.c.total_cost_units.is_(None) & _ended(llm_call_logs)),
        "uncertain": _number(llm_call_logs.c.uncertain),
    },
)
_OF_EXECUTIONS: Final = _Sums(
    execution_logs,
    execution_rollups,
    {
        "executions": 1,
        "timed": _number(execution_logs.c.duration_ms.is_not(None)),
        "duration_ms": execution_logs.c.duration_ms,
    },
)
_ENDS: Final = ("shortest_ms", "longest_ms")


def _added(
    connection: Connection, kind: _Sums, asked: Period, keys: Sequence[str], *, by_day: bool = False
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Add up what is in a period by some columns: whole hours from their sums, what is left of its edges from the rows themselves."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for rows in _pieces(connection, kind, asked, keys, by_day=by_day):
        for row in rows:
            key = tuple(row[: len(keys) + by_day])
            values = dict(zip((*kind.names, *_ENDS), row[len(key) :], strict=False))
            _merge(found.setdefault(key, {}), values)
    return found


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name in _ENDS:
            nearer = min if name == "shortest_ms" else max
            known = [one for one in (into.get(name), value) if one is not None]
            into[name] = nearer(known) if known else None
        else:
            into[name] = into.get(name, 0) + int(value or 0)


def _pieces(connection: Connection, kind: _Sums, asked: Period, keys: Sequence[str], *, by_day: bool) -> Any:
    """Yield what the pieces of a period add up to: whole days, whole hours at their edges, and what is left of these, row by row."""
    if asked.report_id is not None:
        yield _of_rows(connection, kind, asked, asked.start, asked.end, keys, by_day=by_day)
        return
    start, end = asked.start, _open_end(connection, kind, asked.end)
    hours = _whole("hour", start, end)
    days = _whole("day", *hours)
    for grain, first, last in (
        ("row", start, hours[0]),
        ("hour", hours[0], days[0]),
        ("day", *days),
        ("hour", days[1], hours[1]),
        ("row", hours[1], end),
    ):
        if first >= last:
            continue
        if grain == "row":
            yield _of_rows(connection, kind, asked, first, last, keys, by_day=by_day)
        else:
            yield _of_sums(connection, kind, asked, grain, first, last, keys, by_day=by_day)


def _whole(grain: str, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Return from where to where a period has whole hours or days; twice its end where it has none."""
    beginning_of = rollups.GRAINS[grain]
    first, last = beginning_of(start), beginning_of(end)
    first = first if first == start else first + rollups.LENGTHS[grain]
    return (first, last) if first <= last else (end, end)


def _open_end(connection: Connection, kind: _Sums, end: datetime) -> datetime:
    """Return the end of the day where nothing of it begins later than a period ends: its sums will do then, and it may be a long one."""
    midnight = day_of(end) + rollups.LENGTHS["day"]
    logs = kind.logs
    query = select(logs.c.id).where(logs.c.start_time >= end, logs.c.start_time < midnight)
    return end if connection.execute(query.limit(1)).first() is not None else midnight


def _of_sums(
    connection: Connection,
    kind: _Sums,
    asked: Period,
    grain: str,
    first: datetime,
    last: datetime,
    keys: Sequence[str],
    *,
    by_day: bool,
) -> Sequence[Any]:
    table = kind.sums.c
    sums: list[Any] = [func.sum(table[name]) for name in kind.names]
    if kind is _OF_EXECUTIONS:
        sums += [func.min(table.shortest_ms), func.max(table.longest_ms)]
    counted = table["executions" if kind is _OF_EXECUTIONS else "calls"]
    among = [table.grain == grain, table.begins >= first, table.begins < last, counted > 0]
    if asked.scope_id is not None:
        among.append(table.scope_id == asked.scope_id)
    return _grouped(connection, kind.sums, table.begins if by_day else None, keys, sums, among)


def _of_rows(
    connection: Connection,
    kind: _Sums,
    asked: Period,
    start: datetime,
    end: datetime,
    keys: Sequence[str],
    *,
    by_day: bool,
) -> Sequence[Any]:
    table = kind.logs.c
    sums: list[Any] = [func.sum(kind.of_row[name]) for name in kind.names]
    if kind is _OF_EXECUTIONS:
        sums += [func.min(table.duration_ms), func.max(table.duration_ms)]
    among = [table.start_time >= start, table.start_time < end]
    for name in ("scope_id", "report_id"):
        value = getattr(asked, name)
        if value is not None:
            among.append(table[name] == value)
    return _grouped(connection, kind.logs, table.start_time if by_day else None, keys, sums, among)


def _grouped(
    connection: Connection,
    table: Table,
    moment: Any,
    keys: Sequence[str],
    sums: Sequence[Any],
    among: Sequence[ColumnElement[bool]],
) -> Sequence[Any]:
    """Add up by some columns, and by the day of a moment where one is given."""
    columns: list[Any] = [table.c[name] for name in keys]
    if moment is not None:
        columns.append(_day(connection, moment))
    return connection.execute(select(*columns, *sums).where(*among).group_by(*columns)).all()


def _day(connection: Connection, column: Any) -> Any:
    """Return the day in UTC that a time belongs to, as text."""
    if connection.dialect.name == "postgresql":
        return func.to_char(func.timezone("UTC", column), "YYYY-MM-DD")
    return func.substr(column, 1, 10)


def summary(connection: Connection, asked: Period) -> dict[str, Any]:
    """Return the documented summary of a period."""
    executions = _added(connection, _OF_EXECUTIONS, asked, ("agent_type", "execution_step", "status"))
    calls = _added(connection, _OF_CALLS, asked, ("provider", "model_id", "status"))
    return {
        "date_range": {"start_date": asked.start, "end_date": asked.end},
        "execution_analytics": _execution_analytics(executions),
        "llm_call_analytics": _call_analytics(calls),
    }


def _execution_analytics(added: Mapping[tuple[Any, ...], Mapping[str, Any]]) -> dict[str, Any]:
    statuses = _counts(added, 2, "executions")
    runs = _counts({key: row for key, row in added.items() if key[1] == "run"}, 2, "executions")
    timed = sum(row["timed"] for row in added.values())
    total_ms = sum(row["duration_ms"] for row in added.values())
    shortest = [row["shortest_ms"] for row in added.values() if row["shortest_ms"] is not None]
    longest = [row["longest_ms"] for row in added.values() if row["longest_ms"] is not None]
    return {
        "total_executions": sum(statuses.values()),
        "status_counts": statuses,
        "success_rate": _success(statuses),
        "agent_type_counts": _counts(added, 0, "executions"),
        "agent_success_rates": {
            agent: _success(
                _counts({key: row for key, row in added.items() if key[0] == agent}, 2, "executions")
            )
            for agent in sorted({key[0] for key in added})
        },
        "run_status_counts": runs,
        "run_success_rate": _success(runs),
        "duration_stats": {
            "avg_duration_ms": round(total_ms / timed) if timed else None,
            "min_duration_ms": min(shortest, default=None),
            "max_duration_ms": max(longest, default=None),
        },
    }


def _success(statuses: Mapping[str, int]) -> float | None:
    return _rate(statuses.get("completed", 0), sum(statuses.values()) - statuses.get("started", 0))


def _counts(added: Mapping[tuple[Any, ...], Mapping[str, Any]], place: int, name: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key, row in added.items():
        counts[key[place]] = counts.get(key[place], 0) + row[name]
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _call_analytics(added: Mapping[tuple[Any, ...], Mapping[str, Any]]) -> dict[str, Any]:
    def total(name: str) -> int:
        return sum(row[name] for row in added.values())

    def by(place: int, value: Callable[[Mapping[str, Any]], Any], nothing: Any) -> dict[str, Any]:
        groups: dict[str, Any] = {}
        for key, row in added.items():
            groups[key[place]] = groups.get(key[place], nothing) + value(row)
        return dict(sorted(groups.items(), key=lambda one: (-one[1], one[0])))

    def cost(row: Mapping[str, Any]) -> Decimal:
        return to_dollars(row["cost_units"])

    def tokens(row: Mapping[str, Any]) -> int:
        return int(row["input_tokens"] + row["output_tokens"])

    def unpriced(row: Mapping[str, Any]) -> int:
        return int(row["unpriced"])

    statuses = _counts(added, 2, "calls")
    timed = total("timed")
    return {
        "total_calls": total("calls"),
        "status_counts": statuses,
        "success_rate": _success(statuses),
        "provider_counts": _counts(added, 0, "calls"),
        "model_counts": _counts(added, 1, "calls"),
        "token_stats": {
            "total_input_tokens": total("input_tokens"),
            "total_output_tokens": total("output_tokens"),
            "total_tokens": total("input_tokens") + total("output_tokens"),
            "total_cost": to_dollars(total("cost_units")),
            "cached_tokens": total("cached_tokens"),
            "reasoning_tokens": total("reasoning_tokens"),
            "cache_savings": to_dollars(total("saved_units")),
            "unpriced_calls": total("unpriced"),
            "uncertain_calls": total("uncertain"),
        },
        "duration_stats": {"avg_duration_ms": round(total("duration_ms") / timed) if timed else None},
        "cost_by_model": by(1, cost, Decimal(0)),
        "cost_by_provider": by(0, cost, Decimal(0)),
        "tokens_by_model": by(1, tokens, 0),
        "tokens_by_provider": by(0, tokens, 0),
        "unpriced_by_model": by(1, unpriced, 0),
        "unpriced_by_provider": by(0, unpriced, 0),
    }


def usage(connection: Connection, asked: Period, groups: Sequence[str]) -> dict[tuple[str, ...], CallSums]:
    """Add up calls by day (UTC), scope, agent, provider, model, status or call type, in the order of the names.

    Raises:
        InvalidInput: There is no such group.
    """
    _check_groups(groups, GROUPS)
    columns = [_COLUMN_OF[name] for name in groups if name != "day"]
    keys = [*columns, *([] if "status" in columns else ["status"])]
    added = _added(connection, _OF_CALLS, asked, keys, by_day="day" in groups)
    places = [(len(keys) if name == "day" else keys.index(_COLUMN_OF[name])) for name in groups]
    found: dict[tuple[str, ...], CallSums] = {}
    for key, row in added.items():
        group = tuple(str(key[place]) for place in places)
        found[group] = _plus(found.get(group, CallSums()), row, key[keys.index("status")])
    return dict(sorted(found.items()))


def _check_groups(groups: Sequence[str], known: Sequence[str]) -> None:
    for name in groups:
        if name not in known:
            raise InvalidInput(f"there is no group {name!r}: there are {', '.join(known)}")
        if groups.count(name) > 1:
            raise InvalidInput(f"{name} is given twice: a group counts once")


def runs(connection: Connection, asked: Period, groups: Sequence[str]) -> dict[tuple[str, ...], int]:
    """Count runs by day (UTC), scope or agent, in the order of the names.

    Raises:
        InvalidInput: There is no such group.
    """
    _check_groups(groups, RUN_GROUPS)
    columns = [_RUN_COLUMN_OF[name] for name in groups if name != "day"]
    keys = [*columns, "execution_step"]
    added = _added(connection, _OF_EXECUTIONS, asked, keys, by_day="day" in groups)
    places = [(len(keys) if name == "day" else keys.index(_RUN_COLUMN_OF[name])) for name in groups]
    found: dict[tuple[str, ...], int] = {}
    for key, row in added.items():
        if key[keys.index("execution_step")] == "run":
            group = tuple(str(key[place]) for place in places)
            found[group] = found.get(group, 0) + row["executions"]
    return dict(sorted(found.items()))


def of_executions(connection: Connection, executions: Sequence[ExecutionLog]) -> dict[str, CallSums]:
    """Add up the calls that belong to executions, by the ids of their rows."""
    scopes = {one.id: one.scope_id for one in executions}
    found = {id_: CallSums() for id_ in scopes}
    calls, ids = llm_call_logs.c, list(scopes)
    keys = ("execution_log_id", "scope_id", "status")
    sums: list[Any] = [func.sum(_OF_CALLS.of_row[name]) for name in _OF_CALLS.names]
    for first in range(0, len(ids), IDS):
        among = [calls.execution_log_id.in_(ids[first : first + IDS])]
        for row in _grouped(connection, llm_call_logs, None, keys, sums, among):
            id_, scope, status = row[: len(keys)]
            if scopes[id_] != scope:  # anybody may name any execution
                continue
            values = {
                name: int(value or 0) for name, value in zip(_OF_CALLS.names, row[len(keys) :], strict=True)
            }
            found[id_] = _plus(found[id_], values, status)
    return found


def _plus(sums: CallSums, row: Mapping[str, Any], status: str) -> CallSums:
    counts = {
        name: getattr(sums, name) + (row["calls"] if status == name else 0)
        for name in ("completed", "failed", "cancelled")
    }
    same = {
        name: getattr(sums, name) + row[name]
        for name in _OF_CALLS.names
        if name not in ("cost_units", "saved_units")
    }
    return CallSums(
        **counts,
        **same,
        cost=sums.cost + to_dollars(row["cost_units"]),
        saved=sums.saved + to_dollars(row["saved_units"]),
    )


def latency(
    connection: Connection, asked: Period, kind: str, group: str | None
) -> dict[str, dict[str, float | int]]:
    """Return percentiles of durations in milliseconds, over the whole days (UTC) that a period touches.

    Args:
        connection: Where.
        asked: The period.
        kind: `call`, `first_token` or `execution`.
        group: `agent`, `model` or `scope`; `None` takes all together, under the name `all`.

    Raises:
        InvalidInput: There is no such kind or group, or a report is asked for.
    """
    table = latency_rollups
    if kind not in ("call", "first_token", "execution") or group not in (None, "agent", "model", "scope"):
        raise InvalidInput("latencies are those of call, first_token or execution, by agent, model or scope")
    if asked.report_id is not None:
        raise InvalidInput("latencies are not kept by report")
    if kind == "execution" and group == "model":
        raise InvalidInput("executions have no model: their durations are by agent or scope")
    keys = [] if group is None else [table.c.scope_id if group == "scope" else table.c.name]
    grouped_by = "all" if group in (None, "scope") else group
    query = (
        select(*keys, table.c.bucket, func.sum(table.c.n))
        .where(table.c.kind == kind, table.c.grouped_by == grouped_by)
        .where(table.c.day >= day_of(asked.start), table.c.day < asked.end)
        .group_by(*keys, table.c.bucket)
        .order_by(*keys, table.c.bucket)
    )
    if asked.scope_id is not None:
        query = query.where(table.c.scope_id == asked.scope_id)
    buckets: dict[str, list[tuple[int, int]]] = {}
    for *key, bucket, n in connection.execute(query):
        if n > 0:
            buckets.setdefault(str(key[0]) if key else "all", []).append((bucket, int(n)))
    return {name: _percentiles(found) for name, found in buckets.items()}


def _percentiles(buckets: Sequence[tuple[int, int]]) -> dict[str, float | int]:
    total = sum(n for _, n in buckets)
    found: dict[str, float | int] = {"count": total}
    for percent in PERCENTILES:
        rank, passed = -(-percent * total // 100), 0  # the nearest rank: of few durations, p99 is the longest
        for bucket, n in buckets:
            passed += n
            if passed >= rank:
                found[f"p{percent}_ms"] = round(middle_of(bucket), 1)
                break
    return found
