"""What tokens cost: unit prices per model, overrides, and the price of one response.

All prices are US dollars per 1,000,000 tokens. A price that is not known is `None`, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from llm_client.clock import Clock, utc_now
from llm_client.errors import ConfigurationError
from llm_client.model_names import canonical_model
from llm_client.usage import Usage

if TYPE_CHECKING:
    from llm_client.price_table import PriceTable

MILLION = Decimal(1_000_000)
UNPRICED_PROVIDERS = frozenset({"scripted", "function"})
"""Doubles: looking their models up in a price table would only cost time."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A unit price that may depend on the size of the input.

    A tier applies to *all* tokens of a request whose input is larger than the tier's start, which is how vendors bill.
    """

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()
    """Pairs of (input tokens above which it applies, price), ascending."""

    def at(self, input_tokens: int) -> Decimal:
        """Return the price for a request with this many input tokens."""
        price = self.base
        for start, tier in self.tiers:
            if input_tokens > start:
                price = tier
        return price

    def highest(self, input_tokens: int) -> Decimal:
        """Return the highest price of any request with at most this many input tokens."""
        return max([self.base, *(tier for start, tier in self.tiers if input_tokens > start)])


Price = Decimal | int | float | str | Rate


def as_rate(price: Price) -> Rate:
    """Return a price as a rate; floats count as their shortest decimal text.

    Raises:
        ConfigurationError: The price is not a number from 0 up.
    """
    if isinstance(price, Rate):
        return price
    try:
        value = Decimal(str(price))
    except ArithmeticError as error:
        raise ConfigurationError(f"{price!r} is not a price") from error
    if not value.is_finite() or value < 0:
        raise ConfigurationError(f"{price!r} is not a price")
    return Rate(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrices:
    """The unit prices of one model. Where a bucket has none, its tokens cost what plain input or output costs."""

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    reasoning: Rate | None = None
    request: Decimal = Decimal(0)
    """Dollars per request."""
    rare: tuple[Rate, ...] = ()
    """Further input prices that a response's usage does not tell apart (hour-long cache writes); for upper bounds."""
    media_input: tuple[Rate, ...] = ()
    media_output: tuple[Rate, ...] = ()
    source: str = "override"

    @classmethod
    def of(
        cls,
        *,
        input: Price | None = None,  # noqa: A002 -- the bucket's name
        output: Price | None = None,
        cache_read: Price | None = None,
        cache_write: Price | None = None,
        reasoning: Price | None = None,
        request: Decimal | int | str = 0,
        source: str = "override",
    ) -> ModelPrices:
        """Build prices from plain numbers, in dollars per 1,000,000 tokens."""
        return cls(
            input=None if input is None else as_rate(input),
            output=None if output is None else as_rate(output),
            cache_read=None if cache_read is None else as_rate(cache_read),
            cache_write=None if cache_write is None else as_rate(cache_write),
            reasoning=None if reasoning is None else as_rate(reasoning),
            request=as_rate(request).base,
            source=source,
        )

    def cost(self, usage: Usage) -> Decimal | None:
        """Return what one response costs, or `None` when tokens were used that have no price.

        Every token is billed in exactly one bucket: the cached ones are taken out of the input, reasoning out of the
        output, and a bucket can never hold more than what contains it.
        """
        read = min(usage.cache_read_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - read)
        thought = min(usage.reasoning_tokens, usage.output_tokens) if self.reasoning else 0
        total = Decimal(0)
        for tokens, rate in (
            (usage.input_tokens - read - written, self.input),
            (read, self.cache_read or self.input),
            (written, self.cache_write or self.input),
            (thought, self.reasoning),
            (usage.output_tokens - thought, self.output),
        ):
            if tokens:
                if rate is None:
                    return None
                total += tokens * rate.at(usage.input_tokens)
        return total / MILLION + self.request

    def worst_case(self, input_tokens: int, output_tokens: int, *, media: bool = False) -> Decimal | None:
        """Return the most that a request with at most these tokens can cost; `None` without a price."""
        read = [
            self.input,
            self.cache_read,
            self.cache_write,
            *self.rare,
            *(self.media_input if media else ()),
        ]
        written = [self.output, self.reasoning, *(self.media_output if media else ())]
        if (input_tokens and self.input is None) or (output_tokens and self.output is None):
            return None
        dearest_input = max((rate.highest(input_tokens) for rate in read if rate), default=Decimal(0))
        dearest_output = max((rate.highest(input_tokens) for rate in written if rate), default=Decimal(0))
        return (input_tokens * dearest_input + output_tokens * dearest_output) / MILLION + self.request


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
            from llm_client.price_table import PriceTable

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
        """Return a response's usage with its cost and the source of the price.

        A cost the vendor itself reported is kept. Without a known price `cost` is `None` and the response is counted
        in `unpriced_requests`.
        """
        if usage.requests == 0:
            usage = replace(usage, requests=1)
        if usage.cost is not None:
            return usage if usage.price_source else replace(usage, price_source="vendor")
        prices = self.prices(provider, model, conditions, asked=asked)
        cost = prices.cost(usage) if prices else None
        return usage.with_cost(cost, prices.source if prices and cost is not None else None)

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
        of this day or the next.

        Args:
            provider: Vendor name.
            model: Model name.
            input_tokens: Upper bound of the tokens read.
            output_tokens: Upper bound of the tokens written, reasoning included.
            media: Whether images, sound or video go in or come out.
            conditions: What prices may depend on, as in `prices`.
        """
        override = self._override(provider, model)
        if override is not None:
            return override.worst_case(input_tokens, output_tokens, media=media)
        if provider in UNPRICED_PROVIDERS:
            return None
        self.load()
        if self._table is None:
            return None
        candidates = self._table.candidates(provider, model, self._clock(), conditions)
        costs = [prices.worst_case(input_tokens, output_tokens, media=media) for prices in candidates]
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
