"""Building ledger entries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent_runtime.values.budget import Amount, LedgerEntry
from agent_runtime.values.context import ExecutionContext
from agent_runtime.values.money import to_units
from llm_client.usage import Usage


def entry(entry_id: str, type_: str, at: datetime, about: Mapping[str, Any], **values: Any) -> LedgerEntry:
    """Build an entry from who it is about and what was used."""
    return LedgerEntry(entry_id=entry_id, type=type_, timestamp=at, **{**about, **values})


def fields_of(context: ExecutionContext) -> dict[str, Any]:
    """Return who spends, as fields of an entry. An operator's context is taken for the execution's it holds."""
    execution: ExecutionContext = getattr(context, "execution_ctx", context)
    names = ("job_id", "scope_id", "principal_id", "session_id", "run_id")
    return {name: getattr(execution, name) for name in names}


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Return what was used, as fields of an entry. A price that is not known is `None`, never 0."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost": None if usage.cost is None else to_units(usage.cost),
        "price_source": usage.price_source,
    }


def spent(usage: Usage, *, if_unpriced: int = 0, is_turn: bool = True) -> Amount:
    """Return what budgets count of a response; an unknown price counts as `if_unpriced`."""
    return Amount(
        tokens=usage.total_tokens,
        cost=if_unpriced if usage.cost is None else to_units(usage.cost),
        requests=1,
        turns=1 if is_turn else 0,
    )
