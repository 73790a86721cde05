"""Planning a model call within budgets: what to set aside in each, and how much output that leaves room for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from agent_runtime.ledger.token_bounds import Unbounded
from agent_runtime.values.budget import NOTHING, Amount, Charge, Counters, Limits
from agent_runtime.values.money import to_dollars
from agent_runtime.values.standing_budget import ExceedStrategy

MIN_OUTPUT_TOKENS: Final = 16
"""A call that could not even answer with this much is not made."""

CostOf = Callable[[int, int], int | None]
"""Most that a call with so many input and output tokens can cost, in 10⁻¹⁰ dollars; `None` without a price."""

FAR: Final = datetime.max.replace(tzinfo=UTC)
"""A time that never comes."""

Key = tuple[str, str]
"""Names counters: budget id and window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicableBudget:
    """One budget, in one window, that a call spends from."""

    budget_id: str
    limits: Limits
    window: str = ""
    label: str = ""
    """What people call it."""
    counted: bool = True
    """Whether it has counters; a bound on single requests has none."""
    hard: bool = False
    """Reserve an upper bound, not an estimate, and refuse what has none."""
    on_exceed: ExceedStrategy = "deny"
    degrade_to: str | None = None
    flag_unpriced: bool = False
    """Let calls through whose cost cannot be known; their entries in the ledger say so."""
    warning_threshold: float = 0.8
    forget_before: str = ""
    until: datetime = FAR
    """When its window ends."""

    @property
    def key(self) -> Key:
        """Names its counters."""
        return (self.budget_id, self.window)

    @property
    def display_name(self) -> str:
        """How messages name it."""
        return repr(self.label or self.budget_id) + (f" ({self.window})" if self.window else "")

    @property
    def enforced(self) -> Limits | None:
        """The limits a commit is refused by."""
        return None if self.on_exceed == "warn" else self.limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one model call wants."""

    model: str
    estimate: int
    """Input tokens, by a calibrated guess."""
    bound_input: Callable[[], int | Unbounded]
    """Returns the input tokens at most; asked only where a budget is hard."""
    output_tokens: int
    """Wanted at most."""
    cost_of: CostOf
    turns: int = 1
    """1 where an answer is an agent's turn."""
    replaced_by: str | None = None
    """A field that goes out in place of the model, the messages or the bound that these numbers are of."""

    def at_most(self) -> int | Unbounded:
        """Return the input tokens that a hard budget reckons with."""
        bound = self.bound_input()
        return bound if isinstance(bound, Unbounded) else max(bound, self.estimate)


@dataclass(frozen=True, slots=True)
class Hold:
    """What is set aside in one budget while a call runs."""

    key: Key
    amount: Amount
    hard: bool = False
    """Whether the amount is an upper bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A call that fits."""

    model: str
    max_tokens: int
    """Output bound, in tokens."""
    input_tokens: int
    """The most input that any of the budgets reckons with."""
    cost: int | None
    """Of that much input and output, in 10⁻¹⁰ dollars; `None` without a price."""
    holds: tuple[Hold, ...]
    charges: tuple[Charge, ...]
    """What sets the holds aside, all of them or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A call that does not fit."""

    budget: ApplicableBudget
    dimension: str
    reason: str
    passing: bool = False
    """Whether it would fit if the calls that run now gave back what they have reserved."""
    fits_later: bool = False
    """Whether it would fit if nothing were spent."""
    need: Amount = NOTHING
    """The least it can begin with."""

    @property
    def message(self) -> str:
        """What is wrong, in a sentence."""
        return f"budget {self.budget.display_name}: {self.reason}"


def plan_model_call(budgets: Sequence[tuple[ApplicableBudget, Counters]], demand: Demand) -> Plan | Shortage:
    """Fit one call into every budget, with less output than wanted if need be."""
    output = demand.output_tokens
    at_most = demand.at_most() if any(budget.hard for budget, _ in budgets) else demand.estimate
    for budget, counters in budgets:
        tokens = at_most if budget.hard else demand.estimate
        fitted = _fit(budget, counters.settled + counters.reserved, demand, tokens, output)
        if isinstance(fitted, Shortage):
            alone = _fit(budget, counters.settled, demand, tokens, demand.output_tokens)
            unspent = _fit(budget, NOTHING, demand, tokens, demand.output_tokens)
            return replace(
                fitted,
                passing=budget.counted and not isinstance(alone, Shortage),
                fits_later=budget.counted and not isinstance(unspent, Shortage),
                need=_least(demand, tokens),
            )
        output = fitted
    return _plan([budget for budget, _ in budgets if budget.counted], demand, at_most, output)


def unbudgeted(demand: Demand) -> Plan:
    """Return the plan of a call that no budget counts."""
    return _plan([], demand, demand.estimate, demand.output_tokens)


def _plan(budgets: Sequence[ApplicableBudget], demand: Demand, at_most: int | Unbounded, output: int) -> Plan:
    amounts: dict[bool, Amount] = {}
    most = demand.estimate
    for hard in {budget.hard for budget in budgets}:
        tokens = _known(at_most, demand.estimate) if hard else demand.estimate
        most = max(most, tokens)
        cost = demand.cost_of(tokens, output) or 0
        amounts[hard] = Amount(tokens=tokens + output, cost=cost, requests=1, turns=demand.turns)
    return Plan(
        model=demand.model,
        max_tokens=output,
        input_tokens=most,
        cost=demand.cost_of(most, output),
        holds=tuple([Hold(budget.key, amounts[budget.hard], budget.hard) for budget in budgets]),
        charges=tuple([reserve(budget, amounts[budget.hard]) for budget in budgets]),
    )


def _least(demand: Demand, tokens: int | Unbounded) -> Amount:
    """Return what a call needs that answers as shortly as it can."""
    output, read = min(demand.output_tokens, MIN_OUTPUT_TOKENS), _known(tokens, demand.estimate)
    cost = demand.cost_of(read, output) or 0
    return Amount(tokens=read + output, cost=cost, requests=1, turns=demand.turns)


def _known(tokens: int | Unbounded, estimate: int) -> int:
    """Return the tokens of an input; only a budget that merely warns lets an unbounded one come this far."""
    return estimate if isinstance(tokens, Unbounded) else tokens


def _fit(
    budget: ApplicableBudget, used: Amount, demand: Demand, tokens: int | Unbounded, output: int
) -> int | Shortage:
    """Return how much output one budget leaves room for."""

    def short(dimension: str, reason: str) -> Shortage:
        return Shortage(budget=budget, dimension=dimension, reason=reason)

    if budget.on_exceed == "warn":
        return output
    limits, least = budget.limits, min(output, MIN_OUTPUT_TOKENS)
    counted = limits.exceeded_by(used, Amount(requests=1, turns=demand.turns))
    if counted is not None:
        return short(counted, f"its limit of {getattr(limits, counted)} {counted} is reached")
    if limits.tokens is None and limits.cost is None:
        return output
    if isinstance(tokens, Unbounded):
        return short("tokens", f"it is a hard limit, and {tokens.reason}")
    if demand.replaced_by is not None:
        return short(
            "tokens", f"extra field {demand.replaced_by!r} takes the place of what the limit is reckoned with"
        )
    if limits.tokens is not None:
        room = limits.tokens - used.tokens - tokens
        if room < least:
            left = limits.tokens - used.tokens
            return short(
                "tokens", f"{left} of {limits.tokens} tokens are left; this call needs {tokens + least}"
            )
        output = min(output, room)
    if limits.cost is not None:
        return _fit_cost(budget, limits.cost, used.cost, tokens, output, demand.cost_of)
    return output


def _fit_cost(
    budget: ApplicableBudget, limit: int, used: int, tokens: int, output: int, cost_of: CostOf
) -> int | Shortage:
    money, least = limit - used, min(output, MIN_OUTPUT_TOKENS)

    def affordable(written: int) -> bool:
        cost = cost_of(tokens, written)
        return cost is not None and (cost == 0 or cost <= money)  # nothing fits everywhere

    if cost_of(tokens, output) is None:
        if budget.flag_unpriced:
            return output
        reason = "no price is known for this model, so its cost cannot be bounded"
        return Shortage(budget=budget, dimension="cost", reason=reason)
    if affordable(output):
        return output
    if not affordable(least):
        said = (
            f"{to_dollars(money):.6f} of {to_dollars(limit):.6f} dollars are left, too little for this call"
        )
        return Shortage(budget=budget, dimension="cost", reason=said)
    low, high = least, output
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if affordable(middle) else (low, middle)
    return low


def reserve(budget: ApplicableBudget, amount: Amount) -> Charge:
    """Return the charge that sets `amount` aside, refused where it does not fit."""
    return Charge(
        budget_id=budget.budget_id,
        window=budget.window,
        reserve=amount,
        limits=budget.enforced,
        forget_before=budget.forget_before,
    )


def spend(budgets: Iterable[ApplicableBudget], amount: Amount, *, enforce: bool = False) -> list[Charge]:
    """Return the charges that count something at once; unless `enforce` is set, whether it fits or not."""
    return [
        Charge(
            budget_id=budget.budget_id,
            window=budget.window,
            settle=amount,
            limits=budget.enforced if enforce else None,
            forget_before=budget.forget_before,
        )
        for budget in budgets
        if budget.counted
    ]


def settle(holds: Iterable[Hold], spent: Amount | None, *, is_answer: bool = False) -> list[Charge]:
    """Return the charges that turn holds into what was really spent, or, if nobody knows, into all that was held.

    A call without an answer is no turn.
    """
    return [
        Charge(
            budget_id=hold.key[0],
            window=hold.key[1],
            reserve=-hold.amount,
            settle=_all_of(hold.amount, is_answer) if spent is None else spent,
        )
        for hold in holds
    ]


def _all_of(held: Amount, is_answer: bool) -> Amount:
    return held if is_answer else held._replace(turns=0)
