"""A vendor, or whoever answers in its place, costs a call no more than its share, and fails it as one of our errors."""

import gzip
import json
import math
import time
import traceback
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import orjson
import pytest

from llm_client import (
    AnthropicProvider,
    ConfigurationError,
    ExecutionEngine,
    GoogleProvider,
    InvalidResponse,
    LLMClientError,
    Message,
    OpenAIProvider,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
    RequestContext,
    RequestSpec,
    StreamInterrupted,
    create_provider,
)
from llm_client.codec import dump_result
from llm_client.messages import CompletionResult
from llm_client.model_names import canonical_model
from llm_client.providers import event_stream, http_provider
from llm_client.providers.event_stream import read_stream
from llm_client.providers.failures import Origin
from llm_client.providers.http_provider import HttpProvider
from llm_client.providers.openai.chat_stream import ChatStreamReader
from llm_client.providers.transport.aiohttp import AiohttpTransport
from llm_client.providers.transport.httpcore import HttpcoreTransport
from llm_client.providers.transport.port import AnswerLimits, HttpRequest, HttpResponse, read_body
from support.json_places import places, replaced
from support.loopback import LoopbackServer, Reply, sse_reply
from support.threads import Turns, calls_on_the_loop
from support.wire import anthropic, data_events, google, openai_chat, openai_responses

ORIGIN = Origin(provider="v", model="m")
SPEC = RequestSpec(messages=[Message.user("Hi")])
SMALL = AnswerLimits(max_bytes=100_000, max_stream_bytes=100_000)
BRIEF = AnswerLimits(max_seconds=0.2)
HINT = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"

pytestmark = pytest.mark.timeout(60)


async def ask(provider: HttpProvider, *, streamed: bool) -> CompletionResult:
    """Return an answer, whole or streamed; every event's text is one."""
    if not streamed:
        return await provider.complete(SPEC, RequestContext())
    result = None
    async for event in provider.stream(SPEC, RequestContext()):
        assert event.text is None or isinstance(event.text, str)
        result = event.result
    assert result is not None
    return result


async def ask_at(
    server: LoopbackServer, transport: Any, *, streamed: bool, limits: AnswerLimits = SMALL
) -> CompletionResult:
    sending = transport()
    provider = OpenAIProvider("m", api_key="k", base_url=server.url, transport=sending, limits=limits)
    try:
        return await ask(provider, streamed=streamed)
    finally:
        await sending.aclose()


both = pytest.mark.parametrize("transport", [HttpcoreTransport, AiohttpTransport])
either_way = pytest.mark.parametrize("streamed", [False, True])


@both
@either_way
@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nx-never-ends: ", HINT * 50])
async def test_headers_that_do_not_end_are_given_up(transport: Any, streamed: bool, head: bytes) -> None:
    async with LoopbackServer(Reply(head=False, pieces=(head, "hang"))) as server:
        with pytest.raises(ProviderTimeout, match="within its time"):
            await ask_at(server, transport, streamed=streamed, limits=BRIEF)


@both
@either_way
async def test_an_error_that_does_not_end_is_what_its_status_says(
    transport: Any, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_provider, "_ERROR_SECONDS", 0.2)
    async with LoopbackServer(Reply(status=503, pieces=(b"{", "hang"))) as server:
        with pytest.raises(ProviderUnavailable, match="answered 503"):
            await ask_at(server, transport, streamed=streamed)


@both
@either_way
async def test_what_follows_a_compressed_answer_fills_no_memory(transport: Any, streamed: bool) -> None:
    """It decompresses to nothing, so that it counts as nothing."""
    kind = "text/event-stream" if streamed else "application/json"
    pieces = (gzip.compress(b": x\n" if streamed else b"{"), *[b"x" * 65536] * 320)
    reply = Reply(pieces=pieces, headers={"content-type": kind, "content-encoding": "gzip"})
    async with LoopbackServer(reply) as server:
        tracemalloc.start()
        try:
            with pytest.raises((InvalidResponse, StreamInterrupted), match="goes on behind its end"):
                await ask_at(server, transport, streamed=streamed)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 10 * 1024 * 1024


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after-ms": "inf"},
        {"retry-after-ms": "nan"},
        {"retry-after-ms": "1e999"},
        {"retry-after": "9" * 5_000},
        {"retry-after": "Fri, 31 Dec 99999999999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:59:59 GMT"},
        {"retry-after": "Fri, 31 Dec 1999 23:59:59 +99999999999", "date": "Fri, 31 Dec 1999 23:59:59 GMT"},
        {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:59:59"},
    ],
)
async def test_a_wait_without_an_end_is_none(headers: dict[str, str]) -> None:
    async with LoopbackServer(Reply(status=429, headers=headers)) as server:
        with pytest.raises(RateLimited) as limited:
            await ask_at(server, HttpcoreTransport, streamed=False)
    asked = limited.value.retry_after
    assert asked is None or math.isfinite(asked)


async def test_a_wait_in_an_errors_body_has_an_end_too() -> None:
    body = json.dumps({"error": {"code": 429, "details": [{"retryDelay": "9" * 5_000 + "s"}]}}).encode()
    async with LoopbackServer(Reply(status=429, pieces=(body,))) as server:
        with pytest.raises(RateLimited) as limited:
            await ask_at(server, HttpcoreTransport, streamed=False)
    asked = limited.value.retry_after
    assert asked is not None
    assert math.isfinite(asked)


@pytest.mark.parametrize("field", ["message", "detail", "msg"])
async def test_an_error_as_deep_as_json_goes_is_one_error(field: str) -> None:
    body = b'{"error": {"%b": %b1%b}}' % (field.encode(), b"[" * 1_000, b"]" * 1_000)
    async with LoopbackServer(Reply(status=400, pieces=(body,))) as server:
        with pytest.raises(ProviderError, match="answered 400"):
            await ask_at(server, HttpcoreTransport, streamed=False)


@pytest.mark.timeout(40)  # the words of a message are searched; in all of this one that took minutes
async def test_the_words_of_a_long_error_hold_nobody_up() -> None:
    event = {"error": {"message": "model " * 2_000_000, "code": "c" * 100_000}, "request_id": "r" * 100_000}
    async with LoopbackServer(sse_reply(f"data: {json.dumps(event)}\n\n")) as server:
        with pytest.raises(ProviderError) as failed:
            await ask_at(server, HttpcoreTransport, streamed=True, limits=AnswerLimits())
    assert len(str(failed.value)) < 3_000
    assert len(failed.value.vendor_code or "") <= 200
    assert len(failed.value.request_id or "") <= 200


@pytest.mark.timeout(
    15
)  # the end of the title was searched for in every division of the blanks, for half a minute
async def test_the_title_of_an_errors_page_holds_nobody_up() -> None:
    pages = [f"<title>{' ' * 7_900}x", "<title>" * 4_000, f"<title> Bad\ngateway {' ' * 500}</title>"]
    replies = [
        Reply(status=502, pieces=(page.encode(),), headers={"content-type": "text/html"}) for page in pages
    ]
    async with LoopbackServer(*replies) as server:
        said = []
        for _ in pages:
            with pytest.raises(ProviderError) as failed:
                await ask_at(server, HttpcoreTransport, streamed=False)
            said.append(str(failed.value))
    assert all("an HTML page instead of JSON" in text for text in said)
    assert said[2].endswith("Bad\ngateway")


# -- answers of very much that is very small ---------------------------------------------------------------------------

FULL = AnswerLimits()
COUNTLESS = b'{"choices": [%b0]}' % (b"[]," * 1_000_000)


def chat(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"tool_calls": list(calls)}, "index": 0, **fields}]}


def piece(text: str, **call: Any) -> dict[str, Any]:
    return {"index": 0, **call, "function": {"name": "f", "arguments": text}}


def streamed_events(*payloads: dict[str, Any]) -> Reply:
    return sse_reply("".join(f"data: {json.dumps(payload)}\n\n" for payload in payloads), "data: [DONE]\n\n")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(pieces=(COUNTLESS,), headers={"content-type": "application/json"}),
        sse_reply(b"data: ", COUNTLESS, b"\n\n"),
    ],
)
async def test_an_answer_of_countless_values_is_not_read(reply: Reply) -> None:
    async with LoopbackServer(reply) as server:
        with pytest.raises(InvalidResponse, match="more than 500000 parts"):
            await ask_at(server, HttpcoreTransport, streamed=True, limits=FULL)


async def test_nor_are_arguments_of_countless_values() -> None:
    async with LoopbackServer(
        streamed_events(
            chat(piece('{"a": [', id="a")),
            *[chat({"index": 0, "function": {"arguments": "[]," * 100_000}})] * 3,
            chat({"index": 0, "function": {"arguments": "0]}"}}),
            chat(finish_reason="tool_calls"),
        )
    ) as server:
        result = await ask_at(server, HttpcoreTransport, streamed=True, limits=FULL)
    (call,) = result.tool_calls
    assert call.malformed is not None


@pytest.mark.timeout(40)  # for minutes each call was compared with all before it
async def test_countless_calls_of_one_id_are_refused_in_no_time() -> None:
    calls = [{"id": "a", "function": {"name": "f", "arguments": ""}}] * 60_000
    answer = {"choices": [{"message": {"content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}]}
    reply = Reply(pieces=(json.dumps(answer).encode(),), headers={"content-type": "application/json"})
    async with LoopbackServer(reply) as server:
        with pytest.raises(InvalidResponse, match="more than 5000 tool calls"):
            await ask_at(server, HttpcoreTransport, streamed=False, limits=FULL)


@pytest.mark.timeout(20)
async def test_calls_that_never_get_a_name_are_counted_too() -> None:
    calls = [chat({"index": number, "id": f"c{number}"}) for number in range(1_001)]
    events = "".join(f"data: {json.dumps(call)}\n\n" for call in calls)
    async with LoopbackServer(sse_reply(events, "hang")) as server:
        with pytest.raises(InvalidResponse, match="more than 1000 tool calls"):
            await ask_at(server, HttpcoreTransport, streamed=True, limits=FULL)


@pytest.mark.timeout(40)  # for minutes all of it was read again for each piece
async def test_a_call_that_is_named_with_each_of_its_pieces_is_not_read_again_for_each() -> None:
    pieces = [
        chat(piece('{"a": "' + "x" * 2_000_000, id="a")),
        *[chat(piece("x"))] * 2_000,
        chat(piece('"}')),
    ]
    async with LoopbackServer(streamed_events(*pieces, chat(finish_reason="tool_calls"))) as server:
        result = await ask_at(server, HttpcoreTransport, streamed=True, limits=FULL)
    (call,) = result.tool_calls
    assert call.arguments == {"a": "x" * 2_002_000}


LONG_TEXT = "x" * 12_000_000
MANY = 25_000


def thinking(text: str) -> dict[str, Any]:
    delta = {"type": "signature_delta", "signature": text}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


@pytest.mark.timeout(60)  # for minutes all of it was copied for each piece
@pytest.mark.parametrize(
    ("kind", "first", "then", "last"),
    [
        (
            OpenAIProvider,
            {"choices": [{"delta": {"reasoning_content": LONG_TEXT}, "index": 0}]},
            {"choices": [{"delta": {"reasoning_content": "x"}, "index": 0}]},
            chat(finish_reason="stop"),
        ),
        (
            OpenAIProvider,
            {"choices": [{"delta": {"reasoning_details": [{"index": 0, "text": LONG_TEXT}]}, "index": 0}]},
            {"choices": [{"delta": {"reasoning_details": [{"index": 0, "text": "x"}]}, "index": 0}]},
            chat(finish_reason="stop"),
        ),
        (
            AnthropicProvider,
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "thinking", "signature": LONG_TEXT, "thinking": ""},
            },
            thinking("x"),
            {"type": "content_block_stop", "index": 0},
        ),
    ],
    ids=["reasoning", "details", "signature"],
)
async def test_a_long_text_is_not_copied_for_each_of_its_pieces(
    kind: Any, first: dict[str, Any], then: dict[str, Any], last: dict[str, Any]
) -> None:
    events = [first, *[then] * MANY, last]
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    ends = ("data: [DONE]\n\n", 'data: {"type": "message_stop"}\n\n')
    options: dict[str, Any] = {"api": "chat"} if kind is OpenAIProvider else {}
    async with LoopbackServer(sse_reply(text, *ends)) as server:
        provider = kind("m", api_key="k", base_url=server.url, limits=FULL, **options)
        result = await ask(provider, streamed=True)
        await provider.aclose()
    assert len(json.dumps(dump_result(result))) > len(LONG_TEXT) + MANY


@pytest.mark.timeout(60)  # each was looked up and priced on its own
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_of_countless_iterations_is_refused(streamed: bool) -> None:
    iterations = [{"type": "advisor_message", "model": f"m{number}"} for number in range(100_000)]
    usage = {"input_tokens": 5, "output_tokens": 1, "iterations": iterations}
    whole = {"content": [], "usage": usage, "stop_reason": "end_turn"}
    reply = Reply(pieces=(json.dumps(whole).encode(),), headers={"content-type": "application/json"})
    if streamed:
        reply = sse_reply(f"data: {json.dumps({'type': 'message_delta', 'usage': usage})}\n\n")
    async with LoopbackServer(reply) as server:
        provider = AnthropicProvider("m", api_key="k", base_url=server.url)
        with pytest.raises(InvalidResponse, match="more than 100 iterations"):
            await ask(provider, streamed=streamed)
        await provider.aclose()


@pytest.mark.timeout(30)  # it was compared with the names of all models, after a walk through its parts
@pytest.mark.parametrize("name", ["é" * 8_000_000, "models/" * 500_000], ids=["letters", "parts"])
async def test_a_models_name_without_an_end_is_none(name: str) -> None:
    answer = {
        "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}],
        "model": name,
        "id": "i" * 100_000,
        "usage": {"prompt_tokens": 1_000, "completion_tokens": 0},
    }
    body = json.dumps(answer, ensure_ascii=False).encode()
    reply = Reply(pieces=(body,), headers={"content-type": "application/json"})
    async with LoopbackServer(reply) as server:
        provider = OpenAIProvider("gpt-5", api="chat", api_key="k", base_url=server.url)
        result = await ExecutionEngine(provider).complete(SPEC)
        await provider.aclose()
    assert (result.model, result.request_id) == ("gpt-5", None)
    assert result.usage.cost is not None


@either_way
async def test_a_tools_name_without_an_end_is_cut(streamed: bool) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "tool" * 100_000, "arguments": "{}"}}
    whole = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    reply = Reply(pieces=(json.dumps(whole).encode(),), headers={"content-type": "application/json"})
    if streamed:
        reply = streamed_events(chat(call), chat(finish_reason="tool_calls"))
    async with LoopbackServer(reply) as server:
        result = await ask_at(server, HttpcoreTransport, streamed=streamed, limits=FULL)
    (made,) = result.tool_calls
    assert (made.name, made.arguments) == ("tool" * 64, {})


@pytest.mark.timeout(20)
def test_a_name_of_many_prefixes_is_read_once() -> None:
    assert canonical_model("models/" * 500_000 + "gpt-5") == "gpt-5"


@pytest.mark.timeout(60)  # all that had been said was read again with each chunk
async def test_what_was_searched_for_and_read_is_not_counted_again_with_each_chunk() -> None:
    details = [{"modality": "AUDIO", "tokenCount": 1}] * 100_000
    queries = {"webSearchQueries": [f"q{number}" for number in range(100_000)]}
    first = {
        "usageMetadata": {"promptTokenCount": 9, "promptTokensDetails": details},
        "candidates": [{"groundingMetadata": queries}],
    }
    chunks = [first, *[{"usageMetadata": {"promptTokenCount": 9}}] * 3_000]
    last = {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 9}}
    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in (*chunks, last))
    async with LoopbackServer(sse_reply(text)) as server:
        provider = GoogleProvider("gemini-3-pro", api_key="k", base_url=server.url)
        result = await ask(provider, streamed=True)
        await provider.aclose()
    assert (result.usage.web_searches, result.usage.input_tokens) == (100_000, 9)


@pytest.mark.timeout(40)  # the rest was copied for each of them
async def test_arguments_that_are_said_countless_times_are_none() -> None:
    pieces = [chat(piece("{}" * 240_000, id="a")), chat(finish_reason="tool_calls")]
    async with LoopbackServer(streamed_events(*pieces)) as server:
        result = await ask_at(server, HttpcoreTransport, streamed=True, limits=FULL)
    assert result.tool_calls[0].malformed == "{}" * 240_000


# -- a server that repeats the key --------------------------------------------------------------------------------------

ODD_KEY = "q7" * 20
"""Of no known form: only who has sent it knows that it is one."""
OK = "HTTP/1.1 200 OK\r\n"


def in_body(status: str, **error: Any) -> str:
    body = json.dumps({"error": {"message": "no", **error}, "request_id": ODD_KEY})
    return (
        f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    )


@both
@either_way
@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 999999 {ODD_KEY}\r\n\r\n",
        f"{OK}{ODD_KEY}\r\n\r\n",
        f"{OK}content-length: {ODD_KEY}\r\n\r\n",
        f"{OK}content-encoding: {ODD_KEY}\r\n\r\n{{}}",
        f"{OK}transfer-encoding: chunked\r\n\r\n{ODD_KEY}\r\n",
        f"HTTP/1.1 400 X\r\nx-request-id: {ODD_KEY}\r\ncontent-length: 2\r\n\r\n{{}}",
        in_body("400", code=ODD_KEY),
        in_body("429", type=ODD_KEY, message=ODD_KEY),
        in_body("200", code=ODD_KEY),
    ],
)
async def test_a_key_that_a_server_repeats_is_in_no_part_of_an_error(
    transport: Any, streamed: bool, answer: str
) -> None:
    sending = transport()
    async with LoopbackServer(Reply(head=False, pieces=(answer.encode(),))) as server:
        provider = OpenAIProvider("m", api_key=ODD_KEY, base_url=server.url, transport=sending)
        with pytest.raises(ProviderError) as failed:
            await ask(provider, streamed=streamed)
    await sending.aclose()
    told = "".join(traceback.format_exception(failed.value)) + repr(vars(failed.value))
    assert ODD_KEY not in told


GATEWAY_KEY = "zebra41-zebra42"
WAYS: list[dict[str, Any]] = [
    {"api_key": GATEWAY_KEY},
    {"headers": {"Authorization": f"Bearer {GATEWAY_KEY}"}},
    {"headers": {"authorization": f'Token token="{GATEWAY_KEY}"'}},
    {"headers": {"Authorization": "Basic " + b64encode(f"ann:{GATEWAY_KEY}".encode()).decode()}},
    {"api_key": "k", "headers": {"Cookie": f"of=all; session={GATEWAY_KEY}; place=Bonn"}},
    {"headers": {"x-goog-api-key": GATEWAY_KEY}},
    {"api_key": "k", "base_url": f"/{GATEWAY_KEY}/v1"},
    {"api_key": "k", "base_url": "/zebra41%2Dzebra42/v1"},
]


@pytest.mark.parametrize("given", WAYS, ids=str)
@pytest.mark.parametrize("status", ["401", "200"])
async def test_nor_is_one_that_was_given_with_a_word_before_it_or_in_an_address(
    given: dict[str, Any], status: str
) -> None:
    answer = in_body(status, message=f"Incorrect API key provided: {GATEWAY_KEY}.", code=GATEWAY_KEY)
    async with LoopbackServer(Reply(head=False, pieces=(answer.encode(),))) as server:
        url = server.url + given.get("base_url", "/v1")
        provider = OpenAIProvider("m", **{**given, "base_url": url})
        with pytest.raises(ProviderError) as failed:
            await ask(provider, streamed=False)
        await provider.aclose()
    told = "".join(traceback.format_exception(failed.value)) + repr(vars(failed.value)) + repr(provider)
    assert GATEWAY_KEY not in told
    assert "<REDACTED:api_key>" in str(failed.value)


async def test_an_address_with_a_key_in_its_path_is_not_asked_unencrypted_and_not_told() -> None:
    provider = create_provider("ollama:m", base_url=f"http://models.example/{GATEWAY_KEY}/v1")
    with pytest.raises(ConfigurationError, match="not sent unencrypted") as refused:
        await ask(provider, streamed=False)
    assert GATEWAY_KEY not in str(refused.value) + repr(provider)


# -- values of any type at any place ---------------------------------------------------------------------------------

ODD: list[Any] = [None, True, 0, -1, 2**63, 1e300, 1.5, "", "\0", [], ["x"], {}, {"a": 1}, [[{}]]]


class _Told:
    """A transport whose next answer is told to it."""

    def __init__(self) -> None:
        self.body = b""
        self.kind = ""

    async def send(self, request: HttpRequest) -> HttpResponse:
        return _Answer(self.body, self.kind)

    async def aclose(self) -> None:
        pass


class _Answer:
    status = 200

    def __init__(self, body: bytes, kind: str) -> None:
        self.headers = {"content-type": kind}
        self._body = body

    async def chunks(self) -> Any:
        yield self._body

    async def aclose(self) -> None:
        pass


class _InPieces:
    """A response whose pieces have all come when they are asked for."""

    status = 200

    def __init__(self, kind: str, pieces: Iterable[bytes], seconds: float = 0.0) -> None:
        self.headers = {"content-type": kind}
        self._pieces = pieces
        self._seconds = seconds

    async def chunks(self) -> AsyncGenerator[bytes]:
        for piece in self._pieces:
            begun = time.perf_counter()
            while time.perf_counter() - begun < self._seconds:  # as taking it out of what has come does
                pass
            yield piece

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_in_countless_pieces_lets_others_go_on(streamed: bool) -> None:
    """Pieces that hold no event gave nobody a turn: 64 KB of one byte each took six hundred milliseconds at a stretch."""
    response = _InPieces("text/event-stream", [b":"] * 300, seconds=0.001)
    with Turns() as turns:
        if streamed:
            reader = ChatStreamReader(ORIGIN, None)
            with pytest.raises(StreamInterrupted):
                async for _ in read_stream(response, reader, ORIGIN):
                    pass
        else:
            assert await read_body(response) == b":" * 300
    assert turns.count >= 5


async def test_a_body_in_countless_pieces_takes_the_room_that_it_has() -> None:
    """Each piece of two bytes was kept as an object of thirty-five."""
    response = _InPieces("application/json", (b"%02d" % (number % 97) for number in range(500_000)))
    tracemalloc.start()
    try:
        assert len(await read_body(response)) == 1_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


async def test_what_came_of_a_long_answer_that_was_cut_is_put_together_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = calls_on_the_loop(monkeypatch, event_stream, "well_formed")
    for times in (1, 3_000):
        said = b"data: " + json.dumps(piece_of_text("long words ")).encode() + b"\n\n"
        reader = ChatStreamReader(ORIGIN, None)
        response = _InPieces("text/event-stream", [said] * times)
        with pytest.raises(StreamInterrupted) as cut:
            async for _ in read_stream(response, reader, ORIGIN):
                pass
        assert cut.value.partial is not None
        assert cut.value.partial.content == "long words " * times
    assert made == [True, False]


def piece_of_text(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def is_well_formed(result: CompletionResult) -> bool:
    """Whether an answer's fields are what they say they are, and the journal can hold them."""
    texts = [result.content, result.model, result.provider, result.finish_reason]
    texts += [text for call in result.tool_calls for text in (call.id, call.name)]
    texts += [part.text for part in result.reasoning]
    perhaps = [result.request_id, result.refusal]
    perhaps += [text for call in result.tool_calls for text in (call.signature, call.malformed)]
    orjson.dumps(dump_result(result))
    return (
        all(isinstance(text, str) for text in texts)
        and all(text is None or isinstance(text, str) for text in perhaps)
        and all(isinstance(call.arguments, dict) for call in result.tool_calls)
    )


def providers(transport: _Told) -> dict[str, tuple[HttpProvider, Any, bool]]:
    return {
        "anthropic": (AnthropicProvider("m", api_key="k", transport=transport), anthropic, False),
        "google": (GoogleProvider("m", api_key="k", transport=transport), google, False),
        "responses": (OpenAIProvider("m", api_key="k", transport=transport), openai_responses, False),
        "chat": (create_provider("deepseek:m", api_key="k", transport=transport), openai_chat, True),
    }


@pytest.mark.parametrize("vendor", ["anthropic", "google", "responses", "chat"])
@pytest.mark.parametrize("answer", ["TEXT", "TOOL_CALLS", "TEXT_STREAM", "TOOL_STREAM"])
async def test_an_answer_with_anything_anywhere_is_well_formed_or_refused(vendor: str, answer: str) -> None:
    transport = _Told()
    provider, wire, done = providers(transport)[vendor]
    streamed = answer.endswith("STREAM")
    plain = getattr(wire, answer)
    refused = told = 0
    for place in places(plain):
        for odd in ODD:
            changed = replaced(plain, place, odd)
            transport.kind = "text/event-stream" if streamed else "application/json"
            if not streamed:
                transport.body = json.dumps(changed).encode()
            else:
                transport.body = "".join(data_events(changed, done=done)).encode()
            try:
                result = await ask(provider, streamed=streamed)
            except LLMClientError as error:
                refused += 1
                told_so_far = error.partial if isinstance(error, StreamInterrupted) else None
            else:
                told += 1
                told_so_far = result
            if told_so_far is not None:
                assert is_well_formed(told_so_far), (place, odd, told_so_far)
    assert refused
    assert told
