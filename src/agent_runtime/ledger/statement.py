"""Where a budget stands: every limit, in its current window."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from agent_runtime.errors import InvalidInput
from agent_runtime.ledger.windows import Window, window_at
from agent_runtime.ports.storage import Storage
from agent_runtime.values.budget import DIMENSIONS, Counters, Limits
from agent_runtime.values.context import ExecutionContext, execution_of
from agent_runtime.values.money import to_dollars
from agent_runtime.values.standing_budget import EACH, Budget, BudgetLine, BudgetStatus, WindowKind


async def status_of(
    budget: Budget, storage: Storage, at: datetime, context: ExecutionContext | None
) -> BudgetStatus:
    """Read a budget's counters and build its status."""
    counter_id = _counter_id(budget, context)
    spans: Mapping[Window, Limits] = {
        window_at(kind, at, budget.timezone): limits
        for kind in WindowKind
        if kind is not WindowKind.REQUEST and (limits := budget.limits(kind)) is not None
    }
    found = await storage.counters([(counter_id, window.key) for window in spans])
    lines = [
        _line(window, name, limit, counters)
        for (window, limits), counters in zip(spans.items(), found, strict=True)
        for name in DIMENSIONS
        if (limit := getattr(limits, name)) is not None
    ]
    per_request = budget.limits(WindowKind.REQUEST)
    if per_request is not None:
        window = Window(WindowKind.REQUEST)
        lines += [
            _line(window, name, limit, Counters())
            for name in DIMENSIONS
            if (limit := getattr(per_request, name)) is not None
        ]
    return BudgetStatus(budget=budget, lines=tuple(lines))


def _counter_id(budget: Budget, context: ExecutionContext | None) -> str:
    execution = execution_of(context)
    if execution is None:
        if EACH in (budget.scope_id, budget.principal_id, budget.session_id):
            raise InvalidInput(
                f"each one has a budget {budget.label!r} of their own: whose is asked for? Give a context"
            )
        asked: tuple[Any, ...] = (budget.scope_id, budget.principal_id, budget.session_id)
    else:
        asked = (execution.scope_id, execution.principal_id, execution.session_id)
    counter_id = budget.counter_id(*asked)
    if counter_id is None:
        raise InvalidInput(f"budget {budget.label!r} is not about this context")
    return counter_id


def _line(window: Window, name: str, limit: int, counters: Counters) -> BudgetLine:
    def shown(units: int) -> int | Decimal:
        return to_dollars(units) if name == "cost" else units

    return BudgetLine(
        quantity=name,
        window=window.kind,
        starts_at=window.starts_at,
        ends_at=window.ends_at,
        limit=shown(limit),
        settled=shown(getattr(counters.settled, name)),
        reserved=shown(getattr(counters.reserved, name)),
    )
