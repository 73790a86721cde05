"""Correcting an entry whose truth was not known when it was written."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from agent_runtime.errors import InvalidInput
from agent_runtime.values.budget import ADJUSTED, Amount, Charge, LedgerEntry
from agent_runtime.values.money import to_dollars, to_units
from llm_client.usage import Usage


def correction(wrong: LedgerEntry, truth: Usage, at: datetime) -> tuple[LedgerEntry, list[Charge]]:
    """Return the entry that makes up the difference, and what it moves in the budgets the call was counted in.

    Raises:
        InvalidInput: Nothing about the entry is uncertain, or the truth has no price.
    """
    if wrong.status == ADJUSTED or not (wrong.uncertain or wrong.cost is None):
        raise InvalidInput(f"ledger entry {wrong.entry_id!r} is certain; it cannot be corrected")
    if truth.cost is None:
        raise InvalidInput("a correction needs the cost")
    cost = to_units(truth.cost)
    was = wrong.units or 0
    made = replace(
        wrong,
        entry_id=f"{wrong.entry_id}~truth",
        input_tokens=truth.input_tokens - wrong.input_tokens,
        output_tokens=truth.output_tokens - wrong.output_tokens,
        cached_tokens=truth.cache_read_tokens - wrong.cached_tokens,
        cache_write_tokens=truth.cache_write_tokens - wrong.cache_write_tokens,
        reasoning_tokens=truth.reasoning_tokens - wrong.reasoning_tokens,
        cost=to_dollars(cost - was),
        price_source=truth.price_source,
        status=ADJUSTED,
        uncertain=False,
        timestamp=at,
        metadata={
            **({"service_tier": tier} if (tier := truth.service_tier or wrong.service_tier) else {}),
            "corrects": wrong.entry_id,
            "was": "uncertain" if wrong.uncertain else "unpriced",
        },
    )
    charges = []
    for budget_id, window, settled in wrong.metadata.get("settled", ()):
        counted = Amount(**settled)
        difference = Amount(tokens=truth.total_tokens - counted.tokens, cost=cost - counted.cost)
        charges.append(Charge(budget_id=budget_id, window=window, settle=difference))
    return made, charges
