"""The ledger, added up as budgets count it: the SQL of `LedgerEntry.counted`, for every SQL back end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from agent_runtime.values.budget import DIMENSIONS, Amount
from agent_runtime.values.opening import SpentBy

LAST_POSITION: Final = 2**62
"""Above every position of a ledger."""
_ASKED = "l.type IN ('model_usage', 'embedding_usage') AND l.status <> 'adjusted'"
_REFUSED = "l.status = 'failed' AND NOT l.uncertain AND l.input_tokens + l.output_tokens = 0 AND coalesce(l.cost_units, 0) = 0"
_COUNTED: Final = {
    "tokens": "l.input_tokens + l.output_tokens",
    "cost": "coalesce(l.cost_units, 0)",
    "requests": f"CASE WHEN {_ASKED} AND NOT ({_REFUSED}) THEN 1 ELSE 0 END",
    "tool_calls": "CASE WHEN l.type = 'tool_usage' AND l.status <> 'adjusted' THEN 1 ELSE 0 END",
    "turns": "CASE WHEN l.type = 'model_usage' AND l.status = 'completed' AND NOT l.uncertain THEN 1 ELSE 0 END",
}
_WHOSE: Final = "l.scope_id, l.principal_id, l.session_id, l.model, l.provider"


def spent_since(moment: str, corrected: str, after: str, upto: str) -> str:
    """Return a query for `SpentBy` rows. A correction belongs to the time of what it corrects.

    Args:
        moment: The parameter that says since when.
        corrected: An expression for the id of the entry that `l` corrects.
        after: The parameter that says after which position of the ledger.
        upto: The parameter that says up to which position.
    """
    sums = ", ".join(f"CAST(sum({_COUNTED[name]}) AS BIGINT)" for name in DIMENSIONS)
    return f"""
SELECT {_WHOSE}, {sums} FROM runtime_ledger l
LEFT JOIN runtime_ledger o ON l.status = 'adjusted' AND o.event_id = {corrected} AND o.scope_id = l.scope_id
WHERE l.id > {after} AND l.id <= {upto} AND l.type <> 'budget_check' AND l.timestamp >= {moment} AND coalesce(o.timestamp, l.timestamp) >= {moment}
GROUP BY {_WHOSE}
"""  # noqa: S608 -- names of our own


def spent_by(row: Iterable[object]) -> SpentBy:
    """Build a sum from its row."""
    values: Iterable[Any] = row
    scope_id, principal_id, session_id, model, provider, *amounts = values
    amount = Amount(**dict(zip(DIMENSIONS, amounts, strict=True)))
    return SpentBy(scope_id, principal_id, session_id, model, provider, amount)
