"""Between values and table rows: the columns in order, what kind each is, and how records are built from them.

Back ends turn the kinds `time` and `json` into what their driver takes; everything else goes through as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

import orjson

from agent_runtime.ports.commit import StoredPolicy
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.values.action import ActionRecord, ActionStatus
from agent_runtime.values.budget import LedgerEntry
from agent_runtime.values.context import BudgetSpec, PolicyRef, RunVersions
from agent_runtime.values.job import InheritedBudget, JobRecord, JobStatus
from agent_runtime.values.message import InboxMessage, Receiver
from agent_runtime.values.money import to_dollars
from agent_runtime.values.retry_policy import RetryPolicy
from agent_runtime.values.standing_budget import Budget
from agent_runtime.values.waits import WaitSet

Kind = Literal["plain", "time", "json"]
Columns = Mapping[str, Kind]


def _columns(names: str) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {"t": "time", "j": "json", "": "plain"}
    return {name: kinds[kind] for name, _, kind in (word.partition(":") for word in names.split())}


JOB: Columns = _columns(
    "job_id origin seed chain_id predecessor_id successor_id scope_id principal_id session_id run_id identity parent_job_id parent_operation_id on_parent_end idempotency_key request_hash "
    "operator queue priority depth status created_at:t updated_at:t started_at:t completed_at:t deadline:t progress "
    "budgets:j inherited_budgets:j policy_ref:j retry:j versions:j metadata:j tags:j result_ref error error_code "
    "fence owner last_seq deaths lone_deaths open_claim failed_versions retry_at:t"
)
EVENT: Columns = _columns("seq type at:t operation_id data:j content")
WAIT: Columns = _columns("job_id set_number position operation_id ends_with_failure")
MESSAGE: Columns = _columns(
    "message_id scope_id identity position priority dedupe_key sent_at:t claimed_by claimed_at:t content"
)
RECEIVER: Columns = _columns("job_id operation_id scope_id identity")
TIMER: Columns = _columns("job_id key due_at:t type operation_id data:j")
ACTION: Columns = _columns(
    "action_id type job_id scope_id operation_id argument_hash payload:j status created_at:t expires_at:t "
    "resolved_at:t resolved_by resolution:j default_resolution:j approvers:j quorum votes:j argument_schema:j "
    "metadata:j token_hash"
)
TOKEN: Columns = _columns("token_hash action_id approver")
LEDGER: Columns = _columns(
    "event_id type job_id scope_id principal_id session_id run_id agent provider model tool_name input_tokens "
    "output_tokens cached_tokens cache_write_tokens reasoning_tokens cost_units price_source status uncertain "
    "duration_ms timestamp:t metadata:j"
)
CURSOR: Columns = _columns("name position fence holder held_until:t updated_at:t")
BUDGET: Columns = _columns("budget_id scope_id limits:j updated_at:t")
POLICY: Columns = _columns("name version document:j created_at:t")
WORKER: Columns = _columns("worker_id queues:j operators:j started_at:t heartbeat_at:t info:j")


def wait_rows(job_id: str, sets: Sequence[WaitSet]) -> list[list[object]]:
    """Return the rows of what a suspended job waits for, in the order of `WAIT`."""
    return [
        [job_id, number, position, operation_id, one.ends_with_failure]
        for number, one in enumerate(sets)
        for position, operation_id in enumerate(one.operation_ids)
    ]


def message_row(message: InboxMessage) -> list[object]:
    """Return a message's column values, in the order of `MESSAGE`."""
    return [getattr(message, name) for name in MESSAGE]


def message_record(row: Iterable[object]) -> InboxMessage:
    """Build a message from its column values."""
    values: dict[str, Any] = dict(zip(MESSAGE, row, strict=True))
    return InboxMessage(**values)


def receiver_row(receiver: Receiver) -> list[object]:
    """Return a receiver's column values, in the order of `RECEIVER`."""
    return [receiver.job_id, receiver.operation_id, *receiver.address]


def job_row(job: JobRecord) -> list[object]:
    """Return a job's column values, in the order of `JOB`."""
    row = {name: getattr(job, name) for name in JOB}
    row["budgets"] = None if job.budgets is None else job.budgets.to_dict()
    row["inherited_budgets"] = [[b.budget_id, b.spec.to_dict()] for b in job.inherited_budgets] or None
    row["policy_ref"] = None if job.policy_ref is None else asdict(job.policy_ref)
    row["retry"] = None if job.retry is None else job.retry.to_dict()
    row["versions"] = None if job.versions is None else asdict(job.versions)
    row["failed_versions"] = failed_versions_text(job.failed_versions)
    return list(row.values())


def failed_versions_text(versions: Sequence[str]) -> str | None:
    """Return the versions under which a job has failed as they are stored."""
    return orjson.dumps(versions).decode() if versions else None


def job_record(row: Iterable[object]) -> JobRecord:
    """Build a job from its column values."""
    values: dict[str, Any] = dict(zip(JOB, row, strict=True))
    values["status"] = JobStatus(values["status"])
    values["failed_versions"] = tuple(orjson.loads(values["failed_versions"] or "[]"))
    if values["budgets"] is not None:
        values["budgets"] = BudgetSpec.from_dict(values["budgets"])
    values["inherited_budgets"] = tuple(
        InheritedBudget(budget_id=budget_id, spec=BudgetSpec.from_dict(spec))
        for budget_id, spec in values["inherited_budgets"] or ()
    )
    if values["policy_ref"] is not None:
        values["policy_ref"] = PolicyRef(**values["policy_ref"])
    if values["retry"] is not None:
        values["retry"] = RetryPolicy.from_dict(values["retry"])
    if values["versions"] is not None:
        values["versions"] = RunVersions(**values["versions"])
    return JobRecord(**values)


def action_row(action: ActionRecord) -> list[object]:
    """Return an action's column values, in the order of `ACTION`."""
    return [getattr(action, name) for name in ACTION]


def action_record(row: Iterable[object]) -> ActionRecord:
    """Build an action from its column values."""
    values: dict[str, Any] = dict(zip(ACTION, row, strict=True))
    values["status"] = ActionStatus(values["status"])
    values["approvers"] = None if values["approvers"] is None else tuple(values["approvers"])
    values["votes"] = tuple(values["votes"])
    return ActionRecord(**values)


def ledger_row(entry: LedgerEntry) -> list[object]:
    """Return a ledger entry's column values, in the order of `LEDGER`."""
    names = {"event_id": "entry_id", "cost_units": "units"}
    return [getattr(entry, names.get(name, name)) for name in LEDGER]


def ledger_entry(row: Iterable[object], position: int | None = None) -> LedgerEntry:
    """Build a ledger entry from its column values."""
    values: dict[str, Any] = dict(zip(LEDGER, row, strict=True))
    values["entry_id"] = values.pop("event_id")
    units = values.pop("cost_units")
    values["cost"] = None if units is None else to_dollars(units)
    values["uncertain"] = bool(values["uncertain"])
    return LedgerEntry(**values, position=position)


def budget_row(budget: Budget, at: datetime) -> list[object]:
    """Return a standing budget's column values, in the order of `BUDGET`."""
    return [budget.budget_id, budget.scope_id, budget.to_dict(), at]


def policy_row(policy: StoredPolicy, at: datetime) -> list[object]:
    """Return a policy version's column values, in the order of `POLICY`."""
    return [policy.name, policy.version, dict(policy.document), at]


def worker_row(worker: WorkerRecord) -> list[object]:
    """Return a worker's column values, in the order of `WORKER`."""
    return [getattr(worker, name) for name in WORKER]


def worker_record(row: Iterable[object]) -> WorkerRecord:
    """Build a worker from its column values."""
    values: dict[str, Any] = dict(zip(WORKER, row, strict=True))
    return WorkerRecord(
        **{**values, "queues": tuple(values["queues"]), "operators": tuple(values["operators"])}
    )
