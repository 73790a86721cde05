"""What every `Provider` must do. Subclass `ProviderContract` and supply `answering`, `failing` and `hanging`.

The same suite judges the shipped doubles, the shipped wire clients over a loopback server, and third parties' providers.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from llm_client.errors import ProviderError, RateLimited
from llm_client.messages import CompletionResult, Message, StreamEvent, ToolCall
from llm_client.providers.base import Provider
from llm_client.spec import RequestContext, RequestSpec
from llm_client.tools.tool import Tool

BOUND = 10.0
"""Seconds after which a wait in this suite counts as hanging."""

TEXT = "Grüße – 你好, world"
CALLS = (
    ToolCall("call_1", "lookup", {"city": "Zürich", "days": 2}),
    ToolCall("call_2", "lookup", {"city": "Łódź", "days": 3}),
)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}


def _lookup(**arguments: object) -> str:
    return str(arguments)


LOOKUP = Tool(name="lookup", description="Look a city up.", parameters=SCHEMA, handler=_lookup, effect="read")
SPEC = RequestSpec(messages=(Message.system("Be brief."), Message.user("Hello?")))
SPEC_WITH_TOOLS = SPEC.evolve(tools=(LOOKUP,))


async def collect(provider: Provider, spec: RequestSpec) -> list[StreamEvent]:
    """Return all events of a stream."""
    async with asyncio.timeout(BOUND):
        return [event async for event in provider.stream(spec, RequestContext())]


class ProviderContract:
    """The suite. Each of the three methods returns an asynchronous context manager that yields a provider."""

    def answering(
        self, *, text: str = "", calls: tuple[ToolCall, ...] = ()
    ) -> AbstractAsyncContextManager[Provider]:
        """Yield a provider whose model answers every request like this."""
        raise NotImplementedError

    def failing(self) -> AbstractAsyncContextManager[Provider]:
        """Yield a provider whose vendor answers every request with a rate limit (429)."""
        raise NotImplementedError

    def hanging(self) -> AbstractAsyncContextManager[Provider]:
        """Yield a provider whose vendor accepts requests and says nothing."""
        raise NotImplementedError

    async def test_it_is_a_provider_with_a_name_and_a_model(self) -> None:
        async with self.answering(text=TEXT) as provider:
            assert isinstance(provider, Provider)
            assert provider.name
            assert provider.model

    async def test_a_text_answer_arrives_whole(self) -> None:
        async with self.answering(text=TEXT) as provider:
            result = await provider.complete(SPEC, RequestContext())

        assert result.content == TEXT
        assert result.tool_calls == ()
        assert result.finish_reason == "stop"

    async def test_usage_counts_one_request_and_carries_no_price(self) -> None:
        async with self.answering(text=TEXT) as provider:
            result = await provider.complete(SPEC, RequestContext())

        assert result.usage.input_tokens > 0
        assert result.usage.output_tokens > 0
        assert result.usage.cost is None
        assert result.usage.cache_read_tokens + result.usage.cache_write_tokens <= result.usage.input_tokens
        assert result.usage.reasoning_tokens <= result.usage.output_tokens

    async def test_a_stream_ends_with_the_result_that_complete_would_give(self) -> None:
        async with self.answering(text=TEXT) as provider:
            whole = await provider.complete(SPEC, RequestContext())
            events = await collect(provider, SPEC)

        assert [event.type for event in events].count("done") == 1
        assert events[-1].type == "done"
        streamed = events[-1].result
        assert isinstance(streamed, CompletionResult)
        assert (streamed.content, streamed.finish_reason) == (whole.content, whole.finish_reason)
        assert streamed.usage.total_tokens == whole.usage.total_tokens

    async def test_the_tokens_of_a_stream_add_up_to_its_content(self) -> None:
        async with self.answering(text=TEXT) as provider:
            events = await collect(provider, SPEC)

        assert "".join(event.text for event in events if event.type == "token") == TEXT

    async def test_parallel_tool_calls_keep_their_order_and_arguments(self) -> None:
        async with self.answering(calls=CALLS) as provider:
            result = await provider.complete(SPEC_WITH_TOOLS, RequestContext())

        assert [(call.name, call.arguments) for call in result.tool_calls] == [
            (call.name, call.arguments) for call in CALLS
        ]
        assert len({call.id for call in result.tool_calls}) == len(CALLS)
        assert all(call.malformed is None for call in result.tool_calls)
        assert result.finish_reason == "tool_calls"

    async def test_streamed_tool_calls_open_and_close_and_end_as_complete_gives_them(self) -> None:
        async with self.answering(calls=CALLS) as provider:
            events = await collect(provider, SPEC_WITH_TOOLS)

        opened = [
            event.tool_call.name for event in events if event.type == "tool_call_start" and event.tool_call
        ]
        closed = [event.tool_call for event in events if event.type == "tool_call_end" and event.tool_call]
        assert opened == [call.name for call in CALLS]
        assert [(call.name, call.arguments) for call in closed] == [
            (call.name, call.arguments) for call in CALLS
        ]
        assert events[-1].result.tool_calls == tuple(closed)

    async def test_a_failure_is_raised_as_a_provider_error_that_says_whether_to_retry(self) -> None:
        async with self.failing() as provider:
            with pytest.raises(RateLimited) as caught:
                await provider.complete(SPEC, RequestContext())

        assert caught.value.retryable
        assert isinstance(caught.value, ProviderError)

    async def test_a_failing_stream_raises_and_yields_no_result(self) -> None:
        events: list[StreamEvent] = []

        async def follow(provider: Provider) -> None:
            async for event in provider.stream(SPEC, RequestContext()):
                events.append(event)  # noqa: PERF401 -- a comprehension would lose what came before the failure

        async with self.failing() as provider:
            with pytest.raises(RateLimited):
                await follow(provider)

        assert not [event for event in events if event.type == "done"]

    async def test_a_cancelled_call_ends_at_once(self) -> None:
        async with self.hanging() as provider:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await provider.complete(SPEC, RequestContext())

    async def test_an_abandoned_stream_can_be_closed(self) -> None:
        async with self.answering(text=TEXT) as provider:
            stream = provider.stream(SPEC, RequestContext())
            first = await anext(aiter(stream))
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

        assert first.type != "done"

    async def test_concurrent_calls_do_not_mix(self) -> None:
        async with self.answering(text=TEXT) as provider, asyncio.timeout(BOUND):
            results = await asyncio.gather(*(provider.complete(SPEC, RequestContext()) for _ in range(20)))

        assert [result.content for result in results] == [TEXT] * 20

    async def test_closing_twice_is_allowed(self) -> None:
        async with self.answering(text=TEXT) as provider:
            await provider.aclose()
            await provider.aclose()
