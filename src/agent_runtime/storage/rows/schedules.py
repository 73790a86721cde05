"""The statements and rows of schedules and their log, the same for both databases but for their parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from agent_runtime.ports.schedules import Fire, FireOutcome, StoredSchedule
from agent_runtime.storage.rows import Columns

SCHEDULE: Final[Columns] = {
    "scope_id": "plain",
    "schedule_id": "plain",
    "revision": "plain",
    "timing": "json",
    "rules": "json",
    "principal_id": "plain",
    "check_name": "plain",
    "content": "plain",
    "next_due": "time",
    "look_at": "time",
    "holder": "plain",
    "last_id": "plain",
    "paused_at": "time",
    "created_at": "time",
    "created_by": "plain",
    "updated_at": "time",
}
FIRE: Final[Columns] = {
    "scope_id": "plain",
    "schedule_id": "plain",
    "due_at": "time",
    "last_due_at": "time",
    "count": "plain",
    "outcome": "plain",
    "reason": "plain",
    "decided_at": "time",
    "started_id": "plain",
}
_IS_OPEN: Final = "outcome IN ('pending', 'firing')"
_SCHEDULES: Final = f"SELECT {', '.join(SCHEDULE)} FROM runtime_schedules"  # noqa: S608 -- names of our own
_FIRES: Final = f"SELECT {', '.join(FIRE)} FROM runtime_fires"  # noqa: S608
_OF_SCHEDULE: Final = "WHERE scope_id = {scope} AND schedule_id = {schedule}"

ONE: Final = f"{_SCHEDULES} {_OF_SCHEDULE}"
LOCK: Final = f"SELECT revision FROM runtime_schedules {_OF_SCHEDULE}"  # noqa: S608
DELETE: Final = f"DELETE FROM runtime_schedules {_OF_SCHEDULE}"  # noqa: S608
ALL: Final = (
    f"{_SCHEDULES} WHERE (scope_id, schedule_id) > ({{scope}}, {{schedule}}) "
    "ORDER BY scope_id, schedule_id LIMIT {limit}"
)
OF_SCOPE: Final = f"{_SCHEDULES} WHERE scope_id = {{scope}} AND schedule_id > {{schedule}} ORDER BY schedule_id LIMIT {{limit}}"
COUNT: Final = """
SELECT count(*) FROM (SELECT 1 FROM runtime_schedules WHERE scope_id = {scope} LIMIT {limit}) AS found
"""
_KNOWN: Final = "(check_name IS NULL OR check_name {among})"
DUE: Final = f"{_SCHEDULES} WHERE look_at <= {{now}} AND {_KNOWN} ORDER BY look_at LIMIT {{limit}}"
NEXT: Final = f"""
SELECT look_at FROM runtime_schedules WHERE look_at IS NOT NULL AND {_KNOWN} ORDER BY look_at LIMIT 1
"""  # noqa: S608
FIRES: Final = f"{_FIRES} {_OF_SCHEDULE} AND due_at < {{before}} ORDER BY due_at DESC LIMIT {{limit}}"
NEWEST: Final = f"{_FIRES} {_OF_SCHEDULE} ORDER BY due_at DESC LIMIT {{limit}}"
OPEN: Final = f"{_FIRES} {_OF_SCHEDULE} AND {_IS_OPEN} ORDER BY due_at LIMIT {{limit}}"
FIRED: Final = f"""
SELECT count(*) FROM runtime_fires {_OF_SCHEDULE} AND due_at >= {{since}} AND outcome IN ('fired', 'firing')
"""  # noqa: S608
PUT_FIRE: Final = """
ON CONFLICT (scope_id, schedule_id, due_at) DO UPDATE SET outcome = excluded.outcome, reason = excluded.reason,
  decided_at = excluded.decided_at, started_id = excluded.started_id
WHERE runtime_fires.outcome IN ('pending', 'firing')
"""
SKIP_OPEN: Final = f"""
UPDATE runtime_fires SET outcome = 'skipped', reason = 'it was removed', decided_at = {{at}} {_OF_SCHEDULE} AND {_IS_OPEN}
"""  # noqa: S608


def schedule_row(schedule: StoredSchedule) -> list[object]:
    """Return a schedule's column values, in the order of `SCHEDULE`."""
    return [getattr(schedule, name) for name in SCHEDULE]


def schedule_record(row: Iterable[object]) -> StoredSchedule:
    """Build a schedule from its column values."""
    values: dict[str, Any] = dict(zip(SCHEDULE, row, strict=True))
    return StoredSchedule(**values)


def fire_row(fire: Fire) -> list[object]:
    """Return a time's column values, in the order of `FIRE`."""
    return [getattr(fire, name) for name in FIRE]


def fire_record(row: Iterable[object]) -> Fire:
    """Build a time from its column values."""
    values: dict[str, Any] = dict(zip(FIRE, row, strict=True))
    return Fire(**{**values, "outcome": FireOutcome(values["outcome"])})
