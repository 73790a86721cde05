"""Where a budget's counters begin, the first time and again: with what the ledger already has of the window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from agent_runtime.values.budget import NOTHING, Amount
from agent_runtime.values.standing_budget import Budget


class SpentBy(NamedTuple):
    """Ledger entries of one spender with one model, added up as budgets count them."""

    scope_id: str
    principal_id: str | None
    session_id: str | None
    model: str | None
    provider: str | None
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A budget that begins, or begins again, to count in one window."""

    budget: Budget
    window: str
    """Key of the window."""
    since: datetime
    """When it began."""

    def counters(self, spent: Iterable[SpentBy]) -> Mapping[str, Amount]:
        """Return what was spent already, by the name of the counters."""
        found: dict[str, Amount] = {}
        for one in spent:
            counter_id = self.budget.counter_id(one.scope_id, one.principal_id, one.session_id)
            if counter_id is not None and self.budget.counts_model(one.model, one.provider):
                found[counter_id] = found.get(counter_id, NOTHING) + one.amount
        return found


def uncounted(spent: Amount, settled: Amount) -> Amount:
    """Return what counters lack of what the ledger has.

    They lack what was spent while the budget was not there. What they have and the ledger has not – tool calls of jobs,
    the most that a call without a price can have cost – stays counted.
    """
    return Amount(*(max(0, one - other) for one, other in zip(spent, settled, strict=True)))
