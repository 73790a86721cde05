"""What is added up of the logs: what each row counts for, so that a change of a row changes the sums by the difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias, cast

from sqlalchemy import Connection, Table, delete, func, select, update

from agent_runtime.observability.sql import many_rows
from agent_runtime.observability.sql.tables import (
    ROLLUPS,
    call_rollups,
    execution_logs,
    execution_rollups,
    latency_rollups,
    llm_call_logs,
)

ACCURACY: Final = 0.02
"""How far a percentile may be from the true one, as a part of it: the buckets are those of DDSketch."""
_GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA: Final = math.log(_GAMMA)

COUNTED: Final[Mapping[Table, tuple[str, ...]]] = {
    execution_logs: (
        "id",
        "scope_id",
        "agent_type",
        "execution_step",
        "status",
        "start_time",
        "end_time",
        "duration_ms",
    ),
    llm_call_logs: (
        "id",
        "scope_id",
        "agent",
        "provider",
        "model_id",
        "call_type",
        "status",
        "start_time",
        "end_time",
        "duration_ms",
        "first_token_ms",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "total_cost_units",
        "saved_cost_units",
        "uncertain",
    ),
}
"""Columns that a row counts by."""

Row: TypeAlias = Mapping[str, object]
Pair: TypeAlias = tuple[Row | None, Row | None]
"""What a row counted by, and what it counts by now: `None` where there was none, or is none any more."""
Key: TypeAlias = tuple[object, ...]


class Moved(NamedTuple):
    """How sums change, by table and key."""

    sums: dict[Table, dict[Key, dict[str, int]]]
    durations: dict[Key, tuple[int, int]]
    """The shortest and the longest that were added."""
    narrowed: set[Key]
    """Of executions, keys from which a duration has gone: the shortest or longest may have been that one."""


def bucket_of(milliseconds: int) -> int:
    """Return the bucket that a duration belongs to; nothing at all has one of its own."""
    return math.ceil(math.log(milliseconds) / _LOG_GAMMA) if milliseconds > 0 else -1


def middle_of(bucket: int) -> float:
    """Return the milliseconds that stand for a bucket: no duration in it is further away than `ACCURACY` of itself."""
    return 0.0 if bucket < 0 else 2 * _GAMMA**bucket / (1 + _GAMMA)


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of an hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def day_of(moment: datetime) -> datetime:
    """Return the beginning of a day, in UTC."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


GRAINS: Final[Mapping[str, Callable[[datetime], datetime]]] = {"hour": hour_of, "day": day_of}
"""What is added up by the hour, for the edges of periods, and by the day, for the rest of them."""
LENGTHS: Final = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


def moved(pairs: Mapping[Table, Iterable[Pair]]) -> Moved:
    """Return how the sums change when rows of tables become others."""
    changes = Moved({rollup: {} for rollup in ROLLUPS}, {}, set())
    for table, of_table in pairs.items():
        count = _count_execution if table is execution_logs else _count_call
        for before, after in of_table:
            if before == after:
                continue
            if before is not None:
                count(changes, before, -1)
            if after is not None:
                count(changes, after, 1)
    return changes


def _add(changes: Moved, table: Table, key: Key, values: Mapping[str, int], sign: int) -> None:
    sums = changes.sums[table].setdefault(key, dict.fromkeys(values, 0))
    for name, value in values.items():
        sums[name] += sign * value


def _count_execution(changes: Moved, row: Mapping[str, Any], sign: int) -> None:
    duration = row["duration_ms"]
    scope, agent = row["scope_id"], row["agent_type"]
    values = {"executions": 1, "timed": int(duration is not None), "duration_ms": duration or 0}
    for grain, beginning_of in GRAINS.items():
        key = (grain, beginning_of(row["start_time"]), scope, agent, row["execution_step"], row["status"])
        _add(changes, execution_rollups, key, values, sign)
        if duration is None:
            continue
        if sign < 0:
            changes.narrowed.add(key)
        else:
            shortest, longest = changes.durations.get(key, (duration, duration))
            changes.durations[key] = (min(shortest, duration), max(longest, duration))
    if duration is not None:
        _add_latency(changes, row, "execution", {"all": "", "agent": agent}, duration, sign)


def _count_call(changes: Moved, row: Mapping[str, Any], sign: int) -> None:
    duration, first = row["duration_ms"], row["first_token_ms"]
    scope, agent, model = row["scope_id"], row["agent"], row["model_id"]
    has_ended = row["status"] != "started"
    values = {
        "calls": 1,
        "timed": int(duration is not None),
        "duration_ms": duration or 0,
        "input_tokens": row["input_tokens"] or 0,
        "output_tokens": row["output_tokens"] or 0,
        "cached_tokens": row["cached_tokens"] or 0,
        "reasoning_tokens": row["reasoning_tokens"] or 0,
        "cost_units": row["total_cost_units"] or 0,
        "saved_units": row["saved_cost_units"] or 0,
        "unpriced": int(has_ended and row["total_cost_units"] is None),
        "uncertain": int(bool(row["uncertain"])),
    }
    of_key = (scope, agent, row["provider"], model, row["call_type"], row["status"])
    for grain, beginning_of in GRAINS.items():
        _add(changes, call_rollups, (grain, beginning_of(row["start_time"]), *of_key), values, sign)
    for kind, value in (("call", duration), ("first_token", first)):
        if value is not None:
            _add_latency(changes, row, kind, {"all": "", "agent": agent, "model": model}, value, sign)


def _add_latency(
    changes: Moved, row: Mapping[str, Any], kind: str, groups: Mapping[str, str], value: int, sign: int
) -> None:
    day, bucket = day_of(row["start_time"]), bucket_of(value)
    for grouped_by, name in groups.items():
        key = (kind, grouped_by, day, row["scope_id"], name, bucket)
        _add(changes, latency_rollups, key, {"n": 1}, sign)


def apply(connection: Connection, changes: Moved) -> None:
    """Change the sums. Keys are gone through in one order, so that two who change the same ones wait, and neither for the other."""
    for table, by_key in changes.sums.items():
        keys = [column.name for column in table.primary_key]
        rows = []
        for key in sorted(key for key, sums in by_key.items() if any(sums.values())):
            row: dict[str, object] = {**dict(zip(keys, key, strict=True)), **by_key[key]}
            if table is execution_rollups:
                row["shortest_ms"], row["longest_ms"] = changes.durations.get(key, (None, None))
            rows.append(row)
        if rows:
            many_rows.add_up(connection, table, rows)


def narrow(connection: Connection, keys: Iterable[Key]) -> None:
    """Look up the shortest and longest of executions anew, where some have gone."""
    logs, sums = execution_logs.c, execution_rollups
    for key in sorted(cast("set[tuple[Any, ...]]", keys)):
        grain, begins, scope, agent, step, status = key
        of_key = (logs.scope_id == scope, logs.agent_type == agent, logs.execution_step == step)
        ends_at = begins + LENGTHS[grain]
        in_time = (logs.start_time >= begins, logs.start_time < ends_at, logs.status == status)
        ends = select(func.min(logs.duration_ms), func.max(logs.duration_ms)).where(*of_key, *in_time)
        shortest, longest = connection.execute(ends).one()
        connection.execute(
            update(sums)
            .where(
                sums.c.grain == grain,
                sums.c.begins == begins,
                sums.c.scope_id == scope,
                sums.c.agent_type == agent,
                sums.c.execution_step == step,
                sums.c.status == status,
            )
            .values(shortest_ms=shortest, longest_ms=longest)
        )


def forget_nothing(connection: Connection) -> None:
    """Delete the sums of nothing, which rows that have gone leave."""
    for table, name in ((execution_rollups, "executions"), (call_rollups, "calls"), (latency_rollups, "n")):
        connection.execute(delete(table).where(table.c[name] <= 0))
