"""Unit prices of a model, and what they depend on: the size of the input, the tier that serves.

All prices are US dollars per 1,000,000 tokens. A price that is not known is `None`, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Final

from llm_client.errors import ConfigurationError
from llm_client.usage import Usage, tier_name

MILLION = Decimal(1_000_000)
_HOUR: Final = 3600

REGION: Final = "inference_geo"
"""The condition, and Anthropic's field, that says where a request is served."""
_ASKED: Final = ("service_tier", "speed")
_DEARER: Final = frozenset({"fast", "priority", "ultrafast"})
_REGIONS: Final[Mapping[tuple[str, str], Decimal]] = {("anthropic", "us"): Decimal("1.1")}
"""Of all tokens (docs.aws.amazon.com/claude-platform, "Data residency": US, a 1.1x pricing multiplier; platform.claude.com, "Pricing")."""
_NO_REGION: Final = re.compile(
    r"claude-(?:[0-3]\b|instant|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?!-?[0-9]{1,2}\b))"
)
"""Models of Anthropic's before 4.6, which are asked for no place."""
_COMMITTED: Final = frozenset({("anthropic", "priority")})
"""Tiers whose capacity was bought in advance: what tokens cost in them is not told by a price of their own."""


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

    def times(self, factor: Decimal) -> Rate:
        """Return the price times a factor."""
        return Rate(self.base * factor, tuple((start, tier * factor) for start, tier in self.tiers))


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
    cache_write_1h: Rate | None = None
    """Writes that the vendor keeps for an hour; without it they cost what other writes do."""
    reasoning: Rate | None = None
    input_audio: Rate | None = None
    input_image: Rate | None = None
    input_video: Rate | None = None
    cache_read_audio: Rate | None = None
    cache_read_image: Rate | None = None
    output_audio: Rate | None = None
    output_image: Rate | None = None
    output_video: Rate | None = None
    request: Decimal = Decimal(0)
    """Dollars per request."""
    web_search: Decimal | None = None
    """Dollars per search; a response with searches that have no price has none itself."""
    file_search: Decimal | None = None
    input_audio_hour: Decimal | None = None
    """Dollars per hour of sound, where the vendor bills it by its time."""
    source: str = "override"

    @classmethod
    def of(
        cls,
        *,
        request: Decimal | int | str = 0,
        web_search: Decimal | float | str | None = None,
        file_search: Decimal | float | str | None = None,
        input_audio_hour: Decimal | float | str | None = None,
        source: str = "override",
        **rates: Price | None,
    ) -> ModelPrices:
        """Build prices from plain numbers.

        Args:
            request: Dollars per request.
            web_search: Dollars per search.
            file_search: Dollars per search.
            input_audio_hour: Dollars per hour of sound.
            source: What usages name as the source of the price.
            rates: Dollars per 1,000,000 tokens by bucket: `input`, `output`, `cache_read`, `input_audio` and so on.

        Raises:
            ConfigurationError: There is no such bucket, or something is no price.
        """
        if unknown := sorted(rates.keys() - RATES):
            raise ConfigurationError(f"{unknown[0]!r} is none of the buckets {', '.join(sorted(RATES))}")
        return cls(
            **{name: as_rate(price) for name, price in rates.items() if price is not None},
            request=as_rate(request).base,
            web_search=None if web_search is None else as_rate(web_search).base,
            file_search=None if file_search is None else as_rate(file_search).base,
            input_audio_hour=None if input_audio_hour is None else as_rate(input_audio_hour).base,
            source=source,
        )

    def times(self, factor: Decimal, source: str) -> ModelPrices:
        """Return the prices of all tokens times a factor; requests and searches cost what they do."""
        rates = {name: rate.times(factor) for name in RATES if (rate := getattr(self, name)) is not None}
        return replace(self, **rates, source=source)

    def cost(self, usage: Usage) -> Decimal | None:
        """Return what one response costs, or `None` when something was used that has no price.

        Every token is billed in exactly one bucket: the cached ones and those of sound and pictures are taken out of the
        input, reasoning out of the output, and a bucket can never hold more than what contains it.
        """
        total = Decimal(0)
        for tokens, rate in (*self._read(usage), *self._written(usage)):
            if tokens:
                if rate is None:
                    return None
                total += tokens * rate.at(usage.input_tokens)
        total = total / MILLION + self.request
        second = None if self.input_audio_hour is None else self.input_audio_hour / _HOUR
        counted = (
            (usage.web_searches, self.web_search),
            (usage.file_searches, self.file_search),
            (usage.input_audio_seconds, second),
        )
        for count, price in counted:
            if count:
                if price is None:
                    return None
                total += count * price
        return total

    def worst_case(self, input_tokens: int, output_tokens: int, *, media: bool = False) -> Decimal | None:
        """Return the most that a request with at most these tokens can cost; `None` without a price, or of sound billed by its time.

        A model that writes sound or pictures does so whether or not any went in.
        """
        read = [self.input, self.cache_read, self.cache_write, self.cache_write_1h]
        if media:
            read += [self.input_audio, self.input_image, self.input_video]
            read += [self.cache_read_audio, self.cache_read_image]
        written = [self.output, self.reasoning, self.output_audio, self.output_image, self.output_video]
        if media and self.input_audio_hour is not None:
            return None
        if (input_tokens and self.input is None) or (output_tokens and self.output is None):
            return None
        dearest_input = max((rate.highest(input_tokens) for rate in read if rate), default=Decimal(0))
        dearest_output = max((rate.highest(input_tokens) for rate in written if rate), default=Decimal(0))
        return (input_tokens * dearest_input + output_tokens * dearest_output) / MILLION + self.request

    def _read(self, usage: Usage) -> Iterator[tuple[int, Rate | None]]:
        """Yield the input's tokens with their rates. What is cached is text, as far as nothing else is said or possible."""
        fresh = {"audio": self.input_audio, "image": self.input_image, "video": self.input_video}
        left = {
            "text": usage.input_tokens,
            "video": usage.input_video_tokens,
            "image": usage.input_image_tokens,
            "audio": usage.input_audio_tokens,
        }
        for kind in fresh:
            left[kind] = _taken(left, "text", left[kind])
        read, written = usage.cache_read_tokens, usage.cache_write_tokens
        for kind, stated, rate in (
            ("audio", usage.cache_read_audio_tokens, self.cache_read_audio),
            ("image", usage.cache_read_image_tokens, self.cache_read_image),
        ):
            taken = _taken(left, kind, min(stated, read))
            read -= taken
            yield taken, rate or self.cache_read or fresh[kind] or self.input
        hourly = min(usage.cache_write_1h_tokens, written)
        for tokens, rate in (
            (read, self.cache_read),
            (hourly, self.cache_write_1h or self.cache_write),
            (written - hourly, self.cache_write),
        ):
            rest = tokens
            for kind in left:
                taken = _taken(left, kind, rest)
                rest -= taken
                yield taken, rate or fresh.get(kind) or self.input
        for kind, tokens in left.items():
            yield tokens, fresh.get(kind) or self.input

    def _written(self, usage: Usage) -> Iterator[tuple[int, Rate | None]]:
        """Yield the output's tokens with their rates."""
        left = usage.output_tokens
        for tokens, rate in (
            (usage.output_image_tokens, self.output_image),
            (usage.output_audio_tokens, self.output_audio),
            (usage.output_video_tokens, self.output_video),
            (usage.reasoning_tokens, self.reasoning),
        ):
            taken = min(tokens, left) if rate else 0
            left -= taken
            yield taken, rate
        yield left, self.output


def _taken(left: dict[str, int], kind: str, wanted: int) -> int:
    """Take as many tokens of a kind as are wanted and left."""
    taken = min(wanted, left[kind])
    left[kind] -= taken
    return taken


_NO_RATES = ("request", "web_search", "file_search", "input_audio_hour", "source")
RATES: Final = frozenset(field.name for field in fields(ModelPrices)) - frozenset(_NO_RATES)
"""The buckets whose prices are per 1,000,000 tokens."""


def asked_conditions(extra: Mapping[str, object]) -> Mapping[str, str] | None:
    """Return what a request's `extra` fields ask for, of what prices depend on."""
    named = {
        "service_tier": extra.get("service_tier") or extra.get("serviceTier"),
        "speed": extra.get("speed"),
        REGION: extra.get("inference_geo"),
    }
    return {name: value for name, value in named.items() if isinstance(value, str)} or None


def asked_tier(conditions: Mapping[str, str] | None) -> str | None:
    """Return the tier that conditions name; `None` where the account's setting decides."""
    if not conditions:
        return None
    if conditions.get("speed") == "fast":
        return "fast"
    return tier_name(conditions.get("service_tier"))


def other_conditions(conditions: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the conditions that name no tier."""
    return {name: value for name, value in (conditions or {}).items() if name not in _ASKED}


def price_conditions(provider: str, tier: str | None) -> Mapping[str, str]:
    """Return the conditions under which a price table keeps the price of a tier."""
    if tier is None or tier == "standard" or (provider, tier) in _COMMITTED:
        return {}
    if tier == "batch":
        return {"processing": "batch"}
    return {"service_tier": tier, "speed": "fast"} if tier == "fast" else {"service_tier": tier}


def region_factor(provider: str, region: str | None) -> Decimal | None:
    """Return by what a place multiplies the price of all tokens; `None` where it does not."""
    return _REGIONS.get((provider, region)) if region is not None else None


def dearest_region(provider: str, model: str) -> str | None:
    """Return the place that an account may be set to for a model, if it costs more than others."""
    return "us" if provider == "anthropic" and not _NO_REGION.search(model) else None


def is_dearer(conditions: Mapping[str, str]) -> bool:
    """Whether conditions name a tier that costs more than the standard one, so that its price is no stand-in."""
    return conditions.get("service_tier") in _DEARER or conditions.get("speed") == "fast"
