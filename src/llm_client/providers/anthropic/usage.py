"""What a message of Anthropic's Messages API says of its use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from llm_client.providers.response import part_of, whole_number
from llm_client.spec import MAX_MODEL_NAME
from llm_client.usage import Usage, region_name, tier_name

_BESIDE: Final = frozenset({"compaction", "advisor_message"})
"""Iterations whose tokens are not in the totals (Anthropic's reference of `usage.iterations`)."""
MAX_ITERATIONS: Final = 100
"""More than any answer takes; each is priced on its own, at its own model's price."""


def read_usage(usage: Mapping[str, object]) -> Usage:
    """Return usage in inclusive buckets; Anthropic counts cached tokens beside the other input.

    Where it tells of iterations, the answer is their sum: what a conversation's compaction took, and what a model of its own was asked as
    an adviser, is billed but stands in no total. Raises `ValueError` when there are more of them than anybody has meant.
    """
    total = _read_one(usage)
    tier = tier_name(usage.get("service_tier"))
    total = replace(
        total,
        reasoning_tokens=whole_number(part_of(usage, "output_tokens_details").get("thinking_tokens")),
        web_searches=whole_number(part_of(usage, "server_tool_use").get("web_search_requests")),
        service_tier="fast" if usage.get("speed") == "fast" else tier,
        region=region_name(usage.get("inference_geo")),
    )
    stated = usage.get("iterations")
    if isinstance(stated, list) and len(stated) > MAX_ITERATIONS:
        raise ValueError(f"its usage has more than {MAX_ITERATIONS} iterations")
    entries = [entry for entry in stated if isinstance(entry, Mapping)] if isinstance(stated, list) else []
    return _sum_of(total, entries) if entries else total


def _sum_of(total: Usage, entries: list[Mapping[str, Any]]) -> Usage:
    own = [_read_one(entry) for entry in entries if entry.get("type") not in _BESIDE]
    beside = [_read_one(entry) for entry in entries if entry.get("type") in _BESIDE]
    told = sum(own, Usage()).total_tokens
    if not beside and len(own) == 1 and own[0].model is None and told == total.total_tokens:
        return total
    if not own or told < total.total_tokens:
        own = [total]  # they leave something out
    first = replace(own[0], web_searches=total.web_searches, service_tier=None, region=None)
    iterations = (first, *own[1:], *beside)
    return replace(
        sum(iterations, Usage()),
        reasoning_tokens=total.reasoning_tokens,
        service_tier=total.service_tier,
        region=total.region,
        iterations=iterations,
        requests=1,
    )


def _read_one(usage: Mapping[str, object]) -> Usage:
    """Return what one request to a model took."""
    created = part_of(usage, "cache_creation")
    hourly = whole_number(created.get("ephemeral_1h_input_tokens"))
    stated = whole_number(usage.get("cache_creation_input_tokens"))
    written = max(stated, hourly + whole_number(created.get("ephemeral_5m_input_tokens")))
    read = whole_number(usage.get("cache_read_input_tokens"))
    model = usage.get("model")
    return Usage(
        input_tokens=whole_number(usage.get("input_tokens")) + read + written,
        output_tokens=whole_number(usage.get("output_tokens")),
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=hourly,
        model=model if isinstance(model, str) and 0 < len(model) <= MAX_MODEL_NAME else None,
        requests=1,
    )
