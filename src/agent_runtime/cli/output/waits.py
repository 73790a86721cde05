"""What a job waits for besides people's answers, as its journal tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from agent_runtime.cli.output.amounts import moment
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType

_OVER: Final = frozenset(
    {
        RuntimeEventType.TIMER_FIRED,
        RuntimeEventType.MESSAGE_RECEIVED,
        RuntimeEventType.CHILD_ENDED,
        RuntimeEventType.WAIT_WITHDRAWN,
    }
)
_TOLD: Final = {
    "worker": "a worker that executes it",
    "budget": "room in a budget",
    "retry": "the end of an outage",
}
"""Waits of the whole job, which no operation has begun."""


def waits_of(events: Iterable[RuntimeEvent]) -> list[str]:
    """Return what a job that has not ended waits for, in the order it was asked for: times, messages, other jobs, outages, budgets."""
    waits: dict[str, str] = {}
    whole: list[str] = []
    for event in events:
        data, operation = event.data, event.operation_id or ""
        if event.type == RuntimeEventType.TIMER_SET:
            waits[operation] = f"the time {_moment(data.get('due_at'))}"
        elif event.type == RuntimeEventType.MESSAGE_AWAITED:
            waits[operation] = f"a message to {data.get('name')}"
        elif event.type == RuntimeEventType.CHILD_STARTED:
            waits[operation] = f"the end of {data.get('child_job_id')} ({data.get('name')})"
        elif event.type in _OVER:
            waits.pop(operation, None)
        elif event.type == RuntimeEventType.JOB_SUSPENDED:
            whole = [_told(kind, data) for kind in data.get("waits", ()) if kind in _TOLD]
        elif event.type in (RuntimeEventType.JOB_STARTED, RuntimeEventType.JOB_RESUMED):
            whole = []
    return [*waits.values(), *whole]


def _told(kind: str, data: Mapping[str, Any]) -> str:
    reason = data.get("reason")
    return f"{_TOLD[kind]}: {reason}" if reason else _TOLD[kind]


def _moment(text: object) -> str:
    try:
        return moment(datetime.fromisoformat(str(text)))
    except ValueError:
        return str(text)
