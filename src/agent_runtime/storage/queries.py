"""Lists and filters as SQLAlchemy Core statements, for every SQL back end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, func, literal_column, or_, select

from agent_runtime.storage import rows, schema
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import LedgerFilter
from agent_runtime.values.job import JobFilter


def list_jobs(wanted: JobFilter) -> Select[object]:
    """Select jobs, newest first."""
    table = schema.jobs
    statement = select(*(table.c[name] for name in rows.JOB)).where(*_job_conditions(wanted))
    if wanted.before is not None:
        statement = statement.where(table.c.job_id < wanted.before)
    return statement.order_by(table.c.job_id.desc()).limit(wanted.limit)


def count_jobs(wanted: JobFilter) -> Select[int]:
    """Count jobs."""
    return select(func.count(literal_column("*"))).select_from(schema.jobs).where(*_job_conditions(wanted))


def _job_conditions(wanted: JobFilter) -> list[ColumnElement[bool]]:
    table = schema.jobs
    names = ("scope_id", "principal_id", "session_id", "parent_job_id", "operator")
    conditions = [table.c[name] == value for name in names if (value := getattr(wanted, name)) is not None]
    if wanted.chain_id is not None:  # an index knows all but the first
        later = and_(table.c.chain_id == wanted.chain_id, table.c.predecessor_id.is_not(None))
        conditions.append(or_(table.c.job_id == wanted.chain_id, later))
    if wanted.status is not None:
        conditions.append(table.c.status.in_(sorted(wanted.status)))
    return conditions


def list_actions(
    *, scope_id: str | None, job_id: str | None, status: ActionStatus | None, limit: int, before: str | None
) -> Select[object]:
    """Select actions, newest first."""
    table = schema.actions
    asked = {"scope_id": scope_id, "job_id": job_id, "status": None if status is None else status.value}
    conditions = [table.c[name] == value for name, value in asked.items() if value is not None]
    if before is not None:
        conditions.append(table.c.action_id < before)
    statement = select(*(table.c[name] for name in rows.ACTION)).where(*conditions)
    return statement.order_by(table.c.action_id.desc()).limit(limit)


def list_ledger(
    wanted: LedgerFilter, *, as_stored: Callable[[datetime], object] = lambda at: at
) -> Select[object]:
    """Select ledger entries in the order they were written; `as_stored` turns times into what the back end stores."""
    table = schema.ledger
    asked = {name: getattr(wanted, name) for name in ("scope_id", "job_id", "principal_id", "type")}
    asked["event_id"] = wanted.entry_id
    conditions = [table.c[name] == value for name, value in asked.items() if value is not None]
    if wanted.since is not None:
        conditions.append(table.c.timestamp >= as_stored(wanted.since))
    if wanted.until is not None:
        conditions.append(table.c.timestamp < as_stored(wanted.until))
    if wanted.after is not None:
        scope_id, entry_id = wanted.after
        before = select(table.c.id).where(table.c.event_id == entry_id, table.c.scope_id == scope_id)
        place = before.scalar_subquery()
        conditions.append(table.c.id > place)
    statement = select(*(table.c[name] for name in rows.LEDGER)).where(*conditions)
    return statement.order_by(table.c.id).limit(wanted.limit)
