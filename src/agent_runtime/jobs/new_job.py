"""The row of a job that somebody has asked for: made in one way for kernels and for managers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from agent_runtime.ports.ids import new_id
from agent_runtime.values.job import JobRecord
from agent_runtime.values.retry_policy import RetryPolicy

_TAKEN: Final = (
    "scope_id",
    "principal_id",
    "session_id",
    "run_id",
    "idempotency_key",
    "budgets",
    "policy_ref",
    "versions",
)


def new_job(
    asked: object,
    now: datetime,
    *,
    operator: str | None = None,
    hashed: str | None = None,
    parent_job_id: str | None = None,
    seed: str = "",
    identity: str | None = None,
    queue: str = "default",
    priority: int = 0,
    retry: RetryPolicy | None = None,
) -> JobRecord:
    """Build the record of a new job.

    Args:
        asked: A `JobSpec` or an `ExecutionRequest`.
        now: When it is made.
        operator: The name of what is executed, if something is.
        hashed: What two requests under one idempotency key have in common, as `request_hash` gives it.
        parent_job_id: The job that it belongs to.
        seed: Where what it draws by chance comes from.
        identity: Whose messages it receives.
        queue: Where it waits for a worker.
        priority: Higher runs first.
        retry: What outages mean to it.
    """
    values: Any = asked
    seconds = values.deadline_seconds
    return JobRecord(
        job_id=new_id("job"),
        request_hash=hashed,
        operator=operator,
        created_at=now,
        updated_at=now,
        deadline=None if seconds is None else now + timedelta(seconds=seconds),
        metadata=dict(values.metadata),
        tags=dict(values.tags),
        **{name: getattr(values, name) for name in _TAKEN},
        parent_job_id=parent_job_id,
        seed=seed,
        identity=identity,
        queue=queue,
        priority=priority,
        retry=retry,
    )
