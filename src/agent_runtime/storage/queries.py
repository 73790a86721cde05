"""Lists and filters, for every SQL back end: conditions are put together from what is asked for, values are parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from agent_runtime.storage import rows
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.budget import LedgerFilter
from agent_runtime.values.job import JobFilter

JOBS: Final = f"SELECT {', '.join(rows.JOB)} FROM runtime_jobs"  # noqa: S608 -- names from `rows`
JOB_IDS: Final = "SELECT job_id FROM runtime_jobs"
ACTIONS: Final = f"SELECT {', '.join(rows.ACTION)} FROM runtime_actions"  # noqa: S608
ACTION_IDS: Final = "SELECT action_id FROM runtime_actions"
LONG_IN_JOBS: Final = ("metadata", "tags")
LONG_IN_ACTIONS: Final = (
    "payload",
    "resolution",
    "default_resolution",
    "votes",
    "argument_schema",
    "metadata",
)
"""Columns in which a caller's JSON stands."""
PENDING: Final = """
SELECT count(*), (
  SELECT created_at FROM runtime_actions WHERE status = 'pending' ORDER BY action_id LIMIT 1
) FROM runtime_actions WHERE status = 'pending'
"""
"""An index knows the number; the oldest is the first of them, since ids grow with time."""
_LEDGER: Final = f"SELECT {', '.join(rows.LEDGER)}, id FROM runtime_ledger"  # noqa: S608


def part(table: str, key: str, columns: Collection[str], long: Collection[str]) -> str:
    """Return the statement for the first rows among some, for Postgres: in their order, until their long columns have so many bytes.

    One after the other is looked up, so that what is not returned is not read. Its parameters are the ids and the bytes.
    """
    size = " + ".join(f"coalesce(octet_length({name}::text), 0)" for name in long)
    chosen = ", ".join(f"t.{name}" for name in columns)
    return f"""
    WITH RECURSIVE part (place, bytes) AS (
      SELECT 0, 0::bigint
      UNION ALL
      SELECT p.place + 1, p.bytes + coalesce((SELECT {size} FROM {table} WHERE {key} = ($1::text[])[p.place + 1]), 0)
      FROM part p WHERE p.place < cardinality($1::text[]) AND (p.place = 0 OR p.bytes <= $2::bigint)
    )
    SELECT p.place, {chosen} FROM part p JOIN {table} t ON t.{key} = ($1::text[])[p.place]
    WHERE p.place > 0 AND (p.place = 1 OR p.bytes <= $2::bigint) ORDER BY p.place
    """  # noqa: S608 -- names of our own


class Dialect(NamedTuple):
    """What one back end writes differently."""

    parameter: Callable[[int], str]
    """The place of the parameter with this number, counted from 1."""
    stored: Callable[[Any], object]
    """A value as it is stored."""
    has_tag: str
    """The condition that a job has a tag, with `{}` for its name and `{}` for its value."""


class Query(NamedTuple):
    """A statement and its parameters, in order."""

    text: str
    parameters: list[object]


class _Conditions:
    """Conditions that all hold. They stand in the order of their parameters, which is all that some back ends go by."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._texts: list[str] = []
        self._parameters: list[object] = []

    def add(self, condition: str, *values: object) -> None:
        """Demand a condition with a `{}` for each of its values."""
        self._texts.append(condition.format(*map(self._parameter, values)))

    def equal(self, **columns: object) -> None:
        """Demand what columns hold; `None` demands nothing."""
        for column, value in columns.items():
            if value is not None:
                self.add(f"{column} = {{}}", value)

    def query(self, select: str, order: str = "", limit: int | None = None) -> Query:
        """Return the statement."""
        where = f" WHERE {' AND '.join(self._texts)}" if self._texts else ""
        first = "" if limit is None else f" LIMIT {self._parameter(limit)}"
        return Query(f"{select}{where}{order}{first}", self._parameters)

    def _parameter(self, value: object) -> str:
        self._parameters.append(self._dialect.stored(value))
        return self._dialect.parameter(len(self._parameters))


def list_jobs(wanted: JobFilter, dialect: Dialect, select: str = JOBS, more: int = 0) -> Query:
    """Select jobs, or their ids, newest first, and some more than were asked for."""
    conditions = _of_jobs(wanted, dialect)
    if wanted.before is not None:
        conditions.add("job_id < {}", wanted.before)
    return conditions.query(select, " ORDER BY job_id DESC", wanted.limit + more)


def count_jobs(wanted: JobFilter, dialect: Dialect) -> Query:
    """Count jobs."""
    return _of_jobs(wanted, dialect).query("SELECT count(*) FROM runtime_jobs")


def _of_jobs(wanted: JobFilter, dialect: Dialect) -> _Conditions:
    conditions = _Conditions(dialect)
    columns = ("scope_id", "principal_id", "session_id", "parent_job_id", "operator")
    conditions.equal(**{column: getattr(wanted, column) for column in columns})
    if wanted.chain_id is not None:  # an index knows all but the first
        later = "(job_id = {} OR (chain_id = {} AND predecessor_id IS NOT NULL))"
        conditions.add(later, wanted.chain_id, wanted.chain_id)
    if wanted.status is not None:
        values = sorted(str(status) for status in wanted.status)
        conditions.add(f"status IN ({', '.join(['{}'] * len(values))})" if values else "1 = 0", *values)
    if wanted.since is not None:
        conditions.add("created_at >= {}", wanted.since)
    for tag in sorted(wanted.tags.items()):
        conditions.add(dialect.has_tag, *tag)
    return conditions


def list_actions(
    dialect: Dialect,
    *,
    scope_id: str | None,
    job_id: str | None,
    status: ActionStatus | None,
    limit: int,
    before: str | None,
    select: str = ACTIONS,
) -> Query:
    """Select actions, or their ids, newest first."""
    conditions = _Conditions(dialect)
    conditions.equal(scope_id=scope_id, job_id=job_id, status=None if status is None else status.value)
    if before is not None:
        conditions.add("action_id < {}", before)
    return conditions.query(select, " ORDER BY action_id DESC", limit)


def list_ledger(wanted: LedgerFilter, dialect: Dialect) -> Query:
    """Select ledger entries in the order they were written."""
    conditions = _Conditions(dialect)
    columns = ("scope_id", "job_id", "principal_id", "type")
    conditions.equal(**{column: getattr(wanted, column) for column in columns}, event_id=wanted.entry_id)
    if wanted.since is not None:
        conditions.add("timestamp >= {}", wanted.since)
    if wanted.until is not None:
        conditions.add("timestamp < {}", wanted.until)
    if wanted.corrections:
        conditions.add("status = 'adjusted'")  # said as the index says it
    if isinstance(wanted.after, int):
        conditions.add("id > {}", wanted.after)
    elif wanted.after is not None:
        scope_id, entry_id = wanted.after
        before = "id > (SELECT id FROM runtime_ledger WHERE event_id = {} AND scope_id = {})"
        conditions.add(before, entry_id, scope_id)
    return conditions.query(_LEDGER, " ORDER BY id", wanted.limit)
