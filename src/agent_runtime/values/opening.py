"""Where a budget's counters begin, the first time and again: with what the ledger already has of the window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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


class Floor(NamedTuple):
    """Counters that settle at least this much."""

    budget_id: str
    window: str
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class OpeningBalance:
    """A budget that begins, or begins again, to count in one window.

    The ledger may have a million entries of the window. They are added up before, while others write; the commit that
    stores the budget only has to look at those that have come since.
    """

    budget: Budget
    window: str
    """Key of the window."""
    since: datetime
    """When it began."""
    upto: int = 0
    """Place of the last entry of the ledger that was added up before."""
    spent: Mapping[str, Amount] = field(default_factory=dict)
    """What entries up to there have spent, by the name of the counters, which have it as their floor already."""

    def counters(self, later: Iterable[SpentBy]) -> Mapping[str, Amount]:
        """Return what was spent by now, of all counters that the entries after `upto` are counted in."""
        found: dict[str, Amount] = {}
        for one in later:
            counter_id = self.budget.counter_id(one.scope_id, one.principal_id, one.session_id)
            if counter_id is not None and self.budget.counts_model(one.model, one.provider):
                before = found.get(counter_id)
                found[counter_id] = one.amount + (
                    self.spent.get(counter_id, NOTHING) if before is None else before
                )
        return found

    @property
    def floors(self) -> list[Floor]:
        """What was spent up to `upto`, for each of the counters."""
        return [Floor(budget_id, self.window, amount) for budget_id, amount in self.spent.items()]


def uncounted(spent: Amount, settled: Amount) -> Amount:
    """Return what counters lack of what the ledger has.

    They lack what was spent while the budget was not there. What they have and the ledger has not – tool calls of jobs,
    the most that a call without a price can have cost – stays counted.
    """
    return Amount(*(max(0, one - other) for one, other in zip(spent, settled, strict=True)))
