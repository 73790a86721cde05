"""Writing rows of the logs, and in the same transaction what they change in the sums.

A row has an id of its own that does not depend on who writes it or how often, so that a change that is made twice changes nothing the
second time, neither the row nor the sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Table, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from agent_runtime.observability.sql import rollups
from agent_runtime.observability.sql.tables import execution_logs, llm_call_logs

IDS: Final = 500
"""How many rows are named in one statement."""
TRIES: Final = 3

_UNKNOWN: Final[Mapping[Table, Mapping[str, Any]]] = {
    execution_logs: {
        "scope_id": "default",
        "agent_type": "unknown",
        "execution_step": "unknown",
        "status": "started",
    },
    llm_call_logs: {
        "scope_id": "default",
        "agent": "",
        "provider": "unknown",
        "model_id": "unknown",
        "call_type": "inference",
        "status": "started",
        "uncertain": False,
        "is_streaming": False,
    },
}
"""What a row says that begins with its end."""


@dataclass(slots=True)
class Change:
    """What becomes of a row: columns that are not named stay as they are."""

    table: Table
    id: str
    values: dict[str, Any]


def utc(moment: datetime) -> datetime:
    """Return a time as it was written: SQLite keeps no zone, Postgres gives that of its connection."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def merged(changes: Iterable[Change]) -> dict[Table, dict[str, dict[str, object]]]:
    """Return what becomes of each row, by table and id."""
    rows: dict[Table, dict[str, dict[str, object]]] = {execution_logs: {}, llm_call_logs: {}}
    for change in changes:
        rows[change.table].setdefault(change.id, {}).update(change.values)
    return rows


def write(connection: Connection, changes: Sequence[Change]) -> None:
    """Write changes of rows in the order they are given."""
    for table, rows in merged(changes).items():
        if rows:
            _write(connection, table, rows)


def _write(connection: Connection, table: Table, rows: dict[str, dict[str, object]]) -> None:
    now = datetime.now(UTC)  # noqa: TID251 -- `updated_at`: when the row was written, not when something happened
    for number in range(TRIES):
        before = counted(connection, table, sorted(rows), locked=True)
        new: list[dict[str, Any]] = []
        old: list[dict[str, Any]] = []
        pairs: list[tuple[rollups.Row | None, rollups.Row | None]] = []
        for id_ in sorted(rows):
            was = before.get(id_)
            row = _row(table, id_, rows[id_], was, now)
            (new if was is None else old).append(row)
            after = {
                name: row.get(name, None if was is None else was[name]) for name in rollups.COUNTED[table]
            }
            if after != was:
                pairs.append((was, after))
        try:
            with connection.begin_nested():
                _insert(connection, table, new)
        except IntegrityError:  # another process has written one of them meanwhile
            if number == TRIES - 1:
                raise
            continue
        _update(connection, table, old)
        moved = rollups.moved(table, pairs)
        rollups.apply(connection, moved)
        rollups.narrow(connection, moved.narrowed)
        return


def counted(
    connection: Connection, table: Table, ids: Sequence[str], *, locked: bool = False
) -> dict[str, dict[str, object]]:
    """Return what rows count by, of those that are there."""
    columns = [table.c[name] for name in rollups.COUNTED[table]]
    found = {}
    for first in range(0, len(ids), IDS):
        query = select(*columns).where(table.c.id.in_(ids[first : first + IDS])).order_by(table.c.id)
        for row in connection.execute(query.with_for_update() if locked else query).mappings():
            found[str(row["id"])] = as_written(row)
    return found


def as_written(row: RowMapping | Mapping[str, object]) -> dict[str, object]:
    """Return a row with its times in UTC."""
    return {str(name): utc(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _row(
    table: Table, id_: str, values: dict[str, Any], was: Mapping[str, Any] | None, now: datetime
) -> dict[str, Any]:
    row = {**values, "id": id_, "updated_at": now}
    if was is None:
        row = {**_UNKNOWN[table], **row, "created_at": now}
        if table is execution_logs:
            row.setdefault("execution_id", id_)
        row.setdefault("start_time", row.get("end_time") or now)
    if table is llm_call_logs and {"input_tokens", "output_tokens"} & row.keys():
        row["total_tokens"] = (row.get("input_tokens") or 0) + (row.get("output_tokens") or 0)
    began = values.get("start_time") or (None if was is None else was["start_time"])
    ended = row.get("end_time")
    if ended is not None and began is not None and row.get("duration_ms") is None:
        row["duration_ms"] = max(0, round((ended - began).total_seconds() * 1000))
    return row


def _insert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        names = set().union(*rows)
        connection.execute(insert(table), [{name: row.get(name) for name in names} for row in rows])


def _update(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    alike: dict[frozenset[str], list[dict[str, Any]]] = {}
    for row in rows:
        alike.setdefault(frozenset(row), []).append(row)
    for names, same in alike.items():
        statement = (
            update(table)
            .where(table.c.id == bindparam("the_id"))
            .values({name: bindparam(f"new_{name}") for name in names if name != "id"})
        )
        given = [
            {"the_id": row["id"], **{f"new_{name}": row[name] for name in names if name != "id"}}
            for row in same
        ]
        connection.execute(statement, given)


def remove(connection: Connection, table: Table, ids: Sequence[str]) -> set[rollups.Key]:
    """Delete rows, and take them out of the sums; return where the shortest and longest are to be looked up anew."""
    before = counted(connection, table, ids, locked=True)
    moved = rollups.moved(table, [(row, None) for row in before.values()])
    connection.execute(delete(table).where(table.c.id.in_(list(before))))
    rollups.apply(connection, moved)
    return moved.narrowed
