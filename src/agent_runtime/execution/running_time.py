"""How long a job may still run: `max_runtime_seconds`, of which waits in storage use up nothing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from llm_client.json_text import JsonValue

if TYPE_CHECKING:
    from agent_runtime.execution.job_run import JobRun

_LEFT: Final = "runtime_left"
"""In `job.created`: what those before it in its chain, and those above it, have left of theirs, in seconds."""


def seconds_left(run: JobRun, now: datetime) -> float | None:
    """Return how long a job may still run, zero at least; `None` for any time."""
    created, budgets = run.history.created, run.job.budgets
    limits = [
        limit
        for limit in (
            None if created is None else created.data.get(_LEFT),
            None if budgets is None else budgets.max_runtime_seconds,
        )
        if limit is not None
    ]
    return max(0.0, min(limits) - run.history.active_seconds(now)) if limits else None


def handed_on(run: JobRun, now: datetime) -> dict[str, JsonValue]:
    """Return what `job.created` says to a child, or to the job that goes on in this one's place."""
    left = seconds_left(run, now)
    return {} if left is None else {_LEFT: round(left, 3)}
