"""The shipped doubles."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client import (
    Chunks,
    CompletionResult,
    Delay,
    FunctionProvider,
    Message,
    ProviderUnavailable,
    RateLimited,
    ReasoningPart,
    RequestContext,
    RequestSpec,
    ScriptedProvider,
    ScriptExhausted,
    StreamEvent,
    ToolCall,
    Usage,
)

SPEC = RequestSpec(messages=[Message.user("12345678")])
CONTEXT = RequestContext()


async def collect(
    provider: ScriptedProvider | FunctionProvider, spec: RequestSpec = SPEC
) -> list[StreamEvent]:
    return [event async for event in provider.stream(spec, CONTEXT)]


async def test_replies_come_in_order_and_requests_are_kept() -> None:
    provider = ScriptedProvider(["a", "b"])
    contents = [(await provider.complete(SPEC.evolve(seed=number), CONTEXT)).content for number in (1, 2)]

    assert contents == ["a", "b"]
    assert [request.seed for request in provider.requests] == [1, 2]


async def test_a_script_that_ends_too_early_says_so() -> None:
    with pytest.raises(ScriptExhausted, match="request 1"):
        await ScriptedProvider([]).complete(SPEC, CONTEXT)


async def test_a_script_that_was_not_used_up_can_be_noticed() -> None:
    provider = ScriptedProvider(["a", "b"])
    await provider.complete(SPEC, CONTEXT)

    with pytest.raises(AssertionError, match="1 scripted replies were never asked for; next: 'b'"):
        provider.assert_complete()


async def test_tool_calls_alone_or_in_a_list() -> None:
    one, two = ToolCall("1", "f", {"a": 1}), ToolCall("2", "g", {})
    provider = ScriptedProvider([one, [one, two]])

    assert (await provider.complete(SPEC, CONTEXT)).tool_calls == (one,)
    result = await provider.complete(SPEC, CONTEXT)
    assert (result.tool_calls, result.finish_reason) == ((one, two), "tool_calls")


async def test_an_exception_is_raised_as_it_is() -> None:
    error = RateLimited(status=429, retry_after=3)
    provider = ScriptedProvider([error, error])

    with pytest.raises(RateLimited) as caught:
        await provider.complete(SPEC, CONTEXT)
    assert caught.value is error
    with pytest.raises(RateLimited):
        await collect(provider)


async def test_a_delayed_reply_comes_late() -> None:
    provider = ScriptedProvider([Delay(0.02, Delay(0.01, "late")), Delay(0, ProviderUnavailable())])
    before = asyncio.get_running_loop().time()
    result = await provider.complete(SPEC, CONTEXT)

    assert result.content == "late"
    assert asyncio.get_running_loop().time() - before >= 0.03
    with pytest.raises(ProviderUnavailable):
        await provider.complete(SPEC, CONTEXT)


async def test_chunks_are_streamed_exactly_as_written() -> None:
    call = ToolCall("1", "f", {"a": 1})
    provider = ScriptedProvider([Chunks(["He", "llo", ReasoningPart(provider="p", text="hm"), call])])
    events = await collect(provider)

    assert [(event.type, event.text) for event in events] == [
        ("token", "He"),
        ("token", "llo"),
        ("reasoning", "hm"),
        ("tool_call_start", ""),
        ("tool_call_delta", '{"a":1}'),
        ("tool_call_end", ""),
        ("usage", ""),
        ("done", ""),
    ]
    assert events[-1].result.tool_calls == (call,)


async def test_an_exception_among_chunks_breaks_the_stream_there() -> None:
    provider = ScriptedProvider([Chunks(["half", ProviderUnavailable()])])
    seen: list[str] = []

    async def follow() -> None:
        async for event in provider.stream(SPEC, CONTEXT):
            seen.append(event.text)

    with pytest.raises(ProviderUnavailable):
        await follow()
    assert seen == ["half"]


async def test_a_malformed_tool_call_streams_its_text() -> None:
    provider = ScriptedProvider([ToolCall("1", "f", malformed='{"a":')])
    events = await collect(provider)

    assert [event.text for event in events if event.type == "tool_call_delta"] == ['{"a":']
    assert events[-1].result.tool_calls[0].malformed == '{"a":'


@given(st.text(max_size=50))
def test_the_words_of_a_streamed_text_add_up_to_it(text: str) -> None:
    events = asyncio.run(collect(ScriptedProvider([text])))

    assert "".join(event.text for event in events if event.type == "token") == text
    assert events[-1].result.content == text


async def test_usage_is_counted_given_or_part_of_the_reply() -> None:
    given_usage = Usage(input_tokens=1000, requests=1)
    own = CompletionResult(content="x", usage=Usage(output_tokens=7))

    counted = await ScriptedProvider(["four"]).complete(SPEC, CONTEXT)
    fixed = await ScriptedProvider(["four"], usage=given_usage).complete(SPEC, CONTEXT)
    brought = await ScriptedProvider([own], usage=given_usage).complete(SPEC, CONTEXT)

    assert (counted.usage.input_tokens, counted.usage.output_tokens, counted.usage.requests) == (2, 1, 1)
    assert fixed.usage == given_usage
    assert (brought.usage.output_tokens, brought.usage.requests) == (7, 1)


async def test_it_plays_any_vendor_and_model() -> None:
    provider = ScriptedProvider(["a", "b"], name="openai", model="gpt-5.2")
    first = await provider.complete(SPEC, CONTEXT)
    second = await provider.complete(SPEC.evolve(model="gpt-5.2-mini"), CONTEXT)

    assert (provider.name, first.provider, first.model, second.model) == (
        "openai",
        "openai",
        "gpt-5.2",
        "gpt-5.2-mini",
    )


async def answer_later(_spec: RequestSpec) -> str:
    return "x"


async def write(_spec: RequestSpec) -> AsyncIterator[str]:
    yield "x"


@pytest.mark.parametrize(
    "function", [lambda _: "x", answer_later, write, lambda _: CompletionResult(content="x")]
)
async def test_a_function_may_answer_in_many_ways(function: Any) -> None:
    provider = FunctionProvider(function)

    assert (await provider.complete(SPEC, CONTEXT)).content == "x"
    assert (await collect(provider))[-1].result.content == "x"
    assert len(provider.requests) == 2


async def test_what_a_function_raises_is_the_providers_failure() -> None:
    def fail(_spec: RequestSpec) -> str:
        raise RateLimited

    with pytest.raises(RateLimited):
        await FunctionProvider(fail).complete(SPEC, CONTEXT)


async def test_embeddings_are_the_same_for_the_same_text() -> None:
    vectors = await ScriptedProvider([]).embed(["a", "b", "a"])

    assert vectors[0] == vectors[2] != vectors[1]
    assert all(-1 <= number <= 1 for vector in vectors for number in vector)
