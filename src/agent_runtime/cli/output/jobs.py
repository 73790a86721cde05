"""A job as people and programs read it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.cli.output.amounts import moment, money
from agent_runtime.cli.output.printable import say
from agent_runtime.values.context import DEFAULT_SCOPE, BudgetSpec
from agent_runtime.values.job import JobRecord
from llm_client.redaction import redact

if TYPE_CHECKING:
    from agent_runtime.kernel.request import ExecutionResult

MAX_VALUE: Final = 2_000
"""Characters of an input or a result that `jobs show` prints."""


def show_head(job: JobRecord, state: str) -> None:
    """Print what stands in a job's row."""
    told = {
        "job": job.job_id,
        "status": state,
        "operator": job.operator or "–",
        "scope": None if job.scope_id == DEFAULT_SCOPE else job.scope_id,
        "principal": job.principal_id,
        "session": job.session_id,
        "identity": job.identity,
        "key": job.idempotency_key,
        "parent": job.parent_job_id,
        "goes on in the place of": job.predecessor_id,
        "goes on as": job.successor_id,
        "created": moment(job.created_at),
        "deadline": None if job.deadline is None or job.status.is_terminal else moment(job.deadline),
        "ended": None if job.completed_at is None else moment(job.completed_at),
        "budget": None if job.budgets is None else _limits(job.budgets),
        "tags": ", ".join(f"{name}={value}" for name, value in sorted(job.tags.items())) or None,
        "error": f"{job.error_code}: {job.error}" if job.error else None,
    }
    for name, value in told.items():
        if value is not None:
            say(f"{name}: {value}")
    if job.metadata:
        show_value("metadata", dict(job.metadata))


def _limits(budgets: BudgetSpec) -> str:
    limits = [
        f"{name} {money(budgets.max_cost) if name == 'max_cost' else value}"
        for name, value in budgets.to_dict().items()
    ]
    return ", ".join(limits) or "none"


def show_value(heading: str, value: object) -> None:
    """Print a value without its secrets under a heading, on one line; what is long is cut, and says so."""
    text = written(redact(value))
    cut = f"… ({len(text):,} characters; --json prints all of them)" if len(text) > MAX_VALUE else ""
    say(f"{heading}: {text[:MAX_VALUE]}{cut}")


def written(value: object) -> str:
    """Return a text as it is, and every other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def answer_of(result: ExecutionResult) -> str:
    """Return what a job has answered: its text, or its output as JSON where it has no text."""
    return result.content or ("" if result.output is None else written(result.output))


def job_json(job: JobRecord, state: str) -> dict[str, Any]:
    """Return a job's row as JSON values."""

    def text(value: Any) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "job_id": job.job_id,
        "status": str(job.status),
        "standing": state,
        "operator": job.operator,
        "scope_id": job.scope_id,
        "principal_id": job.principal_id,
        "session_id": job.session_id,
        "identity": job.identity,
        "idempotency_key": job.idempotency_key,
        "queue": job.queue,
        "priority": job.priority,
        "parent_job_id": job.parent_job_id,
        "predecessor_id": job.predecessor_id,
        "successor_id": job.successor_id,
        "created_at": text(job.created_at),
        "started_at": text(job.started_at),
        "completed_at": text(job.completed_at),
        "deadline": text(job.deadline),
        "progress": job.progress,
        "budgets": None if job.budgets is None else job.budgets.to_dict(),
        "tags": dict(job.tags),
        "metadata": dict(job.metadata),
        "error": job.error,
        "error_code": job.error_code,
        "last_seq": job.last_seq,
    }
