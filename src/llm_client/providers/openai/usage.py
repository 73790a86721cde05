"""What answers of OpenAI's two APIs, and of the servers that speak them, say of their use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from llm_client.model_names import searches_always
from llm_client.providers.response import part_of, whole_number
from llm_client.providers.stated_cost import stated_cost
from llm_client.usage import Usage, tier_name

_NAMES: Final = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "prompt_tokens_details": "input_tokens_details",
    "completion_tokens_details": "output_tokens_details",
}
"""What Chat Completions and the Responses API call the same."""
_SOME_PAINTER: Final = "image_generation"
"""Stands for a model whose name is not said, and which has no price."""
_MOST_SECONDS: Final = 10**9
"""More than anybody has heard."""


def read_usage(answer: Mapping[str, object]) -> Usage:
    """Return the usage of a Chat Completions answer, or of a chunk, in inclusive buckets.

    OpenAI counts cached tokens inside `prompt_tokens` and reasoning inside `completion_tokens`. xAI, and Gemini through its chat interface,
    count reasoning beside them, which shows in their total.
    """
    usage = stated_usage(answer)
    tier = tier_name(answer.get("service_tier"))
    if not isinstance(usage, Mapping):
        return Usage(requests=1, service_tier=tier)
    usage = _named(usage, {response: chat for chat, response in _NAMES.items()})
    prompt, completion = _prompt(usage), part_of(usage, "completion_tokens_details")
    cached, stored = _cached(usage, prompt), _stored(usage, prompt)
    read, written = whole_number(usage.get("prompt_tokens")), whole_number(usage.get("completion_tokens"))
    reasoning = whole_number(completion.get("reasoning_tokens") or usage.get("reasoning_tokens"))
    total = whole_number(usage.get("total_tokens"))
    rest = max(total - read - written, 0)
    seconds = _seconds(usage.get("prompt_audio_seconds"))
    if seconds:
        rest = 0  # Mistral counts what it has heard in the total alone, and bills the time
    if cached + stored > read:  # counted beside the prompt
        beside = min(rest, cached + stored) if total else cached + stored
        read, rest = read + beside, max(rest - beside, 0)
    if reasoning > written and not total:
        rest = reasoning  # more than all that was written: beside it
    if rest:
        written, reasoning = written + rest, max(reasoning, rest)
    return Usage(
        input_tokens=read,
        output_tokens=written,
        cache_read_tokens=cached,
        cache_write_tokens=stored,
        reasoning_tokens=reasoning,
        input_audio_tokens=whole_number(prompt.get("audio_tokens")),
        input_image_tokens=whole_number(prompt.get("image_tokens")),
        input_video_tokens=whole_number(prompt.get("video_tokens")),
        output_audio_tokens=whole_number(completion.get("audio_tokens")),
        output_image_tokens=whole_number(completion.get("image_tokens")),
        input_audio_seconds=seconds,
        web_searches=_web_searches(usage) or int(searches_always(answer.get("model"))),
        file_searches=_files_searched(usage),
        cost=stated_cost(usage),
        service_tier=tier,
        requests=1,
    )


def stated_usage(answer: Mapping[str, object]) -> object:
    """Return what a Chat Completions answer, or a chunk, says of its use; nothing that counts where it says nothing.

    Groq has it in a field of its own (`x_groq.usage`, "only sent in the final chunk": groq-python, `chat_completion_chunk.py`), Moonshot in the
    choice that ends a stream.
    """
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    own = choice.get("usage") if isinstance(choice, Mapping) else None
    return answer.get("usage") or part_of(answer, "x_groq").get("usage") or own


def read_response_usage(response: Mapping[str, object]) -> Usage:
    """Return the usage of a response object; OpenAI's buckets are inclusive already.

    What its own tools used stands beside: searches, which older answers tell by their items alone, and pictures, which another model makes.
    """
    usage = response.get("usage")
    tier = tier_name(response.get("service_tier"))
    if not isinstance(usage, Mapping):
        return Usage(requests=1, service_tier=tier)
    usage = _named(usage, _NAMES)
    given, written = part_of(usage, "input_tokens_details"), part_of(usage, "output_tokens_details")
    read, wrote = whole_number(usage.get("input_tokens")), whole_number(usage.get("output_tokens"))
    reasoning = whole_number(written.get("reasoning_tokens"))
    rest = max(whole_number(usage.get("total_tokens")) - read - wrote, 0)
    output, tools = response.get("output"), part_of(response, "tool_usage")
    searches = part_of(tools, "web_search").get("num_requests")
    searches = (_web_searches(usage) or None) if searches is None else searches
    own = Usage(
        input_tokens=read,
        output_tokens=wrote + rest,
        cache_read_tokens=whole_number(given.get("cached_tokens") or given.get("cache_read_input_tokens")),
        cache_write_tokens=whole_number(given.get("cache_write_tokens")),
        reasoning_tokens=max(reasoning, rest),
        input_audio_tokens=whole_number(given.get("audio_tokens")),
        input_image_tokens=whole_number(given.get("image_tokens")),
        output_audio_tokens=whole_number(written.get("audio_tokens")),
        output_image_tokens=whole_number(written.get("image_tokens")),
        web_searches=_count(output, "web_search_call") if searches is None else whole_number(searches),
        file_searches=_files_searched(usage) or _count(output, "file_search_call"),
        requests=1,
    )
    painted = _painted(part_of(tools, "image_gen"), response.get("tools"))
    if painted is None and _has_painted(output):
        painted = Usage(model=_SOME_PAINTER, requests=1)  # which took something that is not said
    total = own if painted is None else replace(own + painted, iterations=(own, painted))
    return replace(total, cost=stated_cost(usage), service_tier=tier, requests=1)


def _named(usage: Mapping[str, Any], names: Mapping[str, str]) -> Mapping[str, Any]:
    """Return a usage under the names of one interface, where a gateway has used those of the other alone."""
    others = {ours: usage[theirs] for theirs, ours in names.items() if theirs in usage}
    return (
        usage if not others else others | {name: value for name, value in usage.items() if value is not None}
    )


def _painted(usage: Mapping[str, Any], tools: Any) -> Usage | None:
    """Return what the model behind the image tool used, if it was called; its price is not known where its name is not."""
    given, made = part_of(usage, "input_tokens_details"), part_of(usage, "output_tokens_details")
    cached, written = part_of(usage, "cached_tokens_details"), whole_number(usage.get("output_tokens"))
    painted = Usage(
        input_tokens=whole_number(usage.get("input_tokens")),
        output_tokens=written,
        cache_read_tokens=whole_number(usage.get("cached_tokens")),
        cache_read_image_tokens=whole_number(cached.get("cached_image_tokens")),
        input_image_tokens=whole_number(given.get("image_tokens")),
        output_image_tokens=whole_number(made.get("image_tokens")) if made else written,
        model=next(filter(None, map(_painter, tools if isinstance(tools, list) else ())), _SOME_PAINTER),
        requests=1,
    )
    return painted if painted.total_tokens else None


def _has_painted(output: Any) -> bool:
    items: Sequence[Any] = output if isinstance(output, list) else ()
    return any(
        isinstance(item, Mapping) and item.get("type") == "image_generation_call" and bool(item.get("result"))
        for item in items
    )


def _painter(tool: Any) -> str | None:
    is_painter = isinstance(tool, Mapping) and tool.get("type") == "image_generation"
    model = tool.get("model") if is_painter else None
    return model if isinstance(model, str) else None


def read_embedding_usage(answer: Mapping[str, object]) -> Usage:
    """Return the usage of vectors; Voyage gives nothing but a total."""
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return Usage(requests=1)
    read = whole_number(usage.get("prompt_tokens") or usage.get("input_tokens") or usage.get("total_tokens"))
    return Usage(input_tokens=read, cost=stated_cost(usage), requests=1)


def _web_searches(usage: Mapping[str, Any]) -> int:
    """Return what a vendor bills as searches: requests at OpenRouter, queries at Perplexity, calls of xAI's tools or sources of its Live Search."""
    asked = part_of(usage, "server_tool_use").get("web_search_requests") or usage.get("num_search_queries")
    tools = part_of(usage, "server_side_tool_usage_details")
    called = sum(whole_number(tools.get(name)) for name in ("web_search_calls", "x_search_calls"))
    return whole_number(asked) or called or whole_number(usage.get("num_sources_used"))


def _files_searched(usage: Mapping[str, Any]) -> int:
    tools = part_of(usage, "server_side_tool_usage_details")
    return sum(whole_number(tools.get(name)) for name in ("file_search_calls", "document_search_calls"))


def _seconds(stated: object) -> int:
    """Return begun seconds as whole ones; Mistral writes an empty object for none."""
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 < stated < _MOST_SECONDS:
        return 0
    return math.ceil(stated)


def _prompt(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the details of the input; Mistral has written them in two ways."""
    return part_of(usage, "prompt_tokens_details") or part_of(usage, "prompt_token_details")


def _cached(usage: Mapping[str, Any], prompt: Mapping[str, Any]) -> int:
    """Return the tokens read from a cache: of OpenAI, Mistral, DeepSeek, Moonshot, Databricks and LiteLLM."""
    names = ("num_cached_tokens", "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
    return whole_number(prompt.get("cached_tokens") or next(filter(None, map(usage.get, names)), 0))


def _stored(usage: Mapping[str, Any], prompt: Mapping[str, Any]) -> int:
    """Return the tokens written to a cache: of OpenAI, OpenRouter and LiteLLM."""
    names = ("cache_write_tokens", "cache_creation_tokens")
    stated = next(filter(None, map(prompt.get, names)), None)
    return whole_number(stated or usage.get("cache_creation_input_tokens"))


def _count(output: Any, kind: str) -> int:
    """Return how many calls of a built-in tool are billed: pages that are opened or looked through are no searches."""
    items: Sequence[Any] = output if isinstance(output, list) else ()
    return sum(
        isinstance(item, Mapping)
        and item.get("type") == kind
        and part_of(item, "action").get("type") in (None, "search")
        for item in items
    )
