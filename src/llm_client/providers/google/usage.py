"""What an answer of Google's `generateContent`, or of its embeddings, says of its use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from llm_client.providers.response import object_in, whole_number
from llm_client.usage import Usage, tier_name

_BY_PROMPT: Final = re.compile(r"gemini-(1|2)\b")
"""Models whose searches are billed once for a request; newer ones are billed for each query (Google's page of prices, November 2026)."""
_MOST_KINDS: Final = 64
"""Entries that are read of a list with one for each kind of content."""


def read_usage(usage: object, searches: int = 0) -> Usage:
    """Return usage in inclusive buckets; Google counts thoughts beside the answer, and tool prompts beside the prompt.

    Args:
        usage: The answer's `usageMetadata`.
        searches: How many searches are billed.
    """
    if not isinstance(usage, Mapping):
        return Usage(requests=1, web_searches=searches)
    thoughts = whole_number(usage.get("thoughtsTokenCount"))
    given = _by_kind(usage, "promptTokensDetails", "toolUsePromptTokensDetails")
    cached = _by_kind(usage, "cacheTokensDetails")
    written = _by_kind(usage, "candidatesTokensDetails", "responseTokensDetails")
    return Usage(
        input_tokens=whole_number(usage.get("promptTokenCount"))
        + whole_number(usage.get("toolUsePromptTokenCount")),
        output_tokens=whole_number(usage.get("candidatesTokenCount")) + thoughts,
        cache_read_tokens=whole_number(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        input_audio_tokens=given["AUDIO"],
        input_image_tokens=given["IMAGE"] + given["DOCUMENT"],
        input_video_tokens=given["VIDEO"],
        cache_read_audio_tokens=cached["AUDIO"],
        cache_read_image_tokens=cached["IMAGE"] + cached["DOCUMENT"],
        output_audio_tokens=written["AUDIO"],
        output_image_tokens=written["IMAGE"] + written["DOCUMENT"],
        output_video_tokens=written["VIDEO"],
        web_searches=searches,
        service_tier=tier_name(usage.get("serviceTier")) or tier_name(usage.get("trafficType")),
        requests=1,
    )


def read_answer_usage(answer: object, asked: str) -> Usage:
    """Return the usage of a whole answer of a model, or of the one that was asked where it names none."""
    answer = object_in(answer)
    candidates = answer.get("candidates")
    queries = queries_of(candidates[0]) if candidates else ()
    searches = billed_searches(len(set(queries)), answer.get("modelVersion") or asked)
    return read_usage(answer.get("usageMetadata"), searches)


def read_embedding_usage(answer: object) -> Usage:
    """Return the usage of vectors."""
    answer = object_in(answer)
    usage = answer.get("usageMetadata")
    read = usage.get("promptTokenCount") if isinstance(usage, Mapping) else 0
    return Usage(input_tokens=whole_number(read), requests=1)


def queries_of(candidate: object) -> list[str]:
    """Return what was searched for in the web to ground a candidate; blank queries are not billed."""
    candidate = object_in(candidate)
    grounding = candidate.get("groundingMetadata")
    queries = grounding.get("webSearchQueries") if isinstance(grounding, Mapping) else None
    stated = queries if isinstance(queries, list) else ()
    return [query for query in stated if isinstance(query, str) and query.strip()]


def billed_searches(different: int, model: str) -> int:
    """Return how many searches a model's answer is billed for that has made so many different ones."""
    return min(different, 1) if _BY_PROMPT.search(model) else different


def _by_kind(usage: Mapping[str, Any], *names: str) -> dict[str, int]:
    """Return the tokens of each kind of content."""
    counts = dict.fromkeys(("AUDIO", "IMAGE", "DOCUMENT", "VIDEO"), 0)
    for name in names:
        details = usage.get(name)
        for detail in details[:_MOST_KINDS] if isinstance(details, list) else ():
            kind = detail.get("modality") if isinstance(detail, Mapping) else None
            if kind in counts:
                counts[kind] += whole_number(detail.get("tokenCount"))
    return counts
