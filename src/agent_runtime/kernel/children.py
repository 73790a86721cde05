"""Child jobs: jobs that belong to a step of another job."""

from __future__ import annotations

from dataclasses import replace

from agent_runtime.kernel.budgets import budgets_for_child
from agent_runtime.kernel.run import JobRun
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.journal import NewEvent
from agent_runtime.values.context import BudgetSpec
from agent_runtime.values.event import JOURNAL_FORMAT, RuntimeEventType
from agent_runtime.values.job import JobRecord, JobStatus


def child_job(
    run: JobRun,
    operator: str,
    content: bytes,
    *,
    operation_id: str,
    budgets: BudgetSpec | None = None,
) -> tuple[JobRecord, NewEvent]:
    """Build a child with its parent's scope, people, policy and budgets, and the first entry of its journal."""
    parent, now = run.job, run.services.clock.now()
    record = JobRecord(
        job_id=new_id("job"),
        scope_id=parent.scope_id,
        principal_id=parent.principal_id,
        session_id=parent.session_id,
        run_id=parent.run_id,
        parent_job_id=parent.job_id,
        parent_operation_id=operation_id,
        operator=operator,
        queue=parent.queue,
        priority=parent.priority,
        depth=parent.depth + 1,
        created_at=now,
        updated_at=now,
        budgets=budgets,
        inherited_budgets=budgets_for_child(parent),
        policy_ref=parent.policy_ref,
        versions=parent.versions,
        tags=parent.tags,
    )
    data = {"format": JOURNAL_FORMAT, "operator": operator, "parent_job_id": parent.job_id}
    return record, NewEvent(RuntimeEventType.JOB_CREATED, None, data, content)


def successor_job(run: JobRun, content: bytes) -> tuple[JobRecord, NewEvent]:
    """Build the job that goes on in place of `run`'s: the same in everything but its input and its journal."""
    before, now = run.job, run.services.clock.now()
    record = replace(
        before,
        job_id=new_id("job"),
        idempotency_key=None,
        request_hash=None,
        status=JobStatus.QUEUED,
        created_at=now,
        updated_at=now,
        started_at=None,
        progress=0.0,
        inherited_budgets=budgets_for_child(before),
        budgets=None,
        fence=0,
        owner=None,
        last_seq=0,
        starts=0,
    )
    data = {"format": JOURNAL_FORMAT, "operator": before.operator, "continues": before.job_id}
    return record, NewEvent(RuntimeEventType.JOB_CREATED, None, data, content)
