"""The bundled price table of `genai-prices`, resolved once per model. Importing this module takes some 150 ms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
)

from llm_client.model_names import canonical_model, searches_always
from llm_client.pricing.model_prices import (
    REGION,
    ModelPrices,
    Rate,
    asked_tier,
    dearest_region,
    is_dearer,
    other_conditions,
    price_conditions,
    region_factor,
)
from llm_client.spec import MAX_MODEL_NAME

SOURCE = f"genai-prices {genai_prices.__version__}"
MAX_ENTRIES = 10_000
"""How many look-ups are remembered; model names come from callers and responses, so there is no natural bound."""

_RATES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "input_audio": "input_audio_mtok",
    "input_image": "input_image_mtok",
    "input_video": "input_video_mtok",
    "cache_read_audio": "cache_audio_read_mtok",
    "cache_read_image": "cache_image_read_mtok",
    "output_audio": "output_audio_mtok",
    "output_image": "output_image_mtok",
    "output_video": "output_video_mtok",
}
_PER_THOUSAND = {
    "request": "requests_kcount",
    "web_search": "web_searches_kcount",
    "file_search": "storage_searches_kcount",
}
_HOURLY = "input_audio_hours"
_TIER = "service_tier"
_SEARCHES: Final = {("openai", True): Decimal("0.025"), ("openai", False): Decimal("0.01")}
"""Dollars per search of models that always search, of the preview and of newer ones (OpenAI's page of prices, "Web search", November 2026)."""
_PAGE: Final = "OpenAI's page of prices"


class _Model:
    """One model's prices: those of each period, and what changes them under conditions.

    Args:
        info: What the table says.
        is_own: Whether the vendor's own entry says it; conditions of another vendor's entry do not hold here.
    """

    def __init__(self, info: ModelInfo, *, is_own: bool) -> None:
        prices = info.prices
        self._periods = [ConditionalPrice(prices=prices)] if isinstance(prices, ModelPrice) else prices
        self._variants = tuple(info.price_variants or ()) if is_own else ()
        held = [entry.constraint for entry in self._periods] + [entry.constraint for entry in self._variants]
        self._constraints = [constraint for constraint in held if constraint is not None]
        self._made: dict[tuple[int, tuple[int, ...]], ModelPrices] = {}
        self.tiers = tuple(
            dict.fromkeys(variant.when[_TIER] for variant in self._variants if _TIER in variant.when)
        )
        """Service tiers that change the price."""

    def at(self, moment: datetime, conditions: Mapping[str, str]) -> ModelPrices | None:
        """Return the prices of a moment; `None` for a dearer tier whose price is not known."""
        period = 0
        for number, entry in enumerate(self._periods):
            if entry.constraint is None or entry.constraint.active(moment):
                period = number  # the last one that holds, or the first of all
        chosen = tuple(
            number
            for number, variant in enumerate(self._variants)
            if (variant.constraint is None or variant.constraint.active(moment))
            and all(conditions.get(key) == value for key, value in variant.when.items())
        )
        if is_dearer(conditions) and not any(
            variant.when.keys() & conditions.keys() for variant in map(self._variants.__getitem__, chosen)
        ):
            return None
        made = self._made.get((period, chosen))
        if made is None:
            made = self._made[period, chosen] = self._make(period, chosen)
        return made

    def moments(self, now: datetime) -> Iterator[datetime]:
        """Yield now and every moment within a day at which other prices may begin to hold."""
        yield now
        soon = now + timedelta(days=1)
        for constraint in self._constraints:
            if isinstance(constraint, StartDateConstraint):
                begins = [datetime.combine(constraint.start_date, time(tzinfo=UTC))]
            else:
                begins = [
                    datetime.combine(day.date(), hour.replace(tzinfo=hour.tzinfo or UTC))
                    for day in (now - timedelta(days=1), now, soon)
                    for hour in (constraint.start_time, constraint.end_time)
                ]
            yield from (moment for moment in begins if now < moment <= soon)

    def _make(self, period: int, chosen: tuple[int, ...]) -> ModelPrices:
        """Return the stored prices of a period, changed by variants of which the first wins."""
        stored = {
            key: value for key, value in vars(self._periods[period].prices).items() if value is not None
        }
        changed: dict[str, Any] = {}
        for number in chosen:
            for key, value in vars(self._variants[number].prices).items():
                if value is not None:
                    changed.setdefault(key, value)
        return _to_prices(stored | changed)


class PriceTable:
    """Unit prices of the models `genai-prices` knows."""

    def __init__(self) -> None:
        self._snapshot = get_snapshot()
        self._models: dict[tuple[str, str], _Model | None] = {}

    def prices(
        self, provider: str, model: str, now: datetime, conditions: Mapping[str, str] | None = None
    ) -> ModelPrices | None:
        """Return the prices that hold at a time, or `None` for an unknown model or a dearer tier of unknown price."""
        known = self._model(provider, model)
        prices = None if known is None else known.at(now, conditions or {})
        return _placed(_searching(prices, provider, model), provider, conditions)

    def candidates(
        self, provider: str, model: str, now: datetime, conditions: Mapping[str, str] | None = None
    ) -> list[ModelPrices | None]:
        """Return every set of prices that a request may be billed by within a day from now.

        A tier that was asked for may be refused, so that the standard one serves the request. Where none was asked for, an
        account's setting may have chosen any. `None` among them stands for a price that is not known.
        """
        known = self._model(provider, model)
        if known is None:
            return []
        others, tier = other_conditions(conditions), asked_tier(conditions)
        if tier is None:
            tiers = [{_TIER: name} for name in known.tiers]
            found = [known.at(moment, {**others, **held}) for moment in known.moments(now) for held in tiers]
            served: list[ModelPrices | None] = [prices for prices in found if prices is not None]
        else:
            held = price_conditions(provider, tier)
            served = [known.at(moment, {**others, **held}) for moment in known.moments(now)]
        every = [*served, *(known.at(moment, others) for moment in known.moments(now))]
        place = {REGION: region} if (region := dearest_region(provider, model)) else {}
        return [
            _placed(_searching(prices, provider, model), provider, {**place, **others}) for prices in every
        ]

    def _model(self, provider: str, model: str) -> _Model | None:
        if len(model) > MAX_MODEL_NAME:
            return None
        key = (provider, model)
        if key not in self._models:
            if len(self._models) >= MAX_ENTRIES:
                self._models.clear()
            self._models[key] = self._find(provider, model) or self._find(provider, canonical_model(model))
        return self._models[key]

    def _find(self, provider: str, model: str) -> _Model | None:
        try:
            vendor, info = self._snapshot.find_provider_model(model, None, provider, None)
        except LookupError:
            return None
        return _Model(info, is_own=any(info is each for each in vendor.models))


def _searching(prices: ModelPrices | None, provider: str, model: str) -> ModelPrices | None:
    """Return the prices of a model with that of the search which it always makes; the table knows those of models that are asked for one."""
    if prices is None or not searches_always(model):
        return prices
    search = _SEARCHES.get((provider, "preview" in model))
    return replace(
        prices, web_search=search, source=prices.source if search is None else f"{prices.source}, {_PAGE}"
    )


def _placed(
    prices: ModelPrices | None, provider: str, conditions: Mapping[str, str] | None
) -> ModelPrices | None:
    """Return prices as they are where a request is served."""
    region = (conditions or {}).get(REGION)
    factor = region_factor(provider, region)
    return prices if prices is None or factor is None else prices.times(factor, f"{prices.source}, {region}")


def _to_prices(stored: Mapping[str, Any]) -> ModelPrices:
    known: dict[str, Any] = {name: _rate(stored[key]) for name, key in _RATES.items() if key in stored}
    for name, key in _PER_THOUSAND.items():
        if key in stored:
            known[name] = _rate(stored[key]).base / 1000
    if _HOURLY in stored:
        known["input_audio_hour"] = _rate(stored[_HOURLY]).base
    return ModelPrices(**known, source=SOURCE)


def _rate(price: Decimal | TieredPrices) -> Rate:
    if isinstance(price, TieredPrices):
        return Rate(price.base, tuple((tier.start, tier.price) for tier in price.tiers))
    return Rate(price)
