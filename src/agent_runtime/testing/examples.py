"""Values for contract suites to store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TypedDict, Unpack

from agent_runtime.ports.commit import Commit, CommitFields
from agent_runtime.ports.due import DueJob
from agent_runtime.ports.ids import new_id
from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.context import BudgetSpec, PolicyRef, RunVersions
from agent_runtime.values.job import InheritedBudget, JobRecord, JobStatus, OnParentEnd
from agent_runtime.values.retry_policy import RetryPolicy

NOW = datetime(2026, 3, 29, 0, 59, 59, 123456, tzinfo=UTC)


class JobFields(TypedDict, total=False):
    """What suites say of a job: fields of `JobRecord`."""

    job_id: str
    operator: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    deadline: datetime | None
    origin: str
    seed: str
    chain_id: str
    predecessor_id: str | None
    scope_id: str
    principal_id: str | None
    session_id: str | None
    run_id: str | None
    parent_job_id: str | None
    parent_operation_id: str | None
    on_parent_end: OnParentEnd
    identity: str | None
    idempotency_key: str | None
    request_hash: str | None
    queue: str
    priority: int
    depth: int
    status: JobStatus
    budgets: BudgetSpec | None
    inherited_budgets: tuple[InheritedBudget, ...]
    policy_ref: PolicyRef | None
    retry: RetryPolicy | None
    versions: RunVersions | None
    metadata: Mapping[str, object]
    tags: Mapping[str, str]


class ActionFields(TypedDict, total=False):
    """What suites say of an action: fields of `ActionRecord`."""

    action_id: str
    type: str
    created_at: datetime
    token_hash: str | None
    resume_token: str | None
    resume_tokens: Mapping[str, str]
    status: ActionStatus
    scope_id: str
    operation_id: str | None
    argument_hash: str | None
    payload: Mapping[str, object]
    expires_at: datetime | None
    approvers: tuple[str, ...] | None
    quorum: int
    argument_schema: Mapping[str, object] | None
    default_resolution: Mapping[str, object] | None
    metadata: Mapping[str, object]


def job(**values: Unpack[JobFields]) -> JobRecord:
    """Return a queued job with an operator."""
    fields: JobFields = {
        "job_id": new_id("job"),
        "operator": "op",
        "created_at": NOW,
        "updated_at": NOW,
        **values,
    }
    return JobRecord(**fields)


def commit(at: datetime = NOW, **values: Unpack[CommitFields]) -> Commit:
    """Return a commit with a fresh id."""
    return Commit(at=at, **values)


def action(job_id: str | None = None, **values: Unpack[ActionFields]) -> ActionRecord:
    """Return a pending action."""
    fields: ActionFields = {
        "action_id": new_id("act"),
        "type": "confirm",
        "created_at": NOW,
        "token_hash": new_id("hash"),
        **values,
    }
    return ActionRecord(job_id=job_id, **fields)


def pairs(due: Iterable[DueJob]) -> list[tuple[str, int]]:
    """Return ids and priorities of due jobs."""
    return [(job.job_id, job.priority) for job in due]
