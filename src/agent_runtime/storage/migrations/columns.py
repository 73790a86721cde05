"""Columns and indexes as migrations make them. They stay as they are, whatever becomes of `storage.columns`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

Time = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")
Json = sa.Text().with_variant(JSONB(), "postgresql")


def partial_index(
    name: str, table: str, columns: list[str | sa.TextClause], condition: str, *, unique: bool = False
) -> None:
    """Create an index of the rows for which a condition holds."""
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)
