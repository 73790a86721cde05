"""What failures cost: a vendor bills what it says was used, beside an error or in an answer that nobody can read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from llm_client.engine.engine import ExecutionEngine
from llm_client.engine.retry import RetryConfig
from llm_client.errors import InvalidResponse, ProviderError
from llm_client.pricing.book import PriceBook
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.provider import OpenAIProvider
from support.conversations import complete, spec
from support.engine import collect
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import anthropic as anthropic_wire
from support.wire import data_events, google, openai_chat

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BILLED = {
    "chat": {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}},
    "responses": {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100,
                  "input_tokens_details": {"cached_tokens": 400}},
    "anthropic": {"input_tokens": 600, "output_tokens": 100, "cache_read_input_tokens": 400},
    "google": {"promptTokenCount": 1000, "candidatesTokenCount": 100, "cachedContentTokenCount": 400},
}  # fmt: skip
MODELS = {
    "chat": "gpt-5.2",
    "responses": "gpt-5.2",
    "anthropic": "claude-opus-5",
    "google": "gemini-2.5-flash",
}
WRONG = {"message": "no", "code": "content_filter", "type": "content_filter"}


def provider(vendor: str, server: LoopbackServer) -> Any:
    model = MODELS[vendor]
    if vendor == "anthropic":
        return AnthropicProvider(model, api_key="k", base_url=server.url)
    if vendor == "google":
        return GoogleProvider(model, api_key="k", base_url=server.url)
    return OpenAIProvider(model, api_key="k", base_url=f"{server.url}/v1", api=vendor)  # type: ignore[arg-type] -- one of both


def failed(vendor: str) -> dict[str, Any]:
    """Return a failure with the usage beside it, as it stands in a stream or alone."""
    usage = {"usageMetadata": BILLED["google"]} if vendor == "google" else {"usage": BILLED[vendor]}
    return {"type": "error", "error": WRONG, **usage}


def failure_reply(vendor: str, form: str) -> Reply:
    if form != "streamed":
        return json_reply(failed(vendor), status=400 if form == "with a status" else 200)
    begun: dict[str, list[dict[str, Any]]] = {
        "chat": [openai_chat.chunk({"content": "Hi"})],
        "responses": [{"type": "response.created", "response": {"id": "r"}}],
        "anthropic": [
            {
                "type": "message_start",
                "message": anthropic_wire.message([], usage={"input_tokens": 600, "output_tokens": 1}),
            }
        ],
        "google": [google.answer([{"text": "H"}], None, usageMetadata={"promptTokenCount": 1000})],
    }
    return sse_reply(*data_events([*begun[vendor], failed(vendor)]))


@pytest.mark.parametrize("form", ["streamed", "in a 200", "with a status"])
@pytest.mark.parametrize("vendor", MODELS)
async def test_usage_beside_a_failure_is_on_the_error(vendor: str, form: str) -> None:
    async with LoopbackServer(failure_reply(vendor, form)) as server:
        asked = provider(vendor, server)
        prices = PriceBook(clock=lambda: NOW)
        engine = ExecutionEngine(asked, prices=prices, retry=RetryConfig(attempts=1))
        call = collect(engine.stream(spec())) if form == "streamed" else engine.complete(spec())
        with pytest.raises(ProviderError) as caught:
            await call
        await asked.aclose()

    usage = caught.value.usage
    assert usage is not None
    assert caught.value.usage_is_final  # it is stated beside the failure, behind all that has come
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (1000, 100, 400)
    assert usage.cost == prices.cost(asked.name, MODELS[vendor], replace(usage, cost=None))


UNREADABLE_ANSWERS = {
    "chat": {"choices": [{"message": 5}], "usage": BILLED["chat"]},
    "responses": {"object": "response", "output": 5, "usage": BILLED["responses"]},
    "anthropic": {"content": None, "usage": BILLED["anthropic"]},
    "google": {"candidates": [], "usageMetadata": BILLED["google"]},
}


@pytest.mark.parametrize("vendor", MODELS)
async def test_answer_that_nobody_can_read_has_cost_what_it_says(vendor: str) -> None:
    async with LoopbackServer(json_reply(UNREADABLE_ANSWERS[vendor])) as server:
        asked = provider(vendor, server)
        engine = ExecutionEngine(asked, prices=PriceBook(clock=lambda: NOW), retry=RetryConfig(attempts=1))
        with pytest.raises(InvalidResponse) as caught:
            await engine.complete(spec())
        await asked.aclose()

    usage = caught.value.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (1000, 100, 400)
    assert usage.cost is not None


@pytest.mark.parametrize(
    "body", [{"error": WRONG}, {"error": WRONG, "usage": "none"}, {"error": WRONG, "usage": {}}]
)
@pytest.mark.parametrize("vendor", ["chat", "responses", "anthropic"])
async def test_a_failure_that_says_nothing_of_its_use_says_nothing(vendor: str, body: dict[str, Any]) -> None:
    async with LoopbackServer(json_reply(body, status=400)) as server:
        asked = provider(vendor, server)
        with pytest.raises(ProviderError) as caught:
            await complete(asked)

    assert caught.value.usage is None


VECTOR_USAGE = {
    "openai": {"usage": {"prompt_tokens": 12, "total_tokens": 12}},
    "voyage": {"usage": {"total_tokens": 12}},
    "google": {"usageMetadata": {"promptTokenCount": 12}},
}
UNREADABLE_VECTORS: list[dict[str, Any]] = [
    {},
    {"data": None, "embeddings": None},
    {"data": [{"index": 0}], "embeddings": [{}]},
    {"data": [], "embeddings": []},
    {"data": [{"index": 0, "embedding": ["x"]}], "embeddings": [{"values": ["x"]}]},
    {"data": [{"index": 0, "embedding": [[1]]}], "embeddings": [{"values": [[1]]}]},
    {"error": {"message": "no", "code": "content_filter"}},
]


@pytest.mark.parametrize("answer", UNREADABLE_VECTORS, ids=str)
@pytest.mark.parametrize("name", VECTOR_USAGE)
async def test_vectors_that_nobody_can_read_keep_what_they_took(name: str, answer: dict[str, Any]) -> None:
    async with LoopbackServer(json_reply({**answer, **VECTOR_USAGE[name]})) as server:
        asked: Any = (
            GoogleProvider("m", api_key="k", base_url=server.url)
            if name == "google"
            else OpenAIProvider("m", api_key="k", base_url=server.url + "/v1", name=name)
        )
        engine = ExecutionEngine(asked, retry=RetryConfig(attempts=1))
        with pytest.raises(ProviderError) as caught:
            await engine.embed(["a text that is longer than it is counted here"])
        await asked.aclose()

    usage = caught.value.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (12, 0)
