"""What a response's tokens have cost one by one: what was read, and what reading it from a vendor's cache has saved."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from llm_client.pricing.book import PriceBook
from llm_client.usage import VENDOR, Usage


class CostParts(NamedTuple):
    """What a known cost is made of, in US dollars. The rest of it is what was written."""

    read: Decimal
    saved: Decimal | None
    """What the tokens from the vendor's cache would have cost more; `None` without any."""


def cost_parts(prices: PriceBook, provider: str, model: str, usage: Usage) -> CostParts | None:
    """Return the parts of what a response has cost, `None` where they are not known: a vendor that says the cost says no parts.

    Args:
        prices: By which it was priced.
        provider: Vendor name.
        model: Model that answered.
        usage: What it has used and cost.
    """
    if usage.cost is None or usage.price_source in (None, VENDOR):
        return None
    read = replace(
        usage,
        output_tokens=0,
        reasoning_tokens=0,
        output_audio_tokens=0,
        output_image_tokens=0,
        output_video_tokens=0,
        iterations=(),
        cost=None,
    )
    cost = prices.cost(provider, model, read)
    if cost is None or cost > usage.cost:
        return None
    if not usage.cache_read_tokens:
        return CostParts(cost, None)
    whole = replace(read, cache_read_tokens=0, cache_read_audio_tokens=0, cache_read_image_tokens=0)
    dearer = prices.cost(provider, model, whole)
    return CostParts(cost, None if dearer is None else max(Decimal(0), dearer - cost))
