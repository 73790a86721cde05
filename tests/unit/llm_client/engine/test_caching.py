"""Answers from the cache, and none where they would be wrong."""

from decimal import Decimal

import pytest

from llm_client import (
    CompletionResult,
    ExecutionEngine,
    HookEvent,
    MemoryCache,
    Message,
    ModelPrices,
    PriceBook,
    ProviderUnavailable,
    ReasoningPart,
    RequestContext,
    RequestSpec,
    RetryConfig,
    ScriptedProvider,
)
from support.engine import SPEC, collect, shape


async def test_an_equal_request_is_answered_from_the_cache_and_costs_nothing() -> None:
    prices = PriceBook({"*:scripted": ModelPrices.of(input=100, output=100)})
    engine = ExecutionEngine(ScriptedProvider(["once"]), cache=MemoryCache(), prices=prices)
    first = await engine.complete(SPEC)
    second = await engine.complete(RequestSpec(messages=[Message.user("hi")]))

    assert (second.content, second.cached, second.usage.cost) == ("once", True, Decimal(0))
    assert second.usage.total_tokens == 0
    assert second.saved == first.usage
    assert second.saved is not None
    assert second.saved.cost == Decimal("0.0002")


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [Message.user("hi!")]},
        {"messages": [Message.system("hi")]},
        {"model": "other"},
        {"temperature": 0.1},
        {"max_tokens": 5},
        {"stop": ["x"]},
        {"seed": 1},
        {"reasoning_effort": "low"},
        {"extra": {"service_tier": "flex"}},
    ],
)
async def test_whatever_changes_the_answer_changes_the_key(change: dict[str, object]) -> None:
    engine = ExecutionEngine(ScriptedProvider(["first", "second"]), cache=MemoryCache())
    await engine.complete(SPEC)

    assert (await engine.complete(SPEC.evolve(**change))).content == "second"


async def test_tenants_do_not_share_answers() -> None:
    engine = ExecutionEngine(ScriptedProvider(["for a", "for b"]), cache=MemoryCache())
    await engine.complete(SPEC, context=RequestContext(tenant_id="a"))

    assert (await engine.complete(SPEC, context=RequestContext(tenant_id="b"))).content == "for b"


async def test_the_cache_can_be_passed_by_and_refreshed() -> None:
    engine = ExecutionEngine(ScriptedProvider(["one", "two", "three"]), cache=MemoryCache())
    contents = [
        (await engine.complete(SPEC)).content,
        (await engine.complete(SPEC, cache="bypass")).content,
        (await engine.complete(SPEC, cache="refresh")).content,
        (await engine.complete(SPEC)).content,
    ]

    assert contents == ["one", "two", "three", "three"]


async def test_the_answer_of_a_fallback_is_not_kept_as_the_first_choices() -> None:
    first = ScriptedProvider([ProviderUnavailable(), "from the first"])
    engine = ExecutionEngine(
        first, fallbacks=[ScriptedProvider(["stand-in"])], retry=RetryConfig(attempts=1), cache=MemoryCache()
    )
    await engine.complete(SPEC)

    assert (await engine.complete(SPEC)).content == "from the first"


async def test_a_filtered_answer_is_not_kept() -> None:
    filtered = CompletionResult(content="", finish_reason="content_filter")
    engine = ExecutionEngine(ScriptedProvider([filtered, "fine"]), cache=MemoryCache())
    await engine.complete(SPEC)

    assert (await engine.complete(SPEC)).content == "fine"


async def test_a_broken_cache_is_as_good_as_none(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryCache):
        async def get(self, key: str) -> CompletionResult | None:
            raise OSError("gone")

        async def put(self, key: str, result: CompletionResult) -> None:
            raise OSError("gone")

    log: list[HookEvent] = []
    engine = ExecutionEngine(ScriptedProvider(["ok"]), cache=Broken(), hooks=[log.append])

    assert (await engine.complete(SPEC)).content == "ok"
    assert [event.name for event in log].count("cache.error") == 2
    assert "could not be read" in caplog.text


async def test_reasoning_of_a_remembered_answer_is_streamed_too() -> None:
    answer = CompletionResult(content="x", reasoning=(ReasoningPart(provider="p", text="hm"),))
    engine = ExecutionEngine(ScriptedProvider([answer]), cache=MemoryCache())
    await engine.complete(SPEC)

    assert shape(await collect(engine.stream(SPEC)))[:2] == [("reasoning", "hm"), ("token", "x")]
