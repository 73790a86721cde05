"""Statements about many rows, each made once and used again.

Postgres is given all rows as one JSON text in one statement: one round trip, one value to encode, one plan. SQLite is in the process: it is given
one row after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from sqlalchemy import JSON, Connection, Table, Text, bindparam, case, cast, column, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llm_client.json_text import dumps

Row: TypeAlias = Mapping[str, object]
POSTGRES: Final = "postgresql"
MADE: Final = 256
"""Statements that are kept: rows name different columns."""
_ROWS: Final = "given_rows"
_ONE: Final = "given_"
"""Begins the names of one row's values: the bare names of columns are SQLAlchemy's own."""


def insert_new(connection: Connection, table: Table, rows: Sequence[Row]) -> set[str]:
    """Insert those of the rows whose ids are not there yet, and return these ids. Columns that a row does not name are NULL."""
    if not rows:
        return set()
    names = tuple(sorted(set[str]().union(*rows)))
    statement = _insertion_of_new(table, names, connection.dialect.name)
    return set(map(str, connection.execute(statement, _given(connection, names, rows)).scalars()))


def change(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Give rows, by their ids, the values that they name."""
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault(tuple(sorted(row)), []).append(row)
    for names, same in alike.items():
        statement = _update(table, names, connection.dialect.name)
        connection.execute(statement, _given(connection, names, same))


def add_up(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Add sums to those of the same keys, in the order they are given; of `shortest_ms` and `longest_ms` the further one stays."""
    names = tuple(one.name for one in table.columns)
    connection.execute(_addition(table, names, connection.dialect.name), _given(connection, names, rows))


def _given(connection: Connection, names: Sequence[str], rows: Sequence[Row]) -> Any:
    if connection.dialect.name == POSTGRES:
        return {_ROWS: dumps(rows).decode()}
    bound = [(name, _ONE + name) for name in names]
    return [{one: row.get(name) for name, one in bound} for row in rows]


def _rows(table: Table, names: Sequence[str]) -> Any:
    """Return the relation that Postgres reads what it is given as."""
    given = func.json_to_recordset(cast(bindparam(_ROWS, type_=Text), JSON))
    columns = (column(name, table.c[name].type) for name in names)
    return given.table_valued(*columns, name="given").render_derived(with_types=True)


def _insertion(table: Table, names: Sequence[str], dialect: str) -> Any:
    if dialect == POSTGRES:
        return postgresql.insert(table).from_select(names, select(_rows(table, names)))
    return sqlite.insert(table).values({name: bindparam(_ONE + name) for name in names})


@lru_cache(MADE)
def _insertion_of_new(table: Table, names: Sequence[str], dialect: str) -> Any:
    insertion = _insertion(table, names, dialect)
    return insertion.on_conflict_do_nothing(index_elements=["id"]).returning(table.c.id)


@lru_cache(MADE)
def _update(table: Table, names: Sequence[str], dialect: str) -> Any:
    changed = [name for name in names if name != "id"]
    if dialect == POSTGRES:
        given = _rows(table, names)
        new = {name: given.c[name] for name in changed}
        return update(table).where(table.c.id == given.c.id).values(new)
    one: dict[str, Any] = {name: bindparam(_ONE + name) for name in changed}
    return update(table).where(table.c.id == bindparam(_ONE + "id")).values(one)


@lru_cache(MADE)
def _addition(table: Table, names: Sequence[str], dialect: str) -> Any:
    insertion = _insertion(table, names, dialect)
    keys = [one.name for one in table.primary_key]
    new = {
        one.name: _together(one.name, one, insertion.excluded[one.name])
        for one in table.columns
        if one.name not in keys
    }
    return insertion.on_conflict_do_update(index_elements=keys, set_=new)


def _together(name: str, old: Any, new: Any) -> Any:
    is_further = {"shortest_ms": new < old, "longest_ms": new > old}.get(name)
    if is_further is None:
        return old + new
    return case((old.is_(None), new), (is_further, new), else_=old)
