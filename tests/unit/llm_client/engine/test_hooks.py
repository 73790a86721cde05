"""What hooks are told."""

import asyncio
import logging

import pytest

from llm_client import (
    Chunks,
    Delay,
    ExecutionEngine,
    HookEvent,
    RateLimited,
    RequestContext,
    ScriptedProvider,
)
from support.engine import FAST, SPEC, collect


async def test_hooks_are_told_the_story_in_order() -> None:
    log: list[HookEvent] = []

    async def later(event: HookEvent) -> None:
        log.append(event)

    engine = ExecutionEngine(ScriptedProvider([RateLimited(status=429), "ok"]), retry=FAST, hooks=[later])
    context = RequestContext()
    await engine.complete(SPEC, context=context)

    assert [event.name for event in log] == [
        "request.start",
        "request.attempt",
        "provider.error",
        "request.retry",
        "request.attempt",
        "provider.success",
        "request.end",
    ]
    assert {event.context for event in log if event.context is not context} == set()


async def test_a_call_that_is_cancelled_still_ends_for_the_hooks() -> None:
    log: list[HookEvent] = []
    engine = ExecutionEngine(ScriptedProvider([Delay(60, "x")]), hooks=[log.append])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await engine.complete(SPEC)

    assert log[-1].name == "request.end"
    assert isinstance(log[-1].data["error"], asyncio.CancelledError)


async def test_a_raising_hook_is_logged_and_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_event: HookEvent) -> None:
        raise RuntimeError("hook trouble")

    with caplog.at_level(logging.ERROR):
        result = await ExecutionEngine(ScriptedProvider(["ok"]), hooks=[broken]).complete(SPEC)

    assert result.content == "ok"
    assert "hook trouble" in caplog.text


async def test_streams_tell_their_own_story() -> None:
    log: list[HookEvent] = []
    engine = ExecutionEngine(
        ScriptedProvider([Chunks(["a"]), Chunks(["b", ValueError("bug")])]), hooks=[log.append]
    )
    await collect(engine.stream(SPEC))
    first = [event.name for event in log if event.name.startswith("stream")]
    log.clear()
    with pytest.raises(ValueError, match="bug"):
        await collect(engine.stream(SPEC))

    assert first == ["stream.start", "stream.event", "stream.event", "stream.end"]
    assert [event.name for event in log if event.name.startswith("stream")][-1] == "stream.error"
