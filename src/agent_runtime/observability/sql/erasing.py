"""Taking somebody's content out of the logs. What was counted stays, under a pseudonym."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, case, or_, select, update

from agent_runtime.observability.sql.database import database_of
from agent_runtime.observability.sql.ids import run_row
from agent_runtime.observability.sql.retention import forget
from agent_runtime.observability.sql.tables import CONTENT, execution_logs, llm_call_logs, metadata
from agent_runtime.observability.sql.texts import stored_id
from agent_runtime.ports.erasure import ErasedSubject

CHUNK: Final = 200
_TOO: Final = {
    execution_logs: ("action_type", "operation_id", "external_user_id", "external_platform"),
    llm_call_logs: ("operation_id",),
}
"""Columns beside the content that may name somebody."""


class LogEraser:
    """Empties the rows of jobs, and of a person's or a session's executions and calls: times, models, tokens and costs stay.

    Args:
        db: Where the logs stand: a storage, an SQLAlchemy engine, an `AsyncEngine` or an `AsyncSession`.
    """

    name = "rows of logs"
    tables = frozenset(metadata.tables)

    def __init__(self, db: object) -> None:
        self._database = database_of(db)

    async def erase(self, subject: ErasedSubject) -> int:
        """Take content away, and return of how many rows."""
        gone = 0
        for table in (execution_logs, llm_call_logs):
            meant = _meant(table, subject)
            if meant is None:
                continue
            after = ""
            while True:
                step = partial(_empty, table=table, meant=meant, after=after, pseudonym=subject.pseudonym)
                ids = await self._database.run(step)
                gone += len(ids)
                if len(ids) < CHUNK:
                    break
                after = ids[-1]
        return gone

    async def prune_content(self, *, before: datetime) -> int:
        """Take the texts of what began before a moment away, and return of how many rows."""
        return sum(await forget(self._database, before, None, only_content=True))

    async def aclose(self) -> None:
        """Close what was opened for it."""
        await self._database.aclose()


def _meant(table: Table, subject: ErasedSubject) -> ColumnElement[bool] | None:
    conditions: list[ColumnElement[bool]] = []
    if subject.job_ids:
        if table is execution_logs:
            conditions.append(table.c.execution_id.in_(subject.job_ids))
        else:
            conditions.append(table.c.execution_log_id.in_(list(map(run_row, subject.job_ids))))
    if subject.principal_id is not None:
        conditions.append(table.c.principal_id == stored_id(subject.principal_id))
    if subject.session_id is not None:
        conditions.append(table.c.session_id == stored_id(subject.session_id))
    return (table.c.scope_id == subject.scope_id) & or_(*conditions) if conditions else None


def _empty(
    connection: Connection, table: Table, meant: ColumnElement[bool], after: str, pseudonym: str
) -> list[str]:
    query = select(table.c.id).where(meant).order_by(table.c.id).limit(CHUNK)
    if after:
        query = query.where(table.c.id > after)
    ids = [str(one) for one in connection.execute(query).scalars()]
    values: dict[str, object] = dict.fromkeys((*CONTENT[table], *_TOO[table]))
    for name in ("principal_id", "session_id"):
        values[name] = case((table.c[name].is_(None), None), else_=pseudonym)
    connection.execute(update(table).where(table.c.id.in_(ids)).values(values))
    return ids
