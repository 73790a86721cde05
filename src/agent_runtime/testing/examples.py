"""Values for contract suites to store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from agent_runtime.ports.commit import Commit
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.journal import DueJob
from agent_runtime.values.action import ActionRecord
from agent_runtime.values.job import JobRecord

NOW = datetime(2026, 3, 29, 0, 59, 59, 123456, tzinfo=UTC)


def job(**values: Any) -> JobRecord:
    """Return a queued job with an operator."""
    fields = {"job_id": new_id("job"), "operator": "op", "created_at": NOW, "updated_at": NOW, **values}
    return JobRecord(**fields)


def commit(**values: Any) -> Commit:
    """Return a commit with a fresh id."""
    return Commit(**{"at": NOW, **values})


def action(job_id: str | None = None, **values: Any) -> ActionRecord:
    """Return a pending action."""
    fields = {"action_id": new_id("act"), "type": "confirm", "created_at": NOW, "token_hash": new_id("hash")}
    return ActionRecord(**{**fields, "job_id": job_id, **values})


def pairs(due: Iterable[DueJob]) -> list[tuple[str, int]]:
    """Return ids and priorities of due jobs."""
    return [(job.job_id, job.priority) for job in due]
