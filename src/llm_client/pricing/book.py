"""What one response costs: overrides first, then the bundled table of prices. A price that is not known is `None`, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from llm_client.clock import Clock, utc_now
from llm_client.errors import ConfigurationError
from llm_client.model_names import canonical_model, searches_always
from llm_client.pricing.model_prices import (
    REGION,
    ModelPrices,
    asked_tier,
    other_conditions,
    price_conditions,
)
from llm_client.usage import VENDOR, Usage

if TYPE_CHECKING:
    from llm_client.pricing.table import PriceTable

UNPRICED_PROVIDERS = frozenset({"scripted", "function"})
"""Doubles: looking their models up in a price table would only cost time."""

_ONE_OF_EACH = Usage(input_tokens=1, output_tokens=1)


class PriceBook:
    """Prices of models: overrides first, then the bundled table of `genai-prices`.

    Args:
        overrides: Prices by `provider:model`, `provider:*` or `*:model`; the most specific wins.
        clock: Tells the time, for prices that depend on it.
    """

    def __init__(self, overrides: Mapping[str, ModelPrices] | None = None, *, clock: Clock = utc_now) -> None:
        self._overrides = dict(overrides or {})
        for name in self._overrides:
            if ":" not in name:
                raise ConfigurationError(
                    f"price override {name!r}: write 'provider:model', 'provider:*' or '*:model'"
                )
        self._clock = clock
        self._table: PriceTable | None = None

    def needs_loading(self, provider: str, model: str) -> bool:
        """Whether the next look-up of this model would import the price table, which takes some 150 ms."""
        return (
            self._table is None
            and provider not in UNPRICED_PROVIDERS
            and self._override(provider, model) is None
        )

    def load(self) -> None:
        """Import the bundled price table; call it in a thread to keep the event loop free."""
        if self._table is None:
            from llm_client.pricing.table import PriceTable

            self._table = PriceTable()

    def prices(
        self,
        provider: str,
        model: str,
        conditions: Mapping[str, str] | None = None,
        *,
        asked: str | None = None,
    ) -> ModelPrices | None:
        """Return the unit prices of a model that hold now, or `None` when they are not known.

        Args:
            provider: Vendor name, such as `openai`.
            model: Model name as the vendor writes it.
            conditions: What prices may depend on, such as `{"service_tier": "priority"}`.
            asked: The name the model was asked by, if the vendor answered with a longer one.
        """
        override = self._override(provider, model) or (self._override(provider, asked) if asked else None)
        if override is not None or provider in UNPRICED_PROVIDERS:
            return override
        self.load()
        if self._table is None:
            return None
        now = self._clock()
        known = self._table.prices(provider, model, now, conditions)
        return known or (self._table.prices(provider, asked, now, conditions) if asked else None)

    def cost(self, provider: str, model: str, usage: Usage) -> Decimal | None:
        """Return what one response cost, or `None` when no price is known."""
        return self.price(provider, model, usage).cost

    def price(
        self,
        provider: str,
        model: str,
        usage: Usage,
        conditions: Mapping[str, str] | None = None,
        *,
        asked: str | None = None,
    ) -> Usage:
        """Return a response's usage with its cost, the source of the price and the tier it holds for.

        A cost the vendor itself reported is kept. The tier that has served a response counts, the one that was asked for
        where the vendor tells none. Of several iterations each is priced alone, at its own model's price. Without a known
        price, and where the vendor says nothing of the use, `cost` is `None` and the response is counted in `unpriced_requests`.

        Args:
            provider: Vendor name.
            model: Model that answered.
            usage: What the response has used.
            conditions: What was asked for, of what prices may depend on, as in `prices`.
            asked: The name the model was asked by, if the vendor answered with a longer one.
        """
        tier = asked_tier(conditions) if usage.service_tier is None else usage.service_tier
        if usage.requests == 0 or usage.service_tier != tier:
            usage = replace(usage, requests=usage.requests or 1, service_tier=tier)
        if usage.cost is not None:
            return usage if usage.price_source else replace(usage, price_source=VENDOR)
        others = other_conditions(conditions)
        if not usage.iterations:
            return self._priced(provider, model, usage, others, asked)
        return self._sum(provider, model, usage, others, asked)

    def _priced(
        self, provider: str, model: str, usage: Usage, others: Mapping[str, str], asked: str | None
    ) -> Usage:
        place = {} if usage.region is None else {REGION: usage.region}
        conditions = {**others, **place, **price_conditions(provider, usage.service_tier)}
        prices = self.prices(provider, model, conditions, asked=asked)
        cost = _cost(prices, usage) if prices else None
        return usage.with_cost(cost, prices.source if prices and cost is not None else None)

    def _sum(
        self, provider: str, model: str, usage: Usage, others: Mapping[str, str], asked: str | None
    ) -> Usage:
        """Price each iteration of a response: long ones have a price of their own, and so have other models."""
        priced = []
        for iteration in usage.iterations:
            tiered = replace(iteration, service_tier=usage.service_tier, region=usage.region, requests=1)
            if iteration.model is None:
                priced.append(self._priced(provider, model, tiered, others, asked))
                continue
            own = self._priced(provider, iteration.model, tiered, others, None)
            if own.cost is None:  # the tier is that of the model which was asked; an adviser may not have it
                own = self._priced(
                    provider, iteration.model, replace(tiered, service_tier=None), others, None
                )
            priced.append(own)
        total = sum(priced, Usage())
        cost = None if total.is_partial_cost else total.cost
        return replace(usage, iterations=tuple(priced)).with_cost(
            cost, total.price_source if cost is not None else None
        )

    def worst_case(
        self,
        provider: str,
        model: str,
        input_tokens: int,
        output_tokens: int,
        *,
        media: bool = False,
        conditions: Mapping[str, str] | None = None,
    ) -> Decimal | None:
        """Return the most a request can cost, for reserving it in a budget.

        Every token is assumed to fall into the dearest bucket and tier a request of this size can reach, at any time
        of this day or the next. A service tier that was asked for may be refused, and without one the account's own
        setting decides: so the dearest that can serve the request counts.

        Args:
            provider: Vendor name.
            model: Model name.
            input_tokens: Upper bound of the tokens read.
            output_tokens: Upper bound of the tokens written, reasoning included.
            media: Whether images, sound or video go in.
            conditions: What prices may depend on, as in `prices`.
        """
        override = self._override(provider, model)
        if override is not None:
            return _bound(override, model, input_tokens, output_tokens, media=media)
        if provider in UNPRICED_PROVIDERS:
            return None
        self.load()
        if self._table is None:
            return None
        costs = [
            None if prices is None else _bound(prices, model, input_tokens, output_tokens, media=media)
            for prices in self._table.candidates(provider, model, self._clock(), conditions)
        ]
        known = [cost for cost in costs if cost is not None]
        return max(known) if known and len(known) == len(costs) else None

    def _override(self, provider: str, model: str) -> ModelPrices | None:
        if not self._overrides:
            return None
        canonical = canonical_model(model)
        for name in (
            f"{provider}:{model}",
            f"{provider}:{canonical}",
            f"*:{model}",
            f"*:{canonical}",
            f"{provider}:*",
        ):
            if name in self._overrides:
                return self._overrides[name]
        return None


def _cost(prices: ModelPrices, usage: Usage) -> Decimal | None:
    """Return what a response cost; of one that says nothing of its use, only what it costs however much that was."""
    cost = prices.cost(usage)
    return cost if not usage.is_nothing or prices.cost(_ONE_OF_EACH) == cost else None


def _bound(
    prices: ModelPrices, model: str, input_tokens: int, output_tokens: int, *, media: bool
) -> Decimal | None:
    """Return the most that a request to a model can cost by these prices, with the search that some models make each time."""
    cost = prices.worst_case(input_tokens, output_tokens, media=media)
    if cost is None or not searches_always(model):
        return cost
    return None if prices.web_search is None else cost + prices.web_search
