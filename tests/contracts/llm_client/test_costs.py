"""What vendors state, and what it costs: one line for each statement, whole and streamed, held against `genai-prices`' own reader."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from llm_client.engine.engine import ExecutionEngine
from llm_client.engine.retry import RetryConfig
from llm_client.errors import InvalidResponse
from llm_client.pricing.book import PriceBook
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.provider import OpenAIProvider
from llm_client.providers.presets import PRESETS
from llm_client.usage import Usage
from support.conversations import spec
from support.engine import collect
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import anthropic as anthropic_wire
from support.wire import data_events, google, named_events, openai_chat, openai_responses
from support.wire.stated_costs import CASES, Case, iteration, messages

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def provider(case: Case, server: LoopbackServer) -> Any:
    if case.vendor == "anthropic":
        return AnthropicProvider(case.model, api_key="k", base_url=server.url)
    if case.vendor == "google":
        return GoogleProvider(case.model, api_key="k", base_url=server.url)
    preset = PRESETS.get(case.name)
    return OpenAIProvider(
        case.model,
        api_key="k",
        base_url=server.url + "/v1",
        api="responses" if case.vendor == "responses" else "chat",
        name=case.name,
        dialect=preset.dialect if preset else None,
    )


def answer(case: Case) -> dict[str, Any]:
    if case.vendor == "anthropic":
        return anthropic_wire.message([anthropic_wire.TEXT_BLOCK], model=case.model, usage=case.usage)
    if case.vendor == "google":
        whole = google.answer([{"text": "Hi"}], usageMetadata=case.usage, modelVersion=case.model)
        whole["candidates"][0].update(case.beside)
        return whole
    if case.vendor == "responses":
        fields = {"output": [openai_responses.MESSAGE], **case.beside}
        return openai_responses.response(model=case.model, usage=case.usage, **fields)
    return openai_chat.completion({"content": "Hi"}, model=case.model, usage=case.usage, **case.beside)


def streamed(case: Case) -> Reply:
    whole = answer(case)
    if case.vendor == "anthropic":
        begun = {name: value for name, value in case.usage.items() if name != "iterations"}
        start = {**whole, "content": [], "stop_reason": None, "usage": {**begun, "output_tokens": 1}}
        last = {"speed", "service_tier", "cache_creation"}
        return sse_reply(
            *named_events(
                [
                    {"type": "message_start", "message": start},
                    {
                        "type": "content_block_start",
                        "index": 0,
                        "content_block": {"type": "text", "text": ""},
                    },
                    {
                        "type": "content_block_delta",
                        "index": 0,
                        "delta": {"type": "text_delta", "text": "Hi"},
                    },
                    {"type": "content_block_stop", "index": 0},
                    {
                        "type": "message_delta",
                        "delta": {"stop_reason": "end_turn"},
                        "usage": {name: value for name, value in case.usage.items() if name not in last},
                    },
                    {"type": "message_stop"},
                ]
            )
        )
    if case.vendor == "google":
        first = google.answer(
            [{"text": "H"}],
            None,
            usageMetadata={
                name: value
                for name, value in case.usage.items()
                if name in ("promptTokenCount", "trafficType")
            },
            modelVersion=case.model,
        )
        whole["usageMetadata"] = {name: value for name, value in case.usage.items() if name != "trafficType"}
        return sse_reply(*data_events([first, whole]))
    if case.vendor == "responses":
        events = [
            {"type": "response.created", "response": {**whole, "output": [], "usage": None}},
            {"type": "response.completed", "response": whole},
        ]
        return sse_reply(*named_events(events))
    chunks = [
        openai_chat.chunk({"content": "Hi"}, model=case.model, **case.beside),
        openai_chat.chunk({}, "stop", model=case.model, **case.beside),
        openai_chat.chunk(None, model=case.model, usage=case.usage, service_tier=None),
    ]
    return sse_reply(*data_events(chunks, done=True))


async def usage_of(case: Case, *, stream: bool) -> Usage:
    async with LoopbackServer(streamed(case) if stream else json_reply(answer(case))) as server:
        asked = provider(case, server)
        engine = ExecutionEngine(asked, prices=PriceBook(clock=lambda: NOW), retry=RetryConfig(attempts=1))
        request = spec(extra=case.extra)
        try:
            if stream:
                usage = (await collect(engine.stream(request)))[-1].usage
            else:
                usage = (await engine.complete(request)).usage
        finally:
            await asked.aclose()
    assert usage is not None
    return usage


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", CASES)
async def test_what_a_vendor_states_costs_what_it_does(name: str, stream: bool) -> None:
    case = CASES[name]
    usage = await usage_of(case, stream=stream)

    assert {name: count for name, count in usage.counts().items() if count} == case.counts
    assert usage.cost == (None if case.cost is None else Decimal(case.cost))
    assert usage.price_source == (case.source if case.cost is not None else None)
    assert usage.service_tier == case.tier
    assert usage.is_partial_cost == (case.cost is None)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.context is not None])
def test_the_price_tables_own_reader_says_the_same(name: str) -> None:
    case = CASES[name]
    vendor = case.vendor if case.vendor in ("anthropic", "google") else case.name
    flavors = {"chat": "chat", "responses": "responses", "anthropic": "default", "google": "default"}
    theirs = next(each for each in get_snapshot().providers if each.id == vendor)
    flavor = (
        flavors[case.vendor]
        if any(each.api_flavor == flavors[case.vendor] for each in theirs.extractors or ())
        else "default"
    )
    _, extracted = theirs.extract_usage(answer(case), api_flavor=flavor)
    model = theirs.find_model(case.model)

    assert model is not None
    price = model.calc_price(
        extracted, theirs, genai_request_timestamp=NOW, price_context=case.context or None
    )
    assert case.cost is not None
    assert price.total_price == Decimal(case.cost)


@pytest.mark.parametrize(
    ("name", "model", "payload", "read", "cost"),
    [
        ("voyage", "voyage-4", {"usage": {"total_tokens": 12}}, 12, "0.00000072"),
        (
            "openai",
            "text-embedding-3-small",
            {"usage": {"prompt_tokens": 12, "total_tokens": 12}},
            12,
            "0.00000024",
        ),
        ("google", "gemini-embedding-001", {"usageMetadata": {"promptTokenCount": 12}}, 12, "0.0000018"),
    ],
)
async def test_vectors_cost_what_was_read_for_them(
    name: str, model: str, payload: dict[str, Any], read: int, cost: str | None
) -> None:
    vectors = {
        "data": [{"index": 0, "embedding": [0.5, 0.5]}],
        "embeddings": [{"values": [0.5, 0.5]}],
    }
    async with LoopbackServer(json_reply({**vectors, **payload})) as server:
        asked = (
            GoogleProvider(model, api_key="k", base_url=server.url, embedding_model=model)
            if name == "google"
            else OpenAIProvider(
                model, api_key="k", base_url=server.url + "/v1", name=name, embedding_model=model
            )
        )
        engine = ExecutionEngine(asked, prices=PriceBook(clock=lambda: NOW))
        answered = await engine.embed(["a text that is longer than it is counted here"])
        await asked.aclose()

    assert answered.usage.input_tokens == read
    assert answered.usage.cost == (None if cost is None else Decimal(cost))


async def test_more_iterations_than_anybody_makes_are_no_answer() -> None:
    endless = Case(
        vendor="anthropic",
        model="claude-opus-5",
        usage=messages(1, 1, iterations=[iteration("compaction", 1, 1)] * 101),
        counts={},
        cost=None,
    )

    with pytest.raises(InvalidResponse, match="more than 100 iterations"):
        await usage_of(endless, stream=False)


async def test_iterations_say_which_model_cost_what() -> None:
    usage = await usage_of(CASES["anthropic: an adviser with a model of its own"], stream=False)

    assert [(each.model, each.total_tokens, each.cost) for each in usage.iterations] == [
        (None, 1050, Decimal("0.00125")),
        (None, 2100, Decimal("0.0025")),
        ("claude-opus-5", 1700, Decimal("0.0125")),
    ]
