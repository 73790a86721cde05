"""What a call consumed: tokens in inclusive buckets, searches, and money.

Buckets are inclusive: `input_tokens` contains `cache_read_tokens` and `cache_write_tokens`, `output_tokens` contains `reasoning_tokens`, and
both contain what was sound, image or video. So nothing is counted twice by adding input and output.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from operator import add, attrgetter
from typing import Final

MAX_TOKENS: Final = 10**12
"""More than any response has; what adds up such numbers stays far from the bounds of 64 bits."""
MAX_COST: Final = Decimal(10**7)
"""US dollars; more than any response costs."""
VENDOR: Final = "vendor"
"""Source of a price that is none: the vendor has said what the response costs."""

COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "input_video_tokens",
    "input_audio_seconds",
    "cache_read_audio_tokens",
    "cache_read_image_tokens",
    "output_audio_tokens",
    "output_image_tokens",
    "output_video_tokens",
    "web_searches",
    "file_searches",
)
"""Names of everything that is counted, and adds up."""
_counted: Final = attrgetter(*COUNTS)
"""Reads all of them at once: it is done several times for each call."""
_AND: Final = " + "
_WORD: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_UNSAID: Final = frozenset({"auto", "unspecified", "traffic_type_unspecified"})
"""Words by which the account's own setting decides, or nothing is said."""
_SAME: Final[Mapping[str, str]] = {
    "default": "standard",
    "on_demand": "standard",
    "standard_only": "standard",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "on_demand_offpeak": "offpeak",
    "provisioned_throughput": "provisioned",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and cost of one or several model calls."""

    input_tokens: int = 0
    """Tokens read, cached ones included."""
    output_tokens: int = 0
    """Tokens written, reasoning included."""
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """Of `cache_write_tokens`, those that the vendor keeps for an hour."""
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    """Of `input_tokens`, those that stand for sound; the others likewise."""
    input_image_tokens: int = 0
    """Images and pages of documents."""
    input_video_tokens: int = 0
    input_audio_seconds: int = 0
    """Seconds of sound that the vendor bills by their time, and counts in no tokens: begun ones are whole."""
    cache_read_audio_tokens: int = 0
    """Of `cache_read_tokens`, and of `input_audio_tokens`."""
    cache_read_image_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    output_video_tokens: int = 0
    web_searches: int = 0
    """Searches of the vendor's own tool, as it bills them."""
    file_searches: int = 0
    cost: Decimal | None = None
    """US dollars; `None` when no price is known, never 0 for an unknown price."""
    price_source: str | None = None
    """Where the price comes from and its version, such as `genai-prices 0.2.3`; `vendor` where the vendor said the cost."""
    service_tier: str | None = None
    """The tier that served it, such as `standard`, `priority`, `flex` or `fast`: as the vendor says, else as it was asked for."""
    region: str | None = None
    """Where it was served, such as `us` or `global`, where the vendor says so and has a price for it."""
    model: str | None = None
    """The model, where it is another than the answer's: of an iteration."""
    iterations: tuple[Usage, ...] = ()
    """What a response is the sum of, where the vendor asked models several times for it and tells so."""
    requests: int = 0
    """Provider responses summed up in this value."""
    unpriced_requests: int = 0
    """How many of `requests` had no known price, so that `cost` is a lower bound."""

    @property
    def total_tokens(self) -> int:
        """Input plus output tokens."""
        return self.input_tokens + self.output_tokens

    @property
    def is_nothing(self) -> bool:
        """Whether it tells of no use at all."""
        return self.cost is None and not any(_counted(self))

    @property
    def is_negative(self) -> bool:
        """Whether a quantity or the cost is below zero, which no response has used."""
        counts = (self.requests, *_counted(self))
        if _are_whole(counts):  # looked at once, since every response is
            is_below = min(counts) < 0
        else:
            is_below = any(_is_number(count) and count < 0 for count in counts)
        return is_below or (self.cost is not None and _is_number(self.cost) and self.cost < 0)

    @property
    def is_plausible(self) -> bool:
        """Whether one response can have used this much; what a broken gateway reports may be no number at all."""
        counts = (self.requests, *_counted(self))
        if _are_whole(counts):
            if min(counts) < 0 or max(counts) > MAX_TOKENS:
                return False
        elif not all(map(_is_count, counts)):
            return False
        return self.cost is None or (_is_number(self.cost) and 0 <= self.cost <= MAX_COST)

    @property
    def is_partial_cost(self) -> bool:
        """Whether some summed-up response had no price."""
        return self.unpriced_requests > 0

    def counts(self) -> dict[str, int]:
        """Return everything that is counted, by name."""
        return dict(zip(COUNTS, _counted(self), strict=True))

    def __add__(self, other: Usage) -> Usage:
        costs = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Usage(
            **dict(zip(COUNTS, map(add, _counted(self), _counted(other)), strict=True)),
            cost=sum(costs, Decimal(0)) if costs else None,
            price_source=_merged(self.price_source, other.price_source),
            service_tier=_merged(self.service_tier, other.service_tier),
            region=_merged(self.region, other.region),
            requests=self.requests + other.requests,
            unpriced_requests=self.unpriced_requests + other.unpriced_requests,
        )

    def with_cost(self, cost: Decimal | None, source: str | None) -> Usage:
        """Return a copy of one response's usage, priced (`None`: no price known)."""
        return replace(
            self, cost=cost, price_source=source, unpriced_requests=self.requests if cost is None else 0
        )


def tier_name(stated: object) -> str | None:
    """Return the one word for a tier; `None` where nothing is said, or nothing that could be one."""
    if not isinstance(stated, str):
        return None
    word = stated.lower()
    if word in _UNSAID or not _WORD.fullmatch(word):
        return None
    return _SAME.get(word, word)


def region_name(stated: object) -> str | None:
    """Return the word for a place; `None` where nothing is said, or nothing that could be one."""
    word = stated.lower() if isinstance(stated, str) else ""
    return word if word != "not_available" and _WORD.fullmatch(word) else None


def _merged(one: str | None, other: str | None) -> str | None:
    """Return all that two texts name, each once."""
    if one == other:
        return one
    names = [name for text in (one, other) if text for name in text.split(_AND)]
    return _AND.join(dict.fromkeys(names)) or None


def _are_whole(values: Iterable[object]) -> bool:
    """Whether all are whole numbers, as far as a look at their types tells."""
    return set(map(type, values)) == {int}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and not math.isnan(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= MAX_TOKENS
