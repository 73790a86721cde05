"""Which counters of a stored budget begin with what the ledger already has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from agent_runtime.ledger.windows import window_at
from agent_runtime.values.event import EPOCH
from agent_runtime.values.opening import Opening
from agent_runtime.values.standing_budget import Budget, WindowKind


def openings(budgets: Iterable[Budget], stored: Mapping[str, Budget], at: datetime) -> list[Opening]:
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
                found.append(Opening(budget=budget, window=window.key, since=window.starts_at or EPOCH))
    return found
