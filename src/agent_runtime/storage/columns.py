"""Columns and indexes as all tables have them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, Text, TextClause, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.types import TypeEngine

Time: TypeEngine[Any] = BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")
"""Whole microseconds since 1970 on SQLite, TIMESTAMPTZ on Postgres."""
Json: TypeEngine[Any] = Text().with_variant(JSONB(), "postgresql")
Serial: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")


def required(name: str, kind: TypeEngine[Any] | type, default: str | None = None) -> Column[Any]:
    """Return a column without NULL."""
    return Column(name, kind, nullable=False, server_default=None if default is None else text(default))


def partial_index(name: str, *columns: str | TextClause, where: str, unique: bool = False) -> Index:
    """Return an index of some of a table's rows."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))
