"""What a vendor says that a response costs, where it says so.

OpenRouter's `cost` is in US dollars, and what its upstream charges to a customer's own key comes on top of it (`is_byok`); Perplexity gives an
object with a total; xAI counts ticks, of which 10¹⁰ are a dollar.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from llm_client.usage import MAX_COST

_TICKS: Final = 10**10


def stated_cost(usage: Mapping[str, object]) -> Decimal | None:
    """Return what a usage says that it costs, in US dollars; `None` where it says nothing that could be meant."""
    ticks = _amount(usage.get("cost_in_usd_ticks"))
    if ticks:
        return _plausible(ticks / _TICKS)
    cost = usage.get("cost")
    if isinstance(cost, Mapping):
        total = _amount(cost.get("total_cost"))
        return _plausible(total) if total and cost.get("currency") in (None, "USD") else None
    return _plausible(_routed(usage, _amount(cost)))


def _routed(usage: Mapping[str, Any], cost: Decimal | None) -> Decimal | None:
    """Return a router's charge, with what the upstream charges to the customer's own key.

    A charge of nothing is believed where the answer is a router's: others say so of models that they do not know.
    """
    if cost is None:
        return None
    own_key, details = usage.get("is_byok"), usage.get("cost_details")
    upstream = _amount(details.get("upstream_inference_cost")) if isinstance(details, Mapping) else None
    if own_key is None and upstream is not None:
        own_key = upstream > cost  # a router's share of the upstream's price, for the use of one's own key
    if own_key:
        return None if upstream is None else cost + upstream
    is_router = "is_byok" in usage or "cost_details" in usage
    return cost if cost or is_router else None


def _amount(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    amount = Decimal(str(value))
    return amount if amount.is_finite() and amount >= 0 else None


def _plausible(cost: Decimal | None) -> Decimal | None:
    return cost if cost is not None and cost <= MAX_COST else None
