"""What every `Cache` must do. Subclass `CacheContract` and supply `make`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from llm_client.engine.cache.base import Cache
from llm_client.messages import CompletionResult, ReasoningPart, ToolCall
from llm_client.usage import Usage

ANSWER = CompletionResult(
    content="Grüße, 你好",
    tool_calls=(ToolCall("call_1", "lookup", {"city": "Zürich", "deep": [1, 2.5, None, {"x": True}]}),),
    usage=Usage(
        input_tokens=10, output_tokens=5, cost=Decimal("0.0000125"), price_source="test 1", requests=1
    ),
    reasoning=(ReasoningPart(provider="anthropic", text="hm", data={"signature": "abc"}),),
    finish_reason="tool_calls",
    model="some-model",
    provider="some-provider",
    request_id="req_1",
)


class FakeTime:
    """A clock that moves when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def utc(self) -> datetime:
        """Return the same time as a date."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)


class CacheContract:
    """The suite."""

    def make(
        self, *, max_entries: int, ttl: float | None, time: FakeTime
    ) -> AbstractAsyncContextManager[Cache]:
        """Yield an empty cache that reads its time from `time`."""
        raise NotImplementedError

    async def test_an_answer_comes_back_as_it_was(self) -> None:
        async with self.make(max_entries=10, ttl=60, time=FakeTime()) as cache:
            await cache.put("key", ANSWER)

            assert await cache.get("key") == ANSWER

    async def test_an_unknown_key_gives_nothing(self) -> None:
        async with self.make(max_entries=10, ttl=60, time=FakeTime()) as cache:
            assert await cache.get("key") is None

    async def test_a_second_answer_replaces_the_first(self) -> None:
        async with self.make(max_entries=10, ttl=60, time=FakeTime()) as cache:
            await cache.put("key", ANSWER)
            await cache.put("key", CompletionResult(content="new"))

            assert await cache.get("key") == CompletionResult(content="new")

    async def test_an_answer_is_gone_when_its_time_is_over(self) -> None:
        time = FakeTime()
        async with self.make(max_entries=10, ttl=60, time=time) as cache:
            await cache.put("key", ANSWER)
            time.now += 59.9
            before = await cache.get("key")
            time.now += 0.2

            assert before == ANSWER
            assert await cache.get("key") is None

    async def test_without_a_time_to_live_an_answer_stays(self) -> None:
        time = FakeTime()
        async with self.make(max_entries=10, ttl=None, time=time) as cache:
            await cache.put("key", ANSWER)
            time.now += 10 * 365 * 86_400

            assert await cache.get("key") == ANSWER

    async def test_the_number_of_answers_is_bounded_and_the_oldest_go_first(self) -> None:
        time = FakeTime()
        async with self.make(max_entries=4, ttl=None, time=time) as cache:
            for number in range(12):
                time.now += 1
                await cache.put(f"key-{number}", CompletionResult(content=str(number)))
            kept = [number for number in range(12) if await cache.get(f"key-{number}") is not None]

        assert kept == [8, 9, 10, 11]

    async def test_closing_twice_is_allowed(self) -> None:
        async with self.make(max_entries=10, ttl=60, time=FakeTime()) as cache:
            await cache.put("key", ANSWER)
            await cache.aclose()
            await cache.aclose()
