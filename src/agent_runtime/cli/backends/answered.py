"""The runtime's own values, made of what a service answers: what is printed of them knows no difference."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from agent_runtime.client import models
from agent_runtime.client.key_models import Key
from agent_runtime.values.action import ActionRecord
from agent_runtime.values.api_key import ApiKey
from agent_runtime.values.budget import LedgerEntry
from agent_runtime.values.content import encode
from agent_runtime.values.context import BudgetSpec
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord
from agent_runtime.values.standing_budget import Budget, BudgetLine, BudgetStatus, WindowKind

if TYPE_CHECKING:
    from agent_runtime.kernel.request import ExecutionResult
    from agent_runtime.ledger.totals import UsageTotal


def job_of(job: models.Job) -> JobRecord:
    """Return a job."""
    told = {
        name: getattr(job, name)
        for name in models.Job.model_fields
        if name not in ("standing", "budgets", "left_out")
    }
    return JobRecord(**told, budgets=None if job.budgets is None else BudgetSpec.from_dict(job.budgets))


def action_of(action: models.Action) -> ActionRecord:
    """Return a question."""
    told = {name: getattr(action, name) for name in models.Action.model_fields if name != "left_out"}
    told["approvers"] = None if action.approvers is None else tuple(action.approvers)
    told["votes"] = tuple(vote.model_dump() for vote in action.votes)
    return ActionRecord(**told)


def event_of(event: models.Event) -> RuntimeEvent:
    """Return an event."""
    told = {name: getattr(event, name) for name in models.Event.model_fields if name != "content"}
    return RuntimeEvent(**told, content=None if event.content is None else encode(event.content))


def key_of(key: Key) -> ApiKey:
    """Return what may be known of a key."""
    return ApiKey(**{name: getattr(key, name) for name in Key.model_fields})


def entry_of(entry: models.Entry) -> LedgerEntry:
    """Return an entry of the ledger."""
    beside = {"service_tier": entry.service_tier, "was": entry.was}
    told = {name: getattr(entry, name) for name in models.Entry.model_fields if name not in beside}
    return LedgerEntry(**told, metadata={name: value for name, value in beside.items() if value is not None})


def status_of(budget: models.Budget) -> BudgetStatus:
    """Return where a budget stands."""
    return BudgetStatus(
        budget=Budget.from_dict(budget.budget), lines=tuple(_line_of(line) for line in budget.lines)
    )


def _line_of(line: models.BudgetLine) -> BudgetLine:
    def amount(value: int | Decimal) -> int | Decimal:
        return Decimal(value) if line.quantity == "cost" else int(value)

    return BudgetLine(
        quantity=line.quantity,
        window=WindowKind(line.window),
        starts_at=line.starts_at,
        ends_at=line.ends_at,
        limit=amount(line.limit),
        settled=amount(line.settled),
        reserved=amount(line.reserved),
    )


def result_of(result: models.Result) -> ExecutionResult:
    """Return what a job gave that has succeeded."""
    from agent_runtime.kernel.request import ExecutionResult

    return ExecutionResult(
        job_id=result.job_id,
        status=result.status,
        content=result.content or "",
        output=result.output,
        turns=result.turns or 0,
        artifacts=tuple(result.artifacts),
    )


def total_of(spent: models.Spent) -> UsageTotal:
    """Return a sum of entries."""
    from agent_runtime.ledger.totals import UsageTotal

    return UsageTotal(**spent.model_dump())
