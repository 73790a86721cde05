"""What budgets say to something that is going to cost, before anything is set aside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent_runtime.ledger.reservations import ApplicableBudget
from agent_runtime.values.budget import DIMENSIONS, Amount, Counters
from agent_runtime.values.standing_budget import BudgetDecision

_DECISIONS = {
    "deny": BudgetDecision.DENY,
    "wait": BudgetDecision.DENY,
    "degrade": BudgetDecision.DEGRADE,
    "warn": BudgetDecision.WARN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A decision, and the budget it comes from."""

    decision: BudgetDecision = BudgetDecision.ALLOW
    reason: str = ""
    budget_id: str | None = None
    degrade_to: str | None = None


def assess(budgets: Iterable[tuple[ApplicableBudget, Counters]], pending: Amount) -> Assessment:
    """Return the most severe answer of any budget: a warning never hides a refusal."""
    worst = Assessment()
    for budget, counters in budgets:
        found = _assess(budget, counters.settled + counters.reserved, pending)
        if found.decision.severity > worst.decision.severity:
            worst = found
    return worst


def _assess(budget: ApplicableBudget, used: Amount, pending: Amount) -> Assessment:
    exceeded = budget.limits.exceeded_by(used, pending)
    if exceeded is not None:
        limit = getattr(budget.limits, exceeded)
        return Assessment(
            decision=_DECISIONS[budget.on_exceed],
            reason=f"budget {budget.display_name}: its limit of {limit} {_unit(exceeded)} would be passed",
            budget_id=budget.budget_id,
            degrade_to=budget.degrade_to,
        )
    name = near(budget, used + pending) if budget.counted else None
    if name is None:
        return Assessment()
    return Assessment(
        decision=BudgetDecision.WARN,
        reason=f"budget {budget.display_name}: most of its {_unit(name)} is used",
        budget_id=budget.budget_id,
    )


def near(budget: ApplicableBudget, used: Amount) -> str | None:
    """Return the first quantity of which so much is used that people should know."""
    for name in DIMENSIONS:
        limit: int | None = getattr(budget.limits, name)
        if limit and getattr(used, name) >= budget.warning_threshold * limit:
            return name
    return None


def _unit(name: str) -> str:
    return "10⁻¹⁰ dollars" if name == "cost" else name.replace("_", " ")
