"""Which counters of a stored budget begin with what the ledger already has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from agent_runtime.ledger.windows import window_at
from agent_runtime.ports.readers import LedgerReader
from agent_runtime.values.budget import NOTHING
from agent_runtime.values.event import EPOCH
from agent_runtime.values.opening import OpeningBalance, SpentBy
from agent_runtime.values.standing_budget import Budget, WindowKind

PAGE: Final = 50_000
"""Entries that are added up by one query: nobody waits long for the connection that asks."""


async def added_up(openings: Sequence[OpeningBalance], ledger: LedgerReader) -> list[OpeningBalance]:
    """Add up what the ledger has by now, outside of any transaction that others would have to wait for."""
    if not openings:
        return []
    first, last = await ledger.ledger_positions()
    totals: dict[datetime, dict[SpentBy, SpentBy]] = {opening.since: {} for opening in openings}
    for after in range(first - 1, last, PAGE):
        for since, spent in totals.items():
            for one in await ledger.spent(since, after=after, upto=min(after + PAGE, last)):
                whose = one._replace(amount=NOTHING)
                before = spent.get(whose)
                spent[whose] = one if before is None else one._replace(amount=before.amount + one.amount)
    return [
        replace(opening, upto=last, spent=opening.counters(totals[opening.since].values()))
        for opening in openings
    ]


def openings(budgets: Iterable[Budget], stored: Mapping[str, Budget], at: datetime) -> list[OpeningBalance]:
    """Return one for each window that these budgets limit and that their stored versions did not.

    Where a limit of the kind is stored, its counters have run since then, with what the ledger does not have.
    """
    found = []
    for budget in budgets:
        before = stored.get(budget.budget_id)
        for kind in WindowKind:
            known = (
                before is not None and before.timezone == budget.timezone and before.limits(kind) is not None
            )
            if kind is not WindowKind.REQUEST and budget.limits(kind) is not None and not known:
                window = window_at(kind, at, budget.timezone)
                found.append(
                    OpeningBalance(budget=budget, window=window.key, since=window.starts_at or EPOCH)
                )
    return found
