"""Streams: the same call with somebody listening."""

import asyncio
import gc
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from llm_client import (
    Chunks,
    ExecutionEngine,
    FunctionProvider,
    ModelPrices,
    PriceBook,
    ProviderUnavailable,
    ReasoningPart,
    RequestContext,
    RequestSpec,
    ScriptedProvider,
    StreamEvent,
    StreamInterrupted,
    ToolCall,
)
from support.engine import BOUND, FAST, SPEC, collect, shape


async def test_a_stream_yields_tokens_and_ends_with_the_whole_result() -> None:
    events = await collect(ExecutionEngine(ScriptedProvider([Chunks(["a", "b"])])).stream(SPEC))

    assert shape(events) == [("token", "a"), ("token", "b"), ("usage", ""), ("done", "")]
    assert events[-1].result.content == "ab"


async def test_a_stream_that_fails_before_its_first_token_is_repeated() -> None:
    provider = ScriptedProvider([ProviderUnavailable(), Chunks([ProviderUnavailable()]), "ok"])

    events = await collect(ExecutionEngine(provider, retry=FAST).stream(SPEC))

    assert events[-1].result.content == "ok"


@pytest.mark.parametrize(
    "first",
    ["a", ToolCall("1", "f", {}), ReasoningPart(provider="x", text="hm")],
    ids=["token", "tool", "reasoning"],
)
async def test_nothing_is_repeated_or_failed_over_after_the_first_content(first: str) -> None:
    other = ScriptedProvider(["never"])
    provider = ScriptedProvider([Chunks([first, ProviderUnavailable("cut")]), "never"])
    engine = ExecutionEngine(provider, fallbacks=[other], retry=FAST)
    seen: list[StreamEvent] = []

    async def follow() -> None:
        async for event in engine.stream(SPEC):
            seen.append(event)

    with pytest.raises(ProviderUnavailable, match="cut"):
        await follow()

    assert seen
    assert (provider.remaining, len(other.requests)) == (1, 0)


async def test_closing_a_stream_cancels_its_call() -> None:
    cancelled = asyncio.Event()

    async def endless(_spec: RequestSpec) -> AsyncIterator[str]:
        try:
            while True:
                yield "more "
                await asyncio.sleep(0)
        finally:
            cancelled.set()

    engine = ExecutionEngine(FunctionProvider(endless), max_concurrency=1)
    stream = engine.stream(SPEC)
    async for _ in stream:
        break
    await stream.aclose()

    await asyncio.wait_for(cancelled.wait(), BOUND)
    assert engine._slots is not None
    assert engine._slots.free == 1


async def test_a_provider_that_forgets_its_end_is_interrupted() -> None:
    class Forgetful(FunctionProvider):
        async def stream(self, spec: RequestSpec, context: RequestContext) -> AsyncIterator[StreamEvent]:
            yield StreamEvent(type="token", text="half")

    with pytest.raises(StreamInterrupted):
        await collect(ExecutionEngine(Forgetful(lambda _: "x")).stream(SPEC))


async def test_the_usage_inside_a_stream_is_priced() -> None:
    prices = PriceBook({"*:scripted": ModelPrices.of(input=1, output=1)})
    events = await collect(ExecutionEngine(ScriptedProvider(["hello"]), prices=prices).stream(SPEC))

    assert [event.usage.cost for event in events if event.usage is not None] == [Decimal("0.000003")] * 2


async def test_a_failure_nobody_waits_for_is_not_reported_as_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The call fails while its caller, who has seen enough, closes the stream."""
    engine = ExecutionEngine(ScriptedProvider([Chunks(["a", "b", ProviderUnavailable("unheard")])]))
    stream = engine.stream(SPEC)
    await anext(stream)
    await stream.aclose()
    del stream
    await asyncio.sleep(0)  # the loop lets go of the task
    gc.collect()

    assert "unheard" not in caplog.text
