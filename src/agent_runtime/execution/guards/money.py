"""What a model call can cost at most, what is set aside for it, and the ledger line it ends as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agent_runtime.execution.job_run import JobRun
from agent_runtime.ledger.held import dump_holds, load_holds
from agent_runtime.ledger.recording import spent, usage_fields
from agent_runtime.ledger.reservations import Hold, Plan, settle
from agent_runtime.values.budget import Amount, Charge, LedgerEntry
from agent_runtime.values.money import to_dollars
from llm_client.json_text import JsonObject, JsonValue
from llm_client.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class AtMost:
    """What one attempt can use, and what is set aside for it. Written with the intent."""

    provider: str = ""
    model: str = ""
    input_tokens: int
    output_tokens: int
    cost: int | None
    """10⁻¹⁰ dollars; `None` without a price."""
    holds: tuple[Hold, ...] = ()

    @classmethod
    def of(cls, plan: Plan, provider: str) -> AtMost:
        """Bound an attempt by the plan it was granted."""
        return cls(
            provider=provider,
            model=plan.model,
            input_tokens=plan.input_tokens,
            output_tokens=plan.max_tokens,
            cost=plan.cost,
            holds=plan.holds,
        )

    def usage(self) -> Usage:
        """Return it as the usage of a response."""
        usage = Usage(input_tokens=self.input_tokens, output_tokens=self.output_tokens, requests=1)
        return usage.with_cost(None if self.cost is None else to_dollars(self.cost), "reserved maximum")

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON values."""
        data: dict[str, JsonValue] = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        if self.cost is not None:
            data["cost_units"] = self.cost
        if self.holds:
            data["reserved"] = dump_holds(self.holds)
        return data

    @classmethod
    def from_intent(cls, data: JsonObject) -> AtMost:
        """Read it from the `data` of a `model.started` entry."""
        given: Mapping[str, Any] = data
        bound = given["at_most"]
        return cls(
            provider=given.get("provider", ""),
            model=given.get("model", ""),
            input_tokens=bound["input_tokens"],
            output_tokens=bound["output_tokens"],
            cost=bound.get("cost_units"),
            holds=load_holds(bound.get("reserved", ())),
        )

    def settlement(self, spent: Amount | None, *, is_answer: bool = False) -> list[Charge]:
        """Return the charges that turn what was set aside into what was spent, all of it when nobody knows."""
        return settle(self.holds, spent, is_answer=is_answer)

    def spent(self, usage: Usage, *, is_turn: bool) -> Amount:
        """Return what budgets count of a usage: what it does not say, at the most that it can have been."""
        return spent(
            usage,
            if_unpriced=self.cost or 0,
            if_unsaid=self.input_tokens + self.output_tokens,
            is_turn=is_turn,
        )

    def overrun(self, spent: Amount) -> Hold | None:
        """Return the first upper bound that the vendor's bill has passed."""
        for hold in self.holds:
            if hold.hard and (spent.tokens > hold.amount.tokens or spent.cost > hold.amount.cost):
                return hold
        return None


def attempt_id(run: JobRun, operation_id: str, number: int) -> str:
    """Return the name of an attempt of a model call, which is that of its line in the ledger."""
    return f"{run.row_name(operation_id)}#{number}"


def entry_for(
    run: JobRun,
    operation_id: str,
    name: str,
    number: int,
    bound: AtMost,
    usage: Usage,
    *,
    spent: Amount | None = None,
    duration_ms: int | None = None,
    failed: bool = False,
    uncertain: bool = False,
    request_id: str | None = None,
) -> LedgerEntry:
    """Build the ledger line of one attempt of a call with a step's name.

    `spent` is what budgets counted, `None` all that was set aside.
    """
    job = run.job
    metadata: dict[str, JsonValue] = {} if request_id is None else {"request_id": request_id}
    never_billed = failed and not usage.requests
    if bound.holds and (uncertain or (usage.cost is None and not never_billed)):
        metadata["settled"] = [
            [*hold.key, (hold.amount if spent is None else spent).to_dict()] for hold in bound.holds
        ]
    values = usage_fields(usage, metadata)
    if never_billed:
        values["cost"] = Decimal(0)
    return LedgerEntry(
        entry_id=attempt_id(run, operation_id, number),
        type=f"{name}_usage",
        job_id=job.job_id,
        scope_id=job.scope_id,
        principal_id=job.principal_id,
        session_id=job.session_id,
        run_id=job.run_id,
        agent=job.operator,
        provider=bound.provider,
        model=bound.model,
        **values,
        status="failed" if failed else "completed",
        uncertain=uncertain,
        duration_ms=duration_ms,
        timestamp=run.services.clock.now(),
    )
