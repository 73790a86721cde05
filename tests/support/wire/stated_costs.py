"""What vendors state of an answer's use, and what it means: counts, tier and cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import genai_prices

from support.wire import openai_responses

SOURCE = f"genai-prices {genai_prices.__version__}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A vendor's statement, and what it means."""

    vendor: str
    model: str
    usage: dict[str, Any]
    counts: dict[str, int]
    """What is counted, of what is not 0."""
    cost: str | None
    """Dollars."""
    beside: dict[str, Any] = field(default_factory=dict)
    """Fields of the answer beside its usage."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What was asked for."""
    tier: str | None = None
    source: str = SOURCE
    name: str = "openai"
    """Of a server that speaks OpenAI's API."""
    context: dict[str, str] | None = None
    """Under what conditions the oracle is asked; it is not asked where it reads less than we do."""


def plain(read: int, written: int, **details: Any) -> dict[str, Any]:
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        **details,
    }


def messages(read: int, written: int, **details: Any) -> dict[str, Any]:
    return {"input_tokens": read, "output_tokens": written, "service_tier": "standard", **details}


def iteration(kind: str, read: int, written: int, **details: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "input_tokens": read,
        "output_tokens": written,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        **details,
    }


def by_kind(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": kind, "tokenCount": count} for kind, count in counts.items()]


def search(action: str) -> dict[str, Any]:
    return {
        "type": "web_search_call",
        "id": f"ws_{action}",
        "status": "completed",
        "action": {"type": action},
    }


SMALL = {"input_tokens": 1000, "output_tokens": 100}
CASES = {
    # ---------------------------------------------------------------- service tiers
    "chat: the standard tier": Case(
        vendor="chat", model="gpt-5.2", usage=plain(1000, 100), counts=SMALL,
        beside={"service_tier": "default"}, tier="standard", cost="0.00315", context={"service_tier": "default"},
    ),
    "chat: priority was served although nobody asked": Case(
        vendor="chat", model="gpt-5.2", usage=plain(1000, 100), counts=SMALL,
        beside={"service_tier": "priority"}, tier="priority", cost="0.0063", context={"service_tier": "priority"},
    ),
    "chat: priority was asked for and refused": Case(
        vendor="chat", model="gpt-5.2", usage=plain(1000, 100), counts=SMALL, extra={"service_tier": "priority"},
        beside={"service_tier": "default"}, tier="standard", cost="0.00315", context={"service_tier": "default"},
    ),
    "chat: flex was asked for, and nothing is said": Case(
        vendor="chat", model="gpt-5.2", usage=plain(1000, 100), counts=SMALL, extra={"service_tier": "flex"},
        beside={"service_tier": None}, tier="flex", cost="0.001575", context={"service_tier": "flex"},
    ),
    "responses: priority": Case(
        vendor="responses", model="gpt-5.2",
        usage={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100,
               "input_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 0},
               "output_tokens_details": {"reasoning_tokens": 60}},
        counts={**SMALL, "cache_read_tokens": 400, "reasoning_tokens": 60},
        beside={"service_tier": "priority"}, tier="priority", cost="0.00504", context={"service_tier": "priority"},
    ),
    "chat: a dearer tier whose price nobody knows": Case(
        vendor="chat", model="gpt-5.2", usage=plain(1000, 100), counts=SMALL,
        beside={"service_tier": "ultrafast"}, tier="ultrafast", cost=None,
    ),
    "anthropic: fast": Case(
        vendor="anthropic", model="claude-opus-5", usage=messages(1000, 100, speed="fast"), counts=SMALL,
        extra={"speed": "fast"}, tier="fast", cost="0.015", context={"speed": "fast"},
    ),
    "anthropic: fast was asked for and refused": Case(
        vendor="anthropic", model="claude-opus-5", usage=messages(1000, 100, speed="standard"), counts=SMALL,
        extra={"speed": "fast"}, tier="standard", cost="0.0075", context={},
    ),
    "anthropic: fast without a known price": Case(
        vendor="anthropic", model="claude-haiku-4-5", usage=messages(1000, 100, speed="fast"), counts=SMALL,
        tier="fast", cost=None,
    ),
    "anthropic: capacity that was bought in advance": Case(
        vendor="anthropic", model="claude-opus-5", usage={**messages(1000, 100), "service_tier": "priority"},
        counts=SMALL, tier="priority", cost="0.0075", context={},
    ),
    "google: priority": Case(
        vendor="google", model="gemini-3.8-flash-tts",
        usage={"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100,
               "serviceTier": "priority"},
        counts=SMALL, tier="priority", cost="0.00252", context={"service_tier": "priority"},
    ),
    "google: priority was asked for, and nothing is said": Case(
        vendor="google", model="gemini-3.8-flash-tts", extra={"serviceTier": "priority"},
        usage={"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100},
        counts=SMALL, tier="priority", cost="0.00252", context={"service_tier": "priority"},
    ),
    "google: Vertex's traffic type": Case(
        vendor="google", model="gemini-3.8-flash-tts",
        usage={"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100,
               "trafficType": "ON_DEMAND_PRIORITY"},
        counts=SMALL, tier="priority", cost="0.00252", context={"service_tier": "priority"},
    ),
    "google: Vertex's plain traffic": Case(
        vendor="google", model="gemini-2.5-flash",
        usage={"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100,
               "trafficType": "ON_DEMAND"},
        counts=SMALL, tier="standard", cost="0.00055", context={},
    ),
    # ---------------------------------------------------------------- places
    "anthropic: in the United States alone": Case(
        vendor="anthropic", model="claude-opus-5", usage=messages(1000, 100, inference_geo="us"), counts=SMALL,
        tier="standard", cost="0.00825", source=f"{SOURCE}, us",
    ),
    "anthropic: in the United States alone, fast": Case(
        vendor="anthropic", model="claude-opus-5", usage=messages(1000, 100, inference_geo="us", speed="fast"),
        counts=SMALL, tier="fast", cost="0.0165", source=f"{SOURCE}, us",
    ),
    "anthropic: in the United States alone, with searches that cost the same everywhere": Case(
        vendor="anthropic", model="claude-opus-5",
        usage=messages(1000, 100, inference_geo="us", server_tool_use={"web_search_requests": 3}),
        counts={**SMALL, "web_searches": 3}, tier="standard", cost="0.03825", source=f"{SOURCE}, us",
    ),
    "anthropic: in the United States alone, with an adviser": Case(
        vendor="anthropic", model="claude-opus-5",
        usage=messages(1000, 100, inference_geo="us", iterations=[
            iteration("message", 1000, 100), iteration("advisor_message", 1000, 100, model="claude-opus-5")]),
        counts={"input_tokens": 2000, "output_tokens": 200}, tier="standard", cost="0.0165", source=f"{SOURCE}, us",
    ),
    "anthropic: anywhere": Case(
        vendor="anthropic", model="claude-opus-5", usage=messages(1000, 100, inference_geo="global"), counts=SMALL,
        extra={"inference_geo": "us"}, tier="standard", cost="0.0075", context={},
    ),
    "anthropic: one place was asked for, and nothing is said": Case(
        vendor="anthropic", model="claude-opus-5", usage=messages(1000, 100, inference_geo="not_available"),
        counts=SMALL, extra={"inference_geo": "us"}, tier="standard", cost="0.00825", source=f"{SOURCE}, us",
    ),
    # ---------------------------------------------------------------- caches and iterations
    "anthropic: cache writes of five minutes and of an hour": Case(
        vendor="anthropic", model="claude-opus-5",
        usage=messages(1000, 100, cache_read_input_tokens=5000, cache_creation_input_tokens=3000,
                       cache_creation={"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000}),
        counts={"input_tokens": 9000, "output_tokens": 100, "cache_read_tokens": 5000,
                "cache_write_tokens": 3000, "cache_write_1h_tokens": 2000},
        tier="standard", cost="0.03625", context={},
    ),
    "anthropic: iterations that say no more than the totals": Case(
        vendor="anthropic", model="claude-opus-5",
        usage=messages(1000, 100, iterations=[iteration("message", 1000, 100)]),
        counts=SMALL, tier="standard", cost="0.0075", context={},
    ),
    "anthropic: a conversation was compacted": Case(
        vendor="anthropic", model="claude-opus-5",
        usage=messages(1000, 100, iterations=[
            iteration("compaction", 180_000, 3500), iteration("message", 1000, 100)]),
        counts={"input_tokens": 181_000, "output_tokens": 3600},
        tier="standard", cost="0.995",
    ),
    "anthropic: an adviser with a model of its own": Case(
        vendor="anthropic", model="claude-haiku-4-5",
        usage=messages(3000, 150, iterations=[
            iteration("message", 1000, 50),
            iteration("advisor_message", 1500, 200, model="claude-opus-5"),
            iteration("message", 2000, 100)]),
        counts={"input_tokens": 4500, "output_tokens": 350},
        tier="standard", cost="0.01625",  # 0.003 + 0.00075 of haiku, 0.0075 + 0.005 of opus
    ),
    "anthropic: each iteration is as long as itself": Case(
        vendor="anthropic", model="claude-sonnet-4-5",  # above 200,000 tokens it costs twice as much
        usage=messages(300_000, 200, iterations=[
            iteration("message", 150_000, 100), iteration("message", 150_000, 100)]),
        counts={"input_tokens": 300_000, "output_tokens": 200},
        tier="standard", cost="0.903",
    ),
    "anthropic: another model has taken over": Case(
        vendor="anthropic", model="claude-haiku-4-5",
        usage=messages(2000, 100, iterations=[
            iteration("message", 1000, 0, model="claude-opus-5"),
            iteration("fallback_message", 1000, 100, model="claude-haiku-4-5")]),
        counts={"input_tokens": 2000, "output_tokens": 100},
        tier="standard", cost="0.0065",
    ),
    "anthropic: iterations that leave something out": Case(
        vendor="anthropic", model="claude-opus-5",
        usage=messages(1000, 100, iterations=[iteration("compaction", 100, 10)]),
        counts={"input_tokens": 1100, "output_tokens": 110}, tier="standard", cost="0.00825",
    ),
    # ---------------------------------------------------------------- sound and pictures
    "chat: sound in and out": Case(
        vendor="chat", model="gpt-audio",
        usage=plain(1000, 300, prompt_tokens_details={"audio_tokens": 800, "cached_tokens": 0},
                    completion_tokens_details={"audio_tokens": 250, "reasoning_tokens": 0}),
        counts={"input_tokens": 1000, "output_tokens": 300, "input_audio_tokens": 800, "output_audio_tokens": 250},
        beside={"service_tier": None}, cost="0.0426", context={},
    ),
    "google: sound, partly cached": Case(
        vendor="google", model="gemini-2.5-flash",
        usage={"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1150,
               "thoughtsTokenCount": 50, "cachedContentTokenCount": 500,
               "promptTokensDetails": by_kind(TEXT=200, AUDIO=800),
               "cacheTokensDetails": by_kind(TEXT=100, AUDIO=400)},
        counts={"input_tokens": 1000, "output_tokens": 150, "reasoning_tokens": 50, "cache_read_tokens": 500,
                "input_audio_tokens": 800, "cache_read_audio_tokens": 400},
        cost="0.000848", context={},
    ),
    "google: a picture comes out": Case(
        vendor="google", model="gemini-3.1-flash-image-preview",
        usage={"promptTokenCount": 1000, "candidatesTokenCount": 1400, "totalTokenCount": 2400,
               "promptTokensDetails": by_kind(TEXT=740, IMAGE=260),
               "candidatesTokensDetails": by_kind(IMAGE=1290, TEXT=110)},
        counts={"input_tokens": 1000, "output_tokens": 1400, "input_image_tokens": 260, "output_image_tokens": 1290},
        cost="0.07823", context={},
    ),
    "google: pages of a document, and of a tool's results": Case(
        vendor="google", model="gemini-2.5-flash",
        usage={"promptTokenCount": 1000, "toolUsePromptTokenCount": 500, "candidatesTokenCount": 100,
               "totalTokenCount": 1600, "promptTokensDetails": by_kind(TEXT=480, DOCUMENT=520),
               "toolUsePromptTokensDetails": by_kind(TEXT=300, AUDIO=200)},
        counts={"input_tokens": 1500, "output_tokens": 100, "input_image_tokens": 520, "input_audio_tokens": 200},
        cost="0.00084", context={},
    ),
    # ---------------------------------------------------------------- the vendor's own word
    "openrouter: its charge": Case(
        vendor="chat", name="openrouter", model="anthropic/claude-sonnet-4.5",
        usage=plain(1000, 100, cost=0.00014, is_byok=False, cost_details={"upstream_inference_cost": 0.00014}),
        counts=SMALL, cost="0.00014", beside={"service_tier": None}, source="vendor",
    ),
    "openrouter: its share, and the upstream's charge to one's own key": Case(
        vendor="chat", name="openrouter", model="anthropic/claude-sonnet-4.5",
        usage=plain(1000, 100, cost=0.000225, is_byok=True, cost_details={"upstream_inference_cost": 0.0045}),
        counts=SMALL, cost="0.004725", beside={"service_tier": None}, source="vendor",
    ),
    "openrouter: one's own key, as its page shows it": Case(
        vendor="chat", name="openrouter", model="anthropic/claude-sonnet-4.5",
        usage=plain(1000, 100, cost=0.95, cost_details={"upstream_inference_cost": 19}),
        counts=SMALL, cost="19.95", beside={"service_tier": None}, source="vendor",
    ),
    "openrouter: a free model": Case(
        vendor="chat", name="openrouter", model="anthropic/claude-sonnet-4.5",
        usage=plain(1000, 100, cost=0, is_byok=False), counts=SMALL, cost="0",
        beside={"service_tier": None}, source="vendor",
    ),
    "openrouter: one's own key, and nobody says what the upstream takes": Case(
        vendor="chat", name="openrouter", model="anthropic/claude-sonnet-4.5",
        usage=plain(1000, 100, cost=0, is_byok=True), counts=SMALL, cost="0.0045",
        beside={"service_tier": None}, context={},
    ),
    "xai: ticks, and reasoning beside the answer": Case(
        vendor="chat", name="x-ai", model="grok-4",
        usage={"prompt_tokens": 198, "completion_tokens": 9, "total_tokens": 297, "cost_in_usd_ticks": 2709000,
               "completion_tokens_details": {"reasoning_tokens": 90}},
        counts={"input_tokens": 198, "output_tokens": 99, "reasoning_tokens": 90}, cost="0.0002709",
        beside={"service_tier": None}, source="vendor",
    ),
    "perplexity: an object with a total": Case(
        vendor="chat", name="perplexity", model="sonar",
        usage=plain(1000, 100, cost={"total_cost": 0.0061, "request_cost": 0.005}, num_search_queries=1),
        counts={**SMALL, "web_searches": 1}, cost="0.0061", beside={"service_tier": None}, source="vendor",
    ),
    "chat: what no cost can be is none": Case(
        vendor="chat", model="gpt-5.2", usage=plain(1000, 100, cost="free", cost_in_usd_ticks=-5), counts=SMALL,
        beside={"service_tier": None}, cost="0.00315", context={},
    ),
    "chat: a charge of nothing by a server that knows no prices": Case(
        vendor="chat", model="gpt-5.2", usage=plain(1000, 100, cost=0.0), counts=SMALL,
        beside={"service_tier": None}, cost="0.00315", context={},
    ),
    # ---------------------------------------------------------------- searches
    "anthropic: searches": Case(
        vendor="anthropic", model="claude-opus-5",
        usage=messages(1000, 100, server_tool_use={"web_search_requests": 3, "web_fetch_requests": 1}),
        counts={**SMALL, "web_searches": 3}, tier="standard", cost="0.0375", context={},
    ),
    "anthropic: searches and iterations": Case(
        vendor="anthropic", model="claude-opus-5",
        usage=messages(1000, 100, server_tool_use={"web_search_requests": 2},
                       iterations=[iteration("message", 400, 40), iteration("message", 600, 60)]),
        counts={**SMALL, "web_searches": 2}, tier="standard", cost="0.0275", context={},
    ),
    "responses: searches, in the web and in files": Case(
        vendor="responses", model="gpt-5.2",
        usage={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        beside={"output": [search("search"), search("open_page"), search("find_in_page"), search("search"),
                           {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["a"]},
                           openai_responses.MESSAGE]},
        counts={**SMALL, "web_searches": 2, "file_searches": 1}, cost="0.02565",
    ),
    "responses: a search that has no price": Case(
        vendor="responses", model="gpt-audio",
        usage={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        beside={"output": [search("search"), openai_responses.MESSAGE]},
        counts={**SMALL, "web_searches": 1}, cost=None,
    ),
    "responses: searches that are said to be billed": Case(
        vendor="responses", model="gpt-5.2",
        usage={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        beside={"output": [search("search"), search("search"), openai_responses.MESSAGE],
                "tool_usage": {"web_search": {"num_requests": 1}, "image_gen": {
                    "input_tokens": 0, "output_tokens": 0, "total_tokens": 0}}},
        counts={**SMALL, "web_searches": 1}, cost="0.01315",
    ),
    "responses: another model has painted": Case(
        vendor="responses", model="gpt-5.2",
        usage={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        beside={"tools": [{"type": "image_generation", "model": "gpt-image-1.5"}],
                "tool_usage": {"web_search": {"num_requests": 0}, "image_gen": {
                    "input_tokens": 300, "input_tokens_details": {"text_tokens": 100, "image_tokens": 200},
                    "output_tokens": 1000, "output_tokens_details": {"text_tokens": 0, "image_tokens": 1000},
                    "total_tokens": 1300}}},
        counts={"input_tokens": 1300, "output_tokens": 1100, "input_image_tokens": 200, "output_image_tokens": 1000},
        cost="0.03725",  # 0.00315 of gpt-5.2, 0.0005 + 0.0016 + 0.032 of gpt-image-1.5
    ),
    "responses: nobody says which model has painted": Case(
        vendor="responses", model="gpt-5.2",
        usage={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        beside={"tool_usage": {"image_gen": {"input_tokens": 300, "output_tokens": 1000, "total_tokens": 1300}}},
        counts={"input_tokens": 1300, "output_tokens": 1100, "output_image_tokens": 1000}, cost=None,
    ),
    "chat: a model that always searches": Case(
        vendor="chat", model="gpt-4o-search-preview-2025-03-11", usage=plain(1000, 100), counts={**SMALL, "web_searches": 1},
        beside={"service_tier": None}, cost="0.0285", source=f"{SOURCE}, OpenAI's page of prices",
    ),
    "chat: a small one": Case(
        vendor="chat", model="gpt-4o-mini-search-preview", usage=plain(1000, 100), counts={**SMALL, "web_searches": 1},
        beside={"service_tier": None}, cost="0.02521", source=f"{SOURCE}, OpenAI's page of prices",
    ),
    "chat: the newest model that always searches": Case(
        vendor="chat", model="gpt-5-search-api", usage=plain(1000, 100), counts={**SMALL, "web_searches": 1},
        beside={"service_tier": None}, cost="0.01225", source=f"{SOURCE}, OpenAI's page of prices",
    ),
    "azure: a model that always searches, of whose searches nobody tells the price": Case(
        vendor="chat", name="azure", model="gpt-4o-search-preview", usage=plain(1000, 100), counts={**SMALL, "web_searches": 1},
        beside={"service_tier": None}, cost=None,
    ),
    "xai: reasoning beside the answer, and no total": Case(
        vendor="chat", name="x-ai", model="grok-4-0709",
        usage={"prompt_tokens": 1000, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 90}},
        counts={**SMALL, "reasoning_tokens": 90}, beside={"service_tier": None}, cost="0.0045",
    ),
    "chat: reasoning within the answer, and no total": Case(
        vendor="chat", model="gpt-5.2",
        usage={"prompt_tokens": 1000, "completion_tokens": 100, "completion_tokens_details": {"reasoning_tokens": 90}},
        counts={**SMALL, "reasoning_tokens": 90}, beside={"service_tier": None}, cost="0.00315",
    ),
    "chat: a cache beside the prompt, and no total": Case(
        vendor="chat", model="gpt-5.2",
        usage={"prompt_tokens": 200, "completion_tokens": 100, "cache_read_input_tokens": 800},
        counts={**SMALL, "cache_read_tokens": 800}, beside={"service_tier": None}, cost="0.00189",
    ),
    "chat: the other interface's names": Case(
        vendor="chat", model="gpt-5.2", usage={"input_tokens": 1000, "output_tokens": 100}, counts=SMALL,
        beside={"service_tier": None}, cost="0.00315",
    ),
    "responses: the other interface's names": Case(
        vendor="responses", model="gpt-5.2",
        usage={"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "prompt_tokens_details": {"cached_tokens": 400},
               "completion_tokens_details": {"reasoning_tokens": 40}},
        counts={**SMALL, "cache_read_tokens": 400, "reasoning_tokens": 40}, cost="0.00252",
    ),
    "xai: sources of a search, and no cost": Case(
        vendor="chat", name="x-ai", model="grok-4", usage=plain(1000, 100, num_sources_used=7),
        counts={**SMALL, "web_searches": 7}, beside={"service_tier": None}, cost=None,
    ),
    "xai: no sources": Case(
        vendor="chat", name="x-ai", model="grok-4-0709", usage=plain(1000, 100, num_sources_used=0), counts=SMALL,
        beside={"service_tier": None}, cost="0.0045",
    ),
    "xai: searches that are in the cost": Case(
        vendor="chat", name="x-ai", model="grok-4",
        usage=plain(1000, 100, num_sources_used=0, num_server_side_tools_used=7, cost_in_usd_ticks=569184000,
                    server_side_tool_usage_details={"web_search_calls": 2, "x_search_calls": 5, "file_search_calls": 1}),
        counts={**SMALL, "web_searches": 7, "file_searches": 1}, beside={"service_tier": None}, cost="0.0569184",
        source="vendor",
    ),
    "xai through responses: searches that are in the cost": Case(
        vendor="responses", name="x-ai", model="grok-4.5",
        usage={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100, "cost_in_usd_ticks": 569184000,
               "server_side_tool_usage_details": {"web_search_calls": 2, "x_search_calls": 5}},
        beside={"output": [search("search"), openai_responses.MESSAGE]},
        counts={**SMALL, "web_searches": 7}, cost="0.0569184", source="vendor",
    ),
    "openrouter: what was video": Case(
        vendor="chat", name="openrouter", model="google/gemini-2.5-flash",
        usage=plain(1000, 100, cost=0.001, is_byok=False, prompt_tokens_details={"video_tokens": 300, "audio_tokens": 100}),
        counts={**SMALL, "input_video_tokens": 300, "input_audio_tokens": 100}, beside={"service_tier": None},
        cost="0.001", source="vendor",
    ),
    # ---------------------------------------------------------------- sound by its time
    "mistral: sound that is billed by its time": Case(
        vendor="chat", name="mistral", model="voxtral-small-2507",
        usage={"prompt_audio_seconds": 203, "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 3725},
        counts={**SMALL, "input_audio_seconds": 203}, beside={"service_tier": None},
        cost="0.01367333333333333333333333333",
    ),
    "mistral: sound whose time has no price": Case(
        vendor="chat", name="mistral", model="mistral-medium-latest",
        usage=plain(1000, 100, prompt_audio_seconds=12.2), counts={**SMALL, "input_audio_seconds": 13},
        beside={"service_tier": None}, cost=None,
    ),
    "mistral: no sound": Case(
        vendor="chat", name="mistral", model="mistral-medium-latest", usage=plain(1000, 100, prompt_audio_seconds={}),
        counts=SMALL, beside={"service_tier": None}, cost="0.00225",
    ),
    "responses: a picture of which nobody says what it took": Case(
        vendor="responses", model="gpt-5.2",
        usage={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        beside={"output": [{"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO"},
                           openai_responses.MESSAGE]},
        counts=SMALL, cost=None,
    ),
    "responses: a picture that failed": Case(
        vendor="responses", model="gpt-5.2",
        usage={"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
        beside={"output": [{"type": "image_generation_call", "id": "ig_1", "status": "failed", "result": None},
                           openai_responses.MESSAGE]},
        counts=SMALL, cost="0.00315",
    ),
    "google: each search of a new model": Case(
        vendor="google", model="gemini-3.8-flash",
        usage={"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100},
        beside={"groundingMetadata": {"webSearchQueries": ["", "Köln", "Bonn", "Köln"]}},
        counts={**SMALL, "web_searches": 2}, cost="0.029125",
    ),
    "google: an older model's searches count once": Case(
        vendor="google", model="gemini-2.5-flash",
        usage={"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100},
        beside={"groundingMetadata": {"webSearchQueries": ["Köln", "Bonn"]}},
        counts={**SMALL, "web_searches": 1}, cost="0.03555",
    ),
    # ---------------------------------------------------------------- servers' own names
    "mistral: num_cached_tokens": Case(
        vendor="chat", name="mistral", model="mistral-medium-latest", usage=plain(1000, 100, num_cached_tokens=768),
        counts={**SMALL, "cache_read_tokens": 768}, beside={"service_tier": None}, cost="0.0012132",
    ),
    "mistral: prompt_token_details": Case(
        vendor="chat", name="mistral", model="mistral-medium-latest",
        usage=plain(1000, 100, prompt_token_details={"cached_tokens": 768}),
        counts={**SMALL, "cache_read_tokens": 768}, beside={"service_tier": None}, cost="0.0012132",
    ),
    "mistral: prompt_tokens_details": Case(
        vendor="chat", name="mistral", model="mistral-medium-latest",
        usage=plain(1000, 100, prompt_tokens_details={"cached_tokens": 768}),
        counts={**SMALL, "cache_read_tokens": 768}, beside={"service_tier": None}, cost="0.0012132", context={},
    ),
    "gemini through a chat interface: thoughts show in the total alone": Case(
        vendor="chat", name="google", model="gemini-2.5-flash",
        usage={"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
        counts={"input_tokens": 20, "output_tokens": 603, "reasoning_tokens": 405},
        beside={"service_tier": None}, cost="0.0015135",
    ),
    "a gateway that counts cached tokens beside the prompt": Case(
        vendor="chat", name="anthropic", model="claude-haiku-4-5",
        usage={"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 1015,
               "prompt_tokens_details": {"cached_tokens": 1000}},
        counts={"input_tokens": 1010, "output_tokens": 5, "cache_read_tokens": 1000},
        beside={"service_tier": None}, cost="0.000135",
    ),
    "litellm: cache writes": Case(
        vendor="chat", name="anthropic", model="claude-haiku-4-5",
        usage=plain(1000, 100, cache_creation_input_tokens=600, cache_read_input_tokens=300),
        counts={**SMALL, "cache_read_tokens": 300, "cache_write_tokens": 600},
        beside={"service_tier": None}, cost="0.00138",
    ),
}  # fmt: skip
