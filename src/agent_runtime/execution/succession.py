"""Jobs that go on as new ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from agent_runtime.execution.approvals import agreed_by
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.running_time import handed_on
from agent_runtime.ports.commit import NewEvent
from agent_runtime.ports.ids import new_id, new_seed
from agent_runtime.ports.trace_context import TRACEPARENT, belonging_to, own_context
from agent_runtime.values.deaths import OpenClaim
from agent_runtime.values.event import JOURNAL_FORMAT, RuntimeEvent, RuntimeEventType
from agent_runtime.values.job import JobRecord, JobStatus


def in_place_of(before: JobRecord, now: datetime) -> JobRecord:
    """Build a job that goes on in place of another, of which nothing has happened yet; the rest of it is that one's."""
    return replace(
        before,
        job_id=new_id("job"),
        predecessor_id=before.job_id,
        successor_id=None,
        status=JobStatus.QUEUED,
        created_at=now,
        updated_at=now,
        started_at=None,
        fence=0,
        owner=None,
        last_seq=0,
        deaths=0,
        lone_deaths=0,
        open_claim=OpenClaim.NONE,
        failed_versions=(),
    )


def traced_again(first: RuntimeEvent) -> dict[str, str]:
    """Return the span that a retry belongs to, as its first entry says it: that of the job which it retries, else that job's own.

    Args:
        first: The first entry of the job that is retried.
    """
    carried = belonging_to(first.data.get(TRACEPARENT))
    return carried or belonging_to(str(own_context(first.job_id or "")))


def successor_job(run: JobRun, content: bytes) -> tuple[JobRecord, NewEvent]:
    """Build the job that goes on in place of `run`'s: the same in everything but its input, its journal and its names.

    The idempotency key and the budgets are those of the chain: what was spent stays spent, for policies too, and what is
    left of the running time is handed on.
    """
    before, now = run.job, run.services.clock.now()
    job = in_place_of(before, now)
    record = replace(job, origin=job.job_id, seed=new_seed(), progress=0.0, retry_at=None)
    data = {
        "format": JOURNAL_FORMAT,
        "operator": before.operator,
        "continues": before.job_id,
        **handed_on(run, now),
        **belonging_to(run.history.created_data(TRACEPARENT)),
        **agreed_by(run.history),
        **run.history.spent_so_far(),
    }
    return record, NewEvent(RuntimeEventType.JOB_CREATED, None, data, content)
