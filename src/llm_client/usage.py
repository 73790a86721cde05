"""What a call consumed: tokens in inclusive buckets, and money.

Buckets are inclusive: `input_tokens` contains `cache_read_tokens` and `cache_write_tokens`,
`output_tokens` contains `reasoning_tokens`. So nothing is counted twice by adding input and output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

MAX_TOKENS: Final = 10**12
"""More than any response has; what adds up such numbers stays far from the bounds of 64 bits."""
MAX_COST: Final = Decimal(10**7)
"""US dollars; more than any response costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and cost of one or several model calls."""

    input_tokens: int = 0
    """Tokens read, cached ones included."""
    output_tokens: int = 0
    """Tokens written, reasoning included."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal | None = None
    """US dollars; `None` when no price is known, never 0 for an unknown price."""
    price_source: str | None = None
    """Where the price comes from and its version, such as `genai-prices 0.2.3`."""
    requests: int = 0
    """Provider responses summed up in this value."""
    unpriced_requests: int = 0
    """How many of `requests` had no known price, so that `cost` is a lower bound."""

    @property
    def total_tokens(self) -> int:
        """Input plus output tokens."""
        return self.input_tokens + self.output_tokens

    @property
    def is_negative(self) -> bool:
        """Whether a quantity or the cost is below zero, which no response has used."""
        counts = (
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_tokens,
            self.reasoning_tokens,
            self.requests,
        )
        return min(counts) < 0 or (self.cost is not None and not math.isnan(self.cost) and self.cost < 0)

    @property
    def is_plausible(self) -> bool:
        """Whether one response can have used this much; what a broken gateway reports may be no number at all."""
        counts = (
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_tokens,
            self.reasoning_tokens,
            self.requests,
        )
        if not all(map(_is_count, counts)):
            return False
        return self.cost is None or (not math.isnan(self.cost) and 0 <= self.cost <= MAX_COST)

    @property
    def is_partial_cost(self) -> bool:
        """Whether some summed-up response had no price."""
        return self.unpriced_requests > 0

    def __add__(self, other: Usage) -> Usage:
        costs = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cost=sum(costs, Decimal(0)) if costs else None,
            price_source=self.price_source
            if self.price_source == other.price_source
            else _merge_sources(self, other),
            requests=self.requests + other.requests,
            unpriced_requests=self.unpriced_requests + other.unpriced_requests,
        )

    def with_cost(self, cost: Decimal | None, source: str | None) -> Usage:
        """Return a copy of one response's usage, priced (`None`: no price known)."""
        return replace(
            self, cost=cost, price_source=source, unpriced_requests=self.requests if cost is None else 0
        )


def _merge_sources(one: Usage, other: Usage) -> str | None:
    sources = [source for source in (one.price_source, other.price_source) if source]
    return " + ".join(dict.fromkeys(sources)) or None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= MAX_TOKENS
