"""The bundled price table of `genai-prices`, resolved once per model. Importing this module takes some 150 ms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

from llm_client.model_names import canonical_model
from llm_client.pricing import ModelPrices, Rate

SOURCE = f"genai-prices {genai_prices.__version__}"
MAX_ENTRIES = 10_000
"""How many look-ups are remembered; model names come from callers and responses, so there is no natural bound."""

_TOKENS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
}
_MEDIA_INPUT = ("input_audio_mtok", "input_image_mtok", "input_video_mtok")
_MEDIA_OUTPUT = ("output_audio_mtok", "output_image_mtok", "output_video_mtok")


@dataclass(frozen=True, slots=True)
class _Dated:
    constraint: Any
    prices: ModelPrices


class PriceTable:
    """Unit prices of the models `genai-prices` knows."""

    def __init__(self) -> None:
        self._snapshot = get_snapshot()
        self._entries: dict[tuple[str, str, tuple[tuple[str, str], ...]], tuple[_Dated, ...]] = {}

    def prices(
        self, provider: str, model: str, now: datetime, conditions: Mapping[str, str] | None = None
    ) -> ModelPrices | None:
        """Return the prices that hold at a time, or `None` for an unknown model."""
        entries = self._resolve(provider, model, conditions)
        for entry in reversed(entries):
            if entry.constraint is None or entry.constraint.active(now):
                return entry.prices
        return entries[0].prices if entries else None

    def candidates(
        self, provider: str, model: str, now: datetime, conditions: Mapping[str, str] | None = None
    ) -> list[ModelPrices]:
        """Return every set of prices that may hold within a day from now."""
        soon = now + timedelta(days=1)
        entries = self._resolve(provider, model, conditions)
        return [
            entry.prices
            for entry in entries
            if not isinstance(entry.constraint, StartDateConstraint) or entry.constraint.active(soon)
        ] or [entry.prices for entry in entries[:1]]

    def _resolve(self, provider: str, model: str, conditions: Mapping[str, str] | None) -> tuple[_Dated, ...]:
        key = (provider, model, tuple(sorted(conditions.items())) if conditions else ())
        entries = self._entries.get(key)
        if entries is None:
            if len(self._entries) >= MAX_ENTRIES:
                self._entries.clear()
            entries = self._entries[key] = self._read(provider, model, dict(conditions or {}))
        return entries

    def _find(self, provider: str, model: str) -> ModelInfo | None:
        try:
            return self._snapshot.find_provider_model(model, None, provider, None)[1]
        except LookupError:
            return None

    def _read(self, provider: str, model: str, conditions: dict[str, str]) -> tuple[_Dated, ...]:
        info = self._find(provider, model) or self._find(provider, canonical_model(model))
        if info is None:
            return ()
        prices = info.prices
        dated = [ConditionalPrice(prices=prices)] if isinstance(prices, ModelPrice) else prices
        return tuple(
            _Dated(entry.constraint, _to_prices(_with_variants(info, entry.prices, conditions)))
            for entry in dated
        )


def _with_variants(info: ModelInfo, prices: ModelPrice, conditions: dict[str, str]) -> dict[str, Any]:
    """Return the stored prices of a model, overridden by those its conditions select (first match wins)."""
    stored = {key: value for key, value in vars(prices).items() if value is not None}
    chosen: dict[str, Any] = {}
    for variant in info.price_variants or ():
        if variant.constraint is None and all(
            conditions.get(key) == value for key, value in variant.when.items()
        ):
            for key, value in vars(variant.prices).items():
                if value is not None:
                    chosen.setdefault(key, value)
    return stored | chosen


def _to_prices(stored: Mapping[str, Any]) -> ModelPrices:
    buckets = {name: _rate(stored[key]) for name, key in _TOKENS.items() if key in stored}
    request = stored.get("requests_kcount")
    return ModelPrices(
        **buckets,
        request=_rate(request).base / 1000 if request is not None else Decimal(0),
        rare=_rates(stored, ("cache_write_1h_mtok",)),
        media_input=_rates(stored, _MEDIA_INPUT),
        media_output=_rates(stored, _MEDIA_OUTPUT),
        source=SOURCE,
    )


def _rates(stored: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[Rate, ...]:
    return tuple(_rate(stored[key]) for key in keys if key in stored)


def _rate(price: Decimal | TieredPrices) -> Rate:
    if isinstance(price, TieredPrices):
        return Rate(price.base, tuple((tier.start, tier.price) for tier in price.tiers))
    return Rate(price)
