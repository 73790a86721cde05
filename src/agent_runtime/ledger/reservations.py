"""Planning a model call within budgets: what to reserve, and how much output that leaves room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from agent_runtime.values.budget import Amount, Charge, Counters, Limits

MIN_OUTPUT_TOKENS: Final = 16
"""A call that could not even answer with this much is not made."""

CostOf = Callable[[int, int], int | None]
"""Most that a call with so many input and output tokens can cost, in 10⁻¹⁰ dollars; `None` without a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicableBudget:
    """One budget that a call spends from."""

    budget_id: str
    limits: Limits
    window: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Names its counters."""
        return (self.budget_id, self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A call that fits: what it may cost at most."""

    amount: Amount
    max_tokens: int
    """Output bound, in tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A call that does not fit."""

    budget_id: str
    dimension: str
    reason: str
    passing: bool = False
    """Whether it would fit if the calls that run now gave back what they have reserved."""


def plan_model_call(
    budgets: Sequence[tuple[ApplicableBudget, Counters]],
    *,
    input_tokens: int,
    output_tokens: int,
    cost_of: CostOf,
) -> Plan | Shortage:
    """Fit one call into every budget, with less output than wanted if need be."""
    bound = output_tokens
    for budget, counters in budgets:
        fitted = _fit(budget, counters.settled + counters.reserved, input_tokens, bound, cost_of)
        if isinstance(fitted, Shortage):
            alone = _fit(budget, counters.settled, input_tokens, output_tokens, cost_of)
            return Shortage(
                budget_id=fitted.budget_id,
                dimension=fitted.dimension,
                reason=fitted.reason,
                passing=not isinstance(alone, Shortage),
            )
        bound = fitted
    cost = cost_of(input_tokens, bound)
    return Plan(
        amount=Amount(tokens=input_tokens + bound, cost=cost or 0, requests=1, turns=1),
        max_tokens=bound,
    )


def _fit(
    budget: ApplicableBudget, used: Amount, input_tokens: int, bound: int, cost_of: CostOf
) -> int | Shortage:
    """Return how much output one budget leaves room for."""

    def short(dimension: str, reason: str) -> Shortage:
        return Shortage(budget_id=budget.budget_id, dimension=dimension, reason=reason)

    limits, least = budget.limits, min(bound, MIN_OUTPUT_TOKENS)
    counted = limits.exceeded_by(used, Amount(requests=1, turns=1))
    if counted is not None:
        return short(counted, f"its limit of {getattr(limits, counted)} {counted} is reached")
    if limits.tokens is not None:
        room = limits.tokens - used.tokens - input_tokens
        if room < least:
            return short(
                "tokens", f"{limits.tokens - used.tokens} of {limits.tokens} tokens are left, too few"
            )
        bound = min(bound, room)
    if limits.cost is not None:
        return _fit_cost(limits.cost, used.cost, input_tokens, bound, least, cost_of, short)
    return bound


def _fit_cost(
    limit: int,
    used: int,
    input_tokens: int,
    bound: int,
    least: int,
    cost_of: CostOf,
    short: Callable[[str, str], Shortage],
) -> int | Shortage:
    money = limit - used

    def affordable(tokens: int) -> bool:
        cost = cost_of(input_tokens, tokens)
        return cost is not None and cost <= money

    if cost_of(input_tokens, bound) is None:
        return short("cost", "no price is known for this model, so its cost cannot be bounded")
    if affordable(bound):
        return bound
    if not affordable(least):
        return short("cost", f"{money / 10**10:.6f} of {limit / 10**10:.6f} dollars are left, too little")
    low, high = least, bound
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if affordable(middle) else (low, middle)
    return low


def reserve(budgets: Sequence[ApplicableBudget], amount: Amount) -> list[Charge]:
    """Return the charges that set `amount` aside in every budget, or fail together."""
    return [Charge(budget_id=b.budget_id, window=b.window, reserve=amount, limits=b.limits) for b in budgets]


def settle(keys: Sequence[tuple[str, str]], reserved: Amount, spent: Amount) -> list[Charge]:
    """Return the charges that turn a reservation into what was really spent."""
    return [
        Charge(budget_id=budget_id, window=window, reserve=-reserved, settle=spent)
        for budget_id, window in keys
    ]
