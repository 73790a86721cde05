"""Writing rows of the logs, and in the same transaction what they change in the sums.

A row has an id of its own that does not depend on who writes it or how often, so that a change that is made twice changes nothing the
second time, neither the row nor the sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Table, delete, select

from agent_runtime.observability.sql import many_rows, rollups
from agent_runtime.observability.sql.tables import execution_logs, llm_call_logs

IDS: Final = 500
"""How many rows are named in one statement."""

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
    """Write changes of rows in the order they are given, and then the sums: others change the same ones, and wait for the commit."""
    pairs = {table: _written(connection, table, rows) for table, rows in merged(changes).items()}
    moved = rollups.moved(pairs)
    rollups.apply(connection, moved)
    rollups.narrow(connection, moved.narrowed)


def _written(
    connection: Connection, table: Table, rows: Mapping[str, dict[str, object]]
) -> list[rollups.Pair]:
    """Write rows of a table, and return what they counted by before and what they count by now.

    What is not there is inserted before anything is locked: who waits for another's insertion holds nothing that the other waits for.
    """
    now = datetime.now(UTC)  # noqa: TID251 -- `updated_at`: when the row was written, not when something happened
    made = {id_: _row(table, id_, rows[id_], None, now) for id_ in sorted(rows)}
    new = many_rows.insert_new(connection, table, list(made.values()))
    before = counted(connection, table, [id_ for id_ in made if id_ not in new], locked=True)
    before = {id_: was for id_, was in before.items() if not _is_told(rows[id_], was)}
    made |= {id_: _row(table, id_, rows[id_], was, now) for id_, was in before.items()}
    many_rows.change(connection, table, [made[id_] for id_ in before])
    return [_pair(table, before.get(id_), made[id_]) for id_ in made if id_ in before or id_ in new]


def _pair(table: Table, before: rollups.Row | None, row: Mapping[str, object]) -> rollups.Pair:
    """Return what a row counted by, and what it counts by when it says this."""
    counted_by = rollups.COUNTED[table]
    if before is None:
        return None, {name: row.get(name) for name in counted_by}
    return {name: before[name] for name in counted_by}, {
        name: row.get(name, before[name]) for name in counted_by
    }


def _is_told(values: Mapping[str, Any], was: Mapping[str, Any]) -> bool:
    """Whether a row tells already what entries of a journal say.

    A process that stood still while another went on in its place hands out entries late, and then nobody hands out the later ones again.
    """
    seq, told = values.get("last_seq"), was["last_seq"]
    return seq is not None and told is not None and bool(seq <= told)


def counted(
    connection: Connection, table: Table, ids: Sequence[str], *, locked: bool = False
) -> dict[str, dict[str, object]]:
    """Return what rows count by, and up to which entry of a journal they tell, of those that are there."""
    columns = [*(table.c[name] for name in rollups.COUNTED[table]), table.c.last_seq]
    found = {}
    for first in range(0, len(ids), IDS):
        query = select(*columns).where(table.c.id.in_(ids[first : first + IDS])).order_by(table.c.id)
        for row in connection.execute(query.with_for_update() if locked else query).mappings():
            found[str(row["id"])] = as_written(row)
    return found


def as_written(row: RowMapping | Mapping[str, object]) -> dict[str, object]:
    """Return a row with its times in UTC: SQLite would keep those of a clock in another zone as if they were."""
    return {str(name): utc(value) if isinstance(value, datetime) else value for name, value in row.items()}


def _row(
    table: Table, id_: str, values: dict[str, Any], was: Mapping[str, Any] | None, now: datetime
) -> dict[str, Any]:
    said = as_written(values)
    row: dict[str, Any] = {**said, "id": id_, "updated_at": now}
    if was is None:
        row = {**_UNKNOWN[table], **row, "created_at": now}
        if table is execution_logs:
            row.setdefault("execution_id", id_)
        row.setdefault("start_time", row.get("end_time") or now)
    if table is llm_call_logs and {"input_tokens", "output_tokens"} & row.keys():
        row["total_tokens"] = (row.get("input_tokens") or 0) + (row.get("output_tokens") or 0)
    began, ended = _began(said, was), row.get("end_time")
    if ended is not None and began is not None and row.get("duration_ms") is None:
        row["duration_ms"] = max(0, round((ended - began).total_seconds() * 1000))
    return row


def _began(said: Mapping[str, Any], was: Mapping[str, Any] | None) -> Any:
    """Return when what a row tells of has begun; `None` where only its end was ever told, and stands for both."""
    if was is None or "start_time" in said:
        return said.get("start_time")
    is_known = was["end_time"] is None or was["duration_ms"] is not None
    return was["start_time"] if is_known else None


def remove(connection: Connection, table: Table, ids: Sequence[str]) -> set[rollups.Key]:
    """Delete rows, and take them out of the sums; return where the shortest and longest are to be looked up anew."""
    before = counted(connection, table, ids, locked=True)
    moved = rollups.moved({table: [(row, None) for row in before.values()]})
    connection.execute(delete(table).where(table.c.id.in_(list(before))))
    rollups.apply(connection, moved)
    return moved.narrowed
