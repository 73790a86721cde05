"""What tokens cost by an application's own list, and reckoning costs anew when it was wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, select

from agent_runtime.errors import ConfigurationError
from agent_runtime.observability.sql.database import LogDatabase
from agent_runtime.observability.sql.reading import conditions_of
from agent_runtime.observability.sql.tables import llm_call_logs
from agent_runtime.observability.sql.writing import Change, utc, write
from agent_runtime.values.money import as_decimal, to_units
from llm_client.usage import VENDOR, Usage

ModelPrice: TypeAlias = Mapping[str, object]
"""`input`, `output` and perhaps `cached`, in US dollars for 1,000 tokens; `valid_from` in a history."""
TokenPrices: TypeAlias = dict[str, ModelPrice | Sequence[ModelPrice]]
"""By the model's name."""
SOURCE: Final = "token_prices"
_CHUNK: Final = 200
_TOKENS: Final = 1000


def cost_of(prices: TokenPrices, model_id: str, usage: Usage, at: datetime) -> dict[str, object] | None:
    """Return the columns of what a call has used and cost by a list of prices, `None` if the model has no price at that time.

    Raises:
        ConfigurationError: A price is none.
    """
    price = _price_at(prices.get(model_id), at)
    if price is None:
        return None
    cached = min(usage.cache_read_tokens, usage.input_tokens)
    full, less, written = (_rate(price, name) for name in ("input", "cached", "output"))
    if full is None or written is None:
        raise ConfigurationError(f"the price of {model_id!r} has no input or no output")
    less = full if less is None else less
    read = ((usage.input_tokens - cached) * full + cached * less) / _TOKENS
    wrote = usage.output_tokens * written / _TOKENS
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_tokens": usage.cache_read_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "input_cost_units": to_units(read),
        "output_cost_units": to_units(wrote),
        "total_cost_units": to_units(read) + to_units(wrote),
        "saved_cost_units": to_units(cached * (full - less) / _TOKENS) if full > less else 0,
        "price_source": SOURCE,
    }


def _price_at(prices: ModelPrice | Sequence[ModelPrice] | None, at: datetime) -> ModelPrice | None:
    if prices is None or isinstance(prices, Mapping):
        return prices
    valid = [(_begins(price, at), price) for price in prices]
    valid = [(begins, price) for begins, price in valid if begins <= at]
    return max(valid, key=lambda one: one[0])[1] if valid else None


def _begins(price: ModelPrice, at: datetime) -> datetime:
    begins = price.get("valid_from")
    return utc(begins) if isinstance(begins, datetime) else datetime.min.replace(tzinfo=at.tzinfo)


def _rate(price: ModelPrice, name: str) -> Decimal | None:
    value: Any = price.get(name)
    if value is None:
        return None
    try:
        rate = as_decimal(value)
    except (ArithmeticError, ValueError):
        raise ConfigurationError(f"{name} of a price is dollars for 1,000 tokens") from None
    if not rate.is_finite() or rate < 0:
        raise ConfigurationError(f"{name} of a price is dollars for 1,000 tokens")
    return rate


Price: TypeAlias = Callable[[str, str, Usage, datetime], dict[str, object]]


async def repriced(
    database: LogDatabase,
    scope_id: str,
    start: datetime,
    end: datetime,
    model_id: str | None,
    price: Price,
) -> int:
    """Reckon anew what calls cost that the ledger does not tell of; return how many cost something else."""
    changed, after = 0, ""
    filters = {"scope_id": scope_id, "start_date": start, "end_date": end, "model_id": model_id}
    while True:
        step = partial(_reprice, filters=filters, after=after, price=price)
        after, number = await database.run(step)
        changed += number
        if not after:
            return changed


def _reprice(connection: Connection, filters: Mapping[str, Any], after: str, price: Price) -> tuple[str, int]:
    calls = llm_call_logs.c
    query = (
        select(
            calls.id,
            calls.provider,
            calls.model_id,
            calls.start_time,
            calls.input_tokens,
            calls.output_tokens,
            calls.cached_tokens,
            calls.reasoning_tokens,
            calls.total_cost_units,
        )
        .where(*conditions_of(llm_call_logs, filters), calls.job_id.is_(None))
        .where(calls.input_tokens.is_not(None), calls.price_source.is_distinct_from(VENDOR))
        .order_by(calls.id)
        .limit(_CHUNK)
        .with_for_update()  # one that is deleted meanwhile must not come back
    )
    if after:
        query = query.where(calls.id > after)
    rows = list(connection.execute(query))
    changes = []
    for row in rows:
        used = Usage(
            input_tokens=row.input_tokens or 0,
            output_tokens=row.output_tokens or 0,
            cache_read_tokens=row.cached_tokens or 0,
            reasoning_tokens=row.reasoning_tokens or 0,
            requests=1,
        )
        at = utc(row.start_time)
        values = price(row.provider, row.model_id, used, at)
        if values["total_cost_units"] != row.total_cost_units:
            changes.append(Change(llm_call_logs, str(row.id), values))
    write(connection, changes)
    return (str(rows[-1].id) if len(rows) == _CHUNK else ""), len(changes)
