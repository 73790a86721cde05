"""Building ledger entries."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final, TypedDict, Unpack

from agent_runtime.errors import InvalidInput
from agent_runtime.values.budget import DIMENSIONS, Amount, LedgerEntry
from agent_runtime.values.checks import MAX_COUNT, check_text, check_whole
from agent_runtime.values.context import ExecutionContext, execution_of
from agent_runtime.values.money import MAX_DOLLARS, UNITS_PER_DOLLAR, to_dollars, to_units
from llm_client.json_text import JsonObject, JsonValue
from llm_client.usage import COUNTS, Usage

MAX_AMOUNT: Final = MAX_DOLLARS * UNITS_PER_DOLLAR
"""The largest quantity of one reservation or record; several fit 64 bits together."""
_BESIDE: Final = frozenset(COUNTS) - {
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
}
"""What is counted and has no column."""


class UsageFields(TypedDict, total=False):
    """What was used, as fields of `LedgerEntry`."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost: Decimal | None
    price_source: str | None
    metadata: JsonObject


class EntryFields(UsageFields, total=False):
    """What was used, by whom and for what, as fields of `LedgerEntry`."""

    job_id: str | None
    scope_id: str
    principal_id: str | None
    session_id: str | None
    run_id: str | None
    provider: str | None
    model: str | None
    tool_name: str | None
    uncertain: bool
    duration_ms: int | None


def entry(
    entry_id: str, type_: str, at: datetime, about: EntryFields, **values: Unpack[EntryFields]
) -> LedgerEntry:
    """Build an entry from who it is about and what was used."""
    fields: EntryFields = {**about, **values}
    return LedgerEntry(entry_id=entry_id, type=type_, timestamp=at, **fields)


def fields_of(context: ExecutionContext) -> EntryFields:
    """Return who spends, as fields of an entry."""
    execution = execution_of(context)
    return {
        "job_id": execution.job_id,
        "scope_id": execution.scope_id,
        "principal_id": execution.principal_id,
        "session_id": execution.session_id,
        "run_id": execution.run_id,
    }


def check_amount(amount: Amount) -> None:
    """Refuse what would make room instead of using it, or what no storage can add up.

    Raises:
        InvalidInput: A quantity is negative or too large.
    """
    for name, value in zip(DIMENSIONS, amount, strict=True):
        check_whole(name, value, most=MAX_AMOUNT)


def check_said(*, duration_ms: int | None = None, **names: str | None) -> None:
    """Refuse a duration that no column holds, and names that are no names.

    Raises:
        InvalidInput: It names the field.
    """
    if duration_ms is not None:
        check_whole("duration_ms", duration_ms, most=MAX_COUNT)
    for name, value in names.items():
        if value is not None:
            check_text(name, value)


def check_usage(usage: Usage) -> None:
    """Refuse a usage that would make room, or that no response has. Raises `InvalidInput`."""
    if usage.is_plausible:
        return
    if usage.is_negative:
        raise InvalidInput("usage is negative; what was billed wrongly is corrected with `Ledger.reconcile`")
    raise InvalidInput("usage is more than any response has used, or is not a number")


def units_of(cost: Decimal | float | str | int) -> int:
    """Return a cost in units.

    Raises:
        InvalidInput: It is no amount of dollars.
    """
    try:
        return to_units(cost)
    except (ArithmeticError, ValueError):
        raise InvalidInput("cost is an amount of dollars") from None


def usage_fields(usage: Usage, metadata: JsonObject | None = None) -> UsageFields:
    """Return what was used, as fields of an entry. A price that is not known is `None`, never 0.

    What has no column of its own stands in the metadata, if there is any of it: the tier that served, sound and pictures, searches.
    """
    beside: dict[str, JsonValue] = {
        name: count for name, count in usage.counts().items() if count and name in _BESIDE
    }
    if usage.service_tier is not None:
        beside["service_tier"] = usage.service_tier
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost": None if usage.cost is None else to_dollars(to_units(usage.cost)),
        "price_source": usage.price_source,
        "metadata": {**beside, **(metadata or {})},
    }


def spent(usage: Usage, *, if_unpriced: int = 0, if_unsaid: int = 0, is_turn: bool = True) -> Amount:
    """Return what budgets count of a response: an unknown price as `if_unpriced`, and tokens that nobody has counted as `if_unsaid`."""
    return Amount(
        tokens=usage.total_tokens or if_unsaid,
        cost=if_unpriced if usage.cost is None else to_units(usage.cost),
        requests=1,
        turns=1 if is_turn else 0,
    )
