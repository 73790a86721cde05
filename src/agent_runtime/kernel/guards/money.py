"""The most a model call can cost, and the ledger line it ends as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent_runtime.kernel.run import JobRun
from agent_runtime.ledger.reservations import CostOf, Plan, settle
from agent_runtime.values.budget import NOTHING, Amount, Charge, LedgerEntry
from agent_runtime.values.money import to_dollars, to_units
from llm_client.middleware import ModelAttempt
from llm_client.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class AtMost:
    """What one attempt can use, and where that much is reserved. Written with the intent."""

    provider: str = ""
    model: str = ""
    input_tokens: int
    output_tokens: int
    cost: int | None
    """10⁻¹⁰ dollars; `None` without a price."""
    amount: Amount = NOTHING
    """What is reserved, in every budget of `keys`."""
    keys: tuple[tuple[str, str], ...] = ()

    def usage(self) -> Usage:
        """Return it as the usage of a response."""
        usage = Usage(input_tokens=self.input_tokens, output_tokens=self.output_tokens, requests=1)
        return usage.with_cost(None if self.cost is None else to_dollars(self.cost), "reserved maximum")

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        data: dict[str, Any] = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        if self.cost is not None:
            data["cost_units"] = self.cost
        if self.keys:
            data["reserved"] = self.amount.to_dict()
            data["budgets"] = [list(key) for key in self.keys]
        return data

    @classmethod
    def from_intent(cls, data: Mapping[str, Any]) -> AtMost:
        """Read it from the `data` of a `model.started` entry."""
        bound = data["at_most"]
        return cls(
            provider=data.get("provider", ""),
            model=data.get("model", ""),
            input_tokens=bound["input_tokens"],
            output_tokens=bound["output_tokens"],
            cost=bound.get("cost_units"),
            amount=Amount(**bound.get("reserved", {})),
            keys=tuple((budget_id, window) for budget_id, window in bound.get("budgets", ())),
        )


def at_most(
    attempt: ModelAttempt,
    input_tokens: int,
    output_tokens: int,
    cost_of: CostOf,
    plan: Plan | None,
    keys: Sequence[tuple[str, str]],
) -> AtMost:
    """Bound an attempt that may read and write so many tokens."""
    return AtMost(
        provider=attempt.provider.name,
        model=attempt.model,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost=cost_of(input_tokens, output_tokens),
        amount=NOTHING if plan is None else plan.amount,
        keys=() if plan is None else tuple(keys),
    )


def settlement(bound: AtMost, spent: Amount) -> list[Charge]:
    """Return the charges that turn an attempt's reservation into what it spent."""
    return settle(bound.keys, bound.amount, spent)


def entry_for(
    run: JobRun,
    operation_id: str,
    number: int,
    bound: AtMost,
    usage: Usage,
    *,
    duration_ms: int | None = None,
    failed: bool = False,
    uncertain: bool = False,
    request_id: str | None = None,
) -> LedgerEntry:
    """Build the ledger line of one attempt."""
    job = run.job
    unbilled = failed and not usage.requests
    return LedgerEntry(
        entry_id=f"{operation_id}#{number}",
        type="model_usage",
        job_id=job.job_id,
        scope_id=job.scope_id,
        principal_id=job.principal_id,
        session_id=job.session_id,
        run_id=job.run_id,
        agent=job.operator,
        provider=bound.provider,
        model=bound.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost=0 if unbilled else None if usage.cost is None else to_units(usage.cost),
        price_source=usage.price_source,
        status="failed" if failed else "completed",
        uncertain=uncertain,
        duration_ms=duration_ms,
        timestamp=run.services.clock.now(),
        metadata={} if request_id is None else {"request_id": request_id},
    )
