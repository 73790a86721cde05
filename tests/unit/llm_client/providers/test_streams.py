"""Streams, whole and broken: what has arrived is never lost, and nothing is taken for an answer that is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from llm_client.errors import (
    ContentFiltered,
    InvalidResponse,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
    StreamInterrupted,
)
from llm_client.messages import StreamEvent, ToolCall
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.event_stream import read_stream
from llm_client.providers.failures import Origin
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.chat_stream import ChatStreamReader
from llm_client.providers.openai.provider import OpenAIProvider
from llm_client.providers.transport.port import AnswerLimits, Timeouts
from llm_client.spec import RequestContext
from support.conversations import complete, spec, stream
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import anthropic as anthropic_wire
from support.wire import data_events, named_events
from support.wire import google as google_wire
from support.wire import openai_chat as chat_wire
from support.wire import openai_responses as responses_wire

VENDORS = ["chat", "responses", "anthropic", "google"]
WIRES = {"chat": chat_wire, "responses": responses_wire, "anthropic": anthropic_wire, "google": google_wire}
TEXT = "Grüße aus Köln 🎉"


def provider(vendor: str, server: LoopbackServer, **options: Any) -> Any:
    if vendor in ("chat", "responses"):
        return OpenAIProvider("m", api_key="k", base_url=server.url + "/v1", api=vendor, **options)
    cls = AnthropicProvider if vendor == "anthropic" else GoogleProvider
    return cls("m", api_key="k", base_url=server.url, **options)


def events_of(vendor: str, kind: str = "TEXT") -> list[str]:
    payloads = getattr(WIRES[vendor], f"{kind}_STREAM")
    if vendor in ("chat", "google"):
        return data_events(payloads, done=vendor == "chat")
    return named_events(payloads)


def text_of(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if event.type == "token")


async def collect_until_failure(model: Any) -> tuple[list[StreamEvent], BaseException]:
    events: list[StreamEvent] = []
    try:
        async for event in model.stream(spec(), RequestContext()):
            events.append(event)
    except Exception as error:
        return events, error
    finally:
        await model.aclose()
    pytest.fail("the stream did not fail")


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("size", [1, 7])
async def test_stream_cut_into_small_pieces_is_the_same(vendor: str, size: int) -> None:
    whole = "".join(events_of(vendor)).encode()
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    async with LoopbackServer(sse_reply(*pieces)) as server:
        events = await stream(provider(vendor, server))
    assert text_of(events) == TEXT
    assert events[-1].type == "done"
    assert events[-1].result.content == TEXT


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("line_end", ["\r\n", "\r"])
async def test_other_line_ends_comments_and_a_byte_order_mark_change_nothing(
    vendor: str, line_end: str
) -> None:
    stream_text = "\ufeff: welcome\n\n" + ": keep-alive\n\n".join(events_of(vendor))
    async with LoopbackServer(sse_reply(stream_text.replace("\n", line_end))) as server:
        events = await stream(provider(vendor, server))
    assert text_of(events) == TEXT


@pytest.mark.parametrize("vendor", VENDORS)
async def test_unknown_events_and_fields_are_skipped(vendor: str) -> None:
    unknown = 'event: brand.new\ndata: {"type": "brand.new", "surprise": [1, {"a": null}]}\n\n'
    known = [event.replace("data: {", 'data: {"surprise": {"x": [1]}, ', 1) for event in events_of(vendor)]
    pieces = [piece for event in known for piece in (unknown, event)]
    async with LoopbackServer(sse_reply(*pieces)) as server:
        events = await stream(provider(vendor, server))
    assert text_of(events) == TEXT


@pytest.mark.parametrize("vendor", VENDORS)
async def test_last_event_without_its_line_end_counts(vendor: str) -> None:
    whole = "".join(events_of(vendor)).rstrip("\n")
    async with LoopbackServer(sse_reply(whole)) as server:
        events = await stream(provider(vendor, server))
    assert events[-1].result.content == TEXT


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("end", ["reset", "close", "orderly"])
async def test_stream_without_its_end_marker_is_interrupted_and_keeps_what_came(
    vendor: str, end: str
) -> None:
    events = events_of(vendor)
    cut = next(i for i, event in enumerate(events) if "Gr\\u00fc\\u00dfe" in event) + 1
    pieces: list[Any] = [*events[:cut], *([] if end == "orderly" else [end])]
    async with LoopbackServer(sse_reply(*pieces)) as server:
        seen, error = await collect_until_failure(provider(vendor, server))
    assert text_of(seen) == "Grüße "
    assert isinstance(error, StreamInterrupted)
    assert error.partial is not None
    assert error.partial.content == "Grüße "
    assert error.partial.finish_reason == "error"


@pytest.mark.parametrize(
    ("vendor", "missing"), [("chat", 1), ("responses", 0), ("anthropic", 0), ("google", 0)]
)
async def test_connection_cut_behind_the_last_thing_an_answer_needs_does_not_matter(
    vendor: str, missing: int
) -> None:
    events = events_of(vendor)
    async with LoopbackServer(sse_reply(*events[: len(events) - missing], "reset")) as server:
        seen = await stream(provider(vendor, server))
    assert seen[-1].result.content == TEXT
    assert seen[-1].result.usage.output_tokens > 0


@pytest.mark.parametrize("vendor", VENDORS)
async def test_half_an_event_at_the_end_is_an_interruption_and_not_garbage(vendor: str) -> None:
    events = events_of(vendor)
    async with LoopbackServer(sse_reply(*events[:-2], events[-2][: len(events[-2]) // 2])) as server:
        _, error = await collect_until_failure(provider(vendor, server))
    assert isinstance(error, StreamInterrupted)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_half_a_json_inside_the_stream_is_an_invalid_response(vendor: str) -> None:
    half = sse_reply('data: {"half": \n\n', *events_of(vendor), x_request_id="req-1")
    async with LoopbackServer(half) as server:
        asked = provider(vendor, server)
        _, error = await collect_until_failure(asked)
    assert isinstance(error, InvalidResponse)
    assert (error.provider, error.request_id) == (asked.name, "req-1")


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("payload", ["[]", "1", '"text"', '{"choices": 1, "type": "content_block_delta"}'])
async def test_json_of_another_form_is_an_invalid_response_or_no_answer(vendor: str, payload: str) -> None:
    async with LoopbackServer(sse_reply(f"data: {payload}\n\n")) as server:
        _, error = await collect_until_failure(provider(vendor, server))
    assert isinstance(error, InvalidResponse | StreamInterrupted | ProviderUnavailable)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_silence_before_the_first_event_is_a_timeout(vendor: str) -> None:
    async with LoopbackServer(sse_reply("hang")) as server:
        _, error = await collect_until_failure(provider(vendor, server, timeouts=Timeouts(read=0.05)))
    assert isinstance(error, ProviderTimeout)
    assert error.provider is not None


@pytest.mark.parametrize("vendor", VENDORS)
async def test_silence_in_the_middle_is_an_interruption(vendor: str) -> None:
    async with LoopbackServer(sse_reply(*events_of(vendor)[:-2], "hang")) as server:
        seen, error = await collect_until_failure(provider(vendor, server, timeouts=Timeouts(read=0.05)))
    assert isinstance(error, StreamInterrupted)
    assert error.partial is not None
    assert error.partial.content == text_of(seen)


@pytest.mark.parametrize("vendor", ["chat", "responses", "anthropic"])  # Google has no end marker
async def test_done_comes_although_the_server_keeps_the_connection_open(vendor: str) -> None:
    async with LoopbackServer(sse_reply(*events_of(vendor), "hang")) as server:
        events = await asyncio.wait_for(stream(provider(vendor, server)), 5)
        await asyncio.wait_for(server.disconnected.wait(), 5)
    assert events[-1].type == "done"


@pytest.mark.parametrize("vendor", VENDORS)
async def test_connection_of_a_finished_stream_is_used_again(vendor: str) -> None:
    async with LoopbackServer(sse_reply(*events_of(vendor))) as server:
        model = provider(vendor, server)
        for _ in range(3):
            assert [event async for event in model.stream(spec(), RequestContext())][-1].type == "done"
        await model.aclose()
        assert server.connections == 1


@pytest.mark.parametrize("vendor", VENDORS)
async def test_reader_that_stops_early_closes_the_connection(vendor: str) -> None:
    async with LoopbackServer(sse_reply(*events_of(vendor)[:-1], "hang")) as server:
        model = provider(vendor, server)
        async with aclosing(model.stream(spec(), RequestContext())) as events:
            async for _ in events:
                break
        await asyncio.wait_for(server.disconnected.wait(), 5)
        await model.aclose()


@pytest.mark.parametrize("vendor", VENDORS)
async def test_cancelled_reader_closes_the_connection(vendor: str) -> None:
    async with LoopbackServer(sse_reply("hang")) as server:
        model = provider(vendor, server)
        task = asyncio.ensure_future(collect_until_failure(model))
        await server.wait_for_requests(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.disconnected.wait(), 5)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_one_megabyte_event_is_read(vendor: str) -> None:
    long = TEXT * 60_000
    events = [
        event.replace("aus K\\u00f6ln", json.dumps(long)[1:-1] + "aus K\\u00f6ln")
        for event in events_of(vendor)
    ]
    assert max(map(len, events)) > 1_000_000
    async with LoopbackServer(sse_reply(*events)) as server:
        done = (await stream(provider(vendor, server)))[-1]
    assert done.result.content == "Grüße " + long + "aus Köln 🎉"


@pytest.mark.parametrize("vendor", VENDORS)
async def test_server_that_does_not_stream_is_understood_all_the_same(vendor: str) -> None:
    async with LoopbackServer(json_reply(WIRES[vendor].TEXT)) as server:
        events = await stream(provider(vendor, server))
    assert text_of(events) == TEXT
    assert events[-1].result.content == TEXT


@pytest.mark.parametrize("vendor", VENDORS)
async def test_html_page_with_status_200_is_an_invalid_response(vendor: str) -> None:
    page = Reply(pieces=(b"<html>Sign in</html>",), headers={"content-type": "text/html"})
    async with LoopbackServer(page) as server:
        _, error = await collect_until_failure(provider(vendor, server))
        assert isinstance(error, InvalidResponse)
        with pytest.raises(InvalidResponse, match="HTML"):
            await complete(provider(vendor, server))


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"{}", b"null", b'{"choices": [], "output": 3}'])
async def test_garbage_with_status_200_is_an_invalid_response(vendor: str, body: bytes) -> None:
    headers = {"content-type": "application/json", "x-request-id": "req-1"}
    async with LoopbackServer(Reply(pieces=(body,), headers=headers)) as server:
        asked = provider(vendor, server)
        with pytest.raises(InvalidResponse) as refused:
            await complete(asked)
        _, streamed = await collect_until_failure(asked)
    assert (refused.value.provider, refused.value.request_id) == (asked.name, "req-1")
    assert isinstance(streamed, InvalidResponse)
    assert (streamed.provider, streamed.request_id) == (asked.name, "req-1")


@pytest.mark.parametrize(
    ("vendor", "event", "expected"),
    [
        ("chat", 'data: {"error": {"message": "Overloaded", "code": 529}}\n\n', ProviderUnavailable),
        ("chat", 'data: {"error": {"message": "Slow", "code": "rate_limit_exceeded"}}\n\n', RateLimited),
        ("chat", 'data: {"error": "something odd"}\n\n', ProviderUnavailable),
        (
            "responses",
            'event: error\ndata: {"type": "error", "code": "server_error", "message": "Oops", "param": null}\n\n',
            ProviderUnavailable,
        ),
        (
            "responses",
            f"data: {json.dumps({'type': 'response.failed', 'response': responses_wire.FAILED})}\n\n",
            RateLimited,
        ),
        ("anthropic", named_events([anthropic_wire.OVERLOADED])[0], ProviderUnavailable),
        (
            "google",
            'data: {"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}\n\n',
            RateLimited,
        ),
        ("google", f"data: {json.dumps(google_wire.BLOCKED)}\n\n", ContentFiltered),
    ],
)
async def test_error_inside_a_stream_is_named(vendor: str, event: str, expected: type[Exception]) -> None:
    async with LoopbackServer(sse_reply(event, x_request_id="req_9")) as server:
        _, error = await collect_until_failure(provider(vendor, server))
    assert type(error) is expected
    assert error.request_id == "req_9"


async def test_failure_inside_a_stream_tells_what_had_been_billed() -> None:
    started = named_events(anthropic_wire.TEXT_STREAM)[:6]
    async with LoopbackServer(sse_reply(*started, *named_events([anthropic_wire.OVERLOADED]))) as server:
        _, error = await collect_until_failure(provider("anthropic", server))
    assert isinstance(error, ProviderUnavailable)
    assert error.usage is not None
    assert (error.usage.input_tokens, error.usage.output_tokens) == (1233, 1)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_parallel_tool_calls_are_told_apart_while_they_come(vendor: str) -> None:
    async with LoopbackServer(sse_reply(*events_of(vendor, "TOOL"))) as server:
        events = await stream(provider(vendor, server))
    started = [event.tool_call.name for event in events if event.type == "tool_call_start"]
    assert started == ["weather", "clock"]
    pieces = [e.text for e in events if e.type == "tool_call_delta" and e.tool_call.name == "weather"]
    assert json.loads("".join(pieces)) == {"city": "Köln"}
    assert events[-1].result.finish_reason == "tool_calls"


async def test_interleaved_fragments_of_two_calls_reach_their_own_call() -> None:
    def fragment(index: int, **function: str) -> dict[str, Any]:
        head = {"id": f"call_{index}"} if "name" in function else {}
        return chat_wire.chunk({"tool_calls": [{"index": index, **head, "function": function}]})

    chunks = [
        fragment(0, name="a", arguments='{"x":'),
        fragment(1, name="b", arguments='{"y":'),
        fragment(0, arguments="1}"),
        fragment(1, arguments="2}"),
        chat_wire.chunk({}, "tool_calls"),
    ]
    async with LoopbackServer(sse_reply(*data_events(chunks, done=True))) as server:
        done = (await stream(provider("chat", server)))[-1]
    assert done.result.tool_calls == (ToolCall("call_0", "a", {"x": 1}), ToolCall("call_1", "b", {"y": 2}))


async def test_calls_that_all_have_the_index_zero_are_told_apart_by_their_ids() -> None:
    def whole(call_id: str, name: str) -> dict[str, Any]:
        function = {"name": name, "arguments": "{}"}
        return chat_wire.chunk({"tool_calls": [{"index": 0, "id": call_id, "function": function}]})

    chunks = [whole("x", "a"), whole("y", "b"), chat_wire.chunk({}, "stop")]
    async with LoopbackServer(sse_reply(*data_events(chunks, done=True))) as server:
        done = (await stream(provider("chat", server)))[-1]
    assert [(call.id, call.name) for call in done.result.tool_calls] == [("x", "a"), ("y", "b")]
    assert done.result.finish_reason == "tool_calls"


async def test_server_that_leaves_done_out_is_believed_once_its_usage_has_come() -> None:
    async with LoopbackServer(
        sse_reply(*data_events(chat_wire.TEXT_STREAM)), sse_reply(*data_events(chat_wire.TEXT_STREAM[:-1]))
    ) as server:
        assert (await stream(provider("chat", server)))[-1].result.content == TEXT
        _, error = await collect_until_failure(provider("chat", server))
    assert isinstance(error, StreamInterrupted)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_stream_and_whole_answer_carry_the_same_reasoning_and_usage(vendor: str) -> None:
    async with LoopbackServer(json_reply(WIRES[vendor].TEXT), sse_reply(*events_of(vendor))) as server:
        whole = await complete(provider(vendor, server))
        done = (await stream(provider(vendor, server)))[-1]
    assert done.result.reasoning == whole.reasoning
    assert done.result.usage == whole.usage
    assert done.result.model == whole.model
    assert done.usage == whole.usage


async def test_streamed_refusal_is_told_apart_from_text() -> None:
    place = {"item_id": "msg", "output_index": 0, "content_index": 0}
    refusals = [
        {"type": "response.refusal.delta", **place, "delta": piece} for piece in ("I can't ", "help.")
    ]
    last = {"type": "response.completed", "response": responses_wire.response([])}
    events = named_events([*refusals, last])
    chunks = [
        chat_wire.chunk({"refusal": "I can't "}),
        chat_wire.chunk({"refusal": "help."}),
        chat_wire.chunk({}, "stop"),
    ]
    async with LoopbackServer(sse_reply(*events), sse_reply(*data_events(chunks, done=True))) as server:
        for vendor in ("responses", "chat"):
            done = (await stream(provider(vendor, server)))[-1].result
            assert (done.content, done.refusal) == ("", "I can't help.")


async def test_stream_that_ends_with_an_empty_response_keeps_what_came_before() -> None:
    events = [
        *responses_wire.TEXT_STREAM[:-1],
        {"type": "response.completed", "response": responses_wire.response([])},
    ]
    async with LoopbackServer(sse_reply(*named_events(events))) as server:
        done = (await stream(provider("responses", server)))[-1].result
    assert (done.content, done.usage.total_tokens) == (TEXT, 1163)
    assert done.reasoning[0].data["item"] == responses_wire.REASONING


async def test_call_that_is_only_reported_when_it_is_whole_is_not_missed() -> None:
    item = responses_wire.CALLS[0]
    events = [
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": responses_wire.response([item])},
    ]
    async with LoopbackServer(sse_reply(*named_events(events))) as server:
        seen = await stream(provider("responses", server))
    assert [event.type for event in seen] == ["tool_call_start", "tool_call_end", "usage", "done"]
    assert seen[-1].result.tool_calls == (ToolCall("call_a", "weather", {"city": "Köln"}),)


async def test_summary_parts_of_reasoning_are_set_apart() -> None:
    place = {"item_id": "rs", "output_index": 0}
    part = {"type": "response.reasoning_summary_part.added", **place, "summary_index": 0, "part": {}}
    deltas = [
        {"type": "response.reasoning_summary_text.delta", **place, "summary_index": i, "delta": text}
        for i, text in enumerate(("First.", "Second."))
    ]
    events = [part, deltas[0], part, deltas[1], responses_wire.TEXT_STREAM[-1]]
    async with LoopbackServer(sse_reply(*named_events(events))) as server:
        seen = await stream(provider("responses", server))
    assert "".join(event.text for event in seen if event.type == "reasoning") == "First.\n\nSecond."


async def test_refusal_of_anthropic_at_the_end_of_a_stream_is_kept() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "This could enable cyber harm."}
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "refusal", "stop_details": details},
        "usage": None,
    }
    events = [anthropic_wire.TEXT_STREAM[0], end, {"type": "message_stop"}]
    async with LoopbackServer(sse_reply(*named_events(events), "data: [DONE]\n\n")) as server:
        done = (await stream(provider("anthropic", server)))[-1].result
    assert (done.finish_reason, done.refusal) == ("content_filter", "This could enable cyber harm.")


async def test_whole_tool_call_in_one_block_of_a_proxy_is_read() -> None:
    block = {"type": "content_block_start", "index": 0, "content_block": anthropic_wire.CALLS[0]}
    events = [anthropic_wire.TOOL_STREAM[0], block, *anthropic_wire.TOOL_STREAM[-2:]]
    async with LoopbackServer(sse_reply(*named_events(events))) as server:
        done = (await stream(provider("anthropic", server)))[-1].result
    assert done.tool_calls == (ToolCall("toolu_a", "weather", {"city": "Köln"}),)


class Silent:
    """A response that says one word and then nothing."""

    status = 200

    def __init__(self) -> None:
        self.waits = asyncio.Event()
        self.was_left = False

    async def chunks(self) -> AsyncGenerator[bytes]:
        try:
            yield "".join(data_events([chat_wire.chunk({"content": "Hi"})])).encode()
            self.waits.set()
            await asyncio.Event().wait()
        finally:
            self.was_left = True


def follow(response: Silent, seconds: float) -> AsyncGenerator[StreamEvent]:
    origin = Origin(provider="p", model="m")
    limits = AnswerLimits(max_seconds=seconds)
    return read_stream(response, ChatStreamReader(origin, None), origin, limits)  # type: ignore[arg-type] -- all of a response that is read


async def test_time_of_a_stream_ends_the_wait_for_its_next_piece_and_not_its_reader() -> None:
    response, heard = Silent(), []

    async def read() -> None:
        async for event in follow(response, 0):
            heard.append(event.text)
            for _ in range(3):  # the time is over while the reader is busy
                await asyncio.sleep(0)

    with pytest.raises(StreamInterrupted, match="within its time") as caught:
        await read()
    assert (heard, response.was_left) == (["Hi"], True)
    assert caught.value.partial is not None
    assert caught.value.partial.content == "Hi"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_time_of_a_stream_that_is_silent_ends_it() -> None:
    response = Silent()
    with pytest.raises(StreamInterrupted, match="within its time"):
        async for _ in follow(response, 0.05):
            pass
    assert (response.waits.is_set(), response.was_left) == (True, True)


async def test_cancelled_reader_of_a_stream_is_cancelled() -> None:
    response = Silent()

    async def read() -> None:
        async for _ in follow(response, 3600):
            pass

    task = asyncio.create_task(read())
    await response.waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert response.was_left


USED = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


@pytest.mark.parametrize(
    "last",
    [
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USED}]},
        {**chat_wire.chunk({}, "stop"), "x_groq": {"id": "req_1", "usage": USED}},
    ],
    ids=["Moonshot", "Groq"],
)
@pytest.mark.parametrize("zero", [False, True])
async def test_usage_is_read_where_a_server_puts_it(last: dict[str, Any], zero: bool) -> None:
    """An empty count that comes behind it takes nothing away."""
    nothing = {"choices": [], "usage": dict.fromkeys(USED, 0)}
    chunks = [chat_wire.chunk({"content": "Hi"}), last, *([nothing] if zero else [])]
    async with LoopbackServer(sse_reply(*data_events(chunks, done=True))) as server:
        usage = (await stream(provider("chat", server)))[-1].result.usage
    assert (usage.input_tokens, usage.output_tokens) == (1000, 100)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("over_capacity", ProviderUnavailable),
        ("rate_limit_exceeded", RateLimited),
        ("content_filter", ContentFiltered),
        ("something new", ProviderUnavailable),
    ],
)
async def test_a_stream_that_groq_stopped_early_is_the_error_it_names(
    code: str, error: type[ProviderError]
) -> None:
    chunks = [
        chat_wire.chunk({"content": "The ans"}),
        {**chat_wire.chunk({}, "stop"), "x_groq": {"id": "req_1", "error": code, "usage": USED}},
    ]
    async with LoopbackServer(sse_reply(*data_events(chunks, done=True))) as server:
        with pytest.raises(error, match=code) as caught:
            await stream(provider("chat", server))
    assert caught.value.usage is not None
    assert caught.value.usage.input_tokens == 1000
