"""Streams: the same call with somebody listening."""

import asyncio
import gc
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from llm_client import (
    Chunks,
    EventStream,
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


class _Counted:
    """A model that never stops talking, and how many of its streams are open."""

    def __init__(self) -> None:
        self.open = 0
        self.engine = ExecutionEngine(FunctionProvider(self._speak), max_concurrency=1)

    async def _speak(self, _spec: RequestSpec) -> AsyncIterator[str]:
        self.open += 1
        try:
            while True:
                yield "more "
                await asyncio.sleep(0)
        finally:
            self.open -= 1


async def _first(stream: EventStream[StreamEvent]) -> StreamEvent:
    async for event in stream:
        return event
    raise AssertionError


async def test_a_stream_that_is_only_dropped_is_cancelled_at_once() -> None:
    """Its slot is free for the next call, which would wait for it otherwise: Python closes generators late."""
    model = _Counted()
    for _ in range(3):
        async for _event in model.engine.stream(SPEC):
            break
        await asyncio.wait_for(_first(model.engine.stream(SPEC)), BOUND)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert model.open == 0


async def test_a_stream_that_is_dropped_in_another_thread_is_cancelled() -> None:
    model = _Counted()
    held = [model.engine.stream(SPEC)]
    await anext(held[0])
    await asyncio.to_thread(held.clear)
    async with asyncio.timeout(BOUND):
        while model.open:
            await asyncio.sleep(0)


async def test_a_closed_stream_has_no_further_events() -> None:
    model = _Counted()
    async with model.engine.stream(SPEC) as stream:
        assert (await anext(stream)).text == "more "
    assert model.open == 0
    assert [event async for event in stream] == []
    await stream.aclose()


async def test_a_stream_nobody_has_read_makes_no_call() -> None:
    model = _Counted()
    stream = model.engine.stream(SPEC)
    await stream.aclose()
    assert [event async for event in stream] == []


async def test_a_reader_that_is_cancelled_ends_the_call() -> None:
    async def silent(_spec: RequestSpec) -> AsyncIterator[str]:
        yield "a"
        await asyncio.Event().wait()

    engine = ExecutionEngine(FunctionProvider(silent), max_concurrency=1)
    stream = engine.stream(SPEC)
    await anext(stream)
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert engine._slots is not None
    assert engine._slots.free == 1
