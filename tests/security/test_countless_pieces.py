"""What is harmless once is sent a hundred thousand times, or further inside itself than anybody goes: it is refused, or costs its share."""

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest

from agent_runtime import ExecutionRequest, OperatorContext
from agent_runtime.storage.memory import MemoryStorage
from llm_client import (
    Agent,
    AnthropicProvider,
    ExecutionEngine,
    GoogleProvider,
    InvalidResponse,
    Message,
    OpenAIProvider,
    RequestContext,
    RequestSpec,
    StreamEvent,
)
from llm_client.agent.answer_text import json_of
from llm_client.json_text import (
    MAX_DEPTH,
    MAX_DIMENSIONS,
    MAX_LISTS,
    MAX_PARTS,
    MAX_SEARCHED,
    TooDeep,
    loads,
    whole_text,
)
from llm_client.messages import CompletionResult
from llm_client.providers.google.grounding import MAX_STATED
from llm_client.providers.kept import MAX_KEPT
from llm_client.providers.response import MAX_BLOCKS, MAX_LOGPROBS
from llm_client.providers.tool_calls import make_tool_call
from support.kernels import BOUND, QUICK, kernel
from support.loopback import LoopbackServer, Reply, sse_reply

pytestmark = pytest.mark.timeout(60)

SPEC = RequestSpec(messages=[Message.user("Hi")])
LONG_NUMBER = "0.12345678901234567890123"
MANY_NUMBERS = ",".join([LONG_NUMBER] * 60_000)
HALF = r"\ud800"
DEEP = "[" * 500 + "]" * 500


def whole(body: str) -> Reply:
    return Reply(pieces=(body.encode(),), headers={"content-type": "application/json"})


def events(*payloads: dict[str, Any]) -> Reply:
    return sse_reply("".join(f"data: {json.dumps(payload)}\n\n" for payload in payloads), "data: [DONE]\n\n")


def chat(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"tool_calls": list(calls)}, "index": 0, **fields}]}


def piece(number: int, text: str, **call: Any) -> dict[str, Any]:
    return {"index": number, **call, "function": {"name": "f", "arguments": text}}


async def asked(kind: Any, reply: Reply, *, streamed: bool = False, **options: Any) -> CompletionResult:
    """Return what a provider makes of a server's answer."""
    async with LoopbackServer(reply) as server:
        provider = kind("m", api_key="k", base_url=server.url, **options)
        try:
            if not streamed:
                return await provider.complete(SPEC, RequestContext())
            result = None
            async for event in provider.stream(SPEC, RequestContext()):
                result = event.result
            assert result is not None
            return result
        finally:
            await provider.aclose()


# -- many calls, each of as much as one may have --------------------------------------------------------------------------


async def test_the_arguments_of_all_calls_of_an_answer_have_as_many_parts_as_one_text() -> None:
    """Sixty such calls were read at once at the end of their stream, in eight seconds."""
    half = '{"a": [' + ",".join("1" * (MAX_PARTS // 2)) + "]}"
    calls = [chat(piece(number, half, id=f"c{number}")) for number in range(3)]
    result = await asked(OpenAIProvider, events(*calls, chat(finish_reason="tool_calls")), streamed=True)
    assert [call.malformed is None for call in result.tool_calls] == [True, False, False]
    assert [call.id for call in result.tool_calls] == ["c0", "c1", "c2"]


@pytest.mark.timeout(30)  # all of it was read for each of the pieces, for minutes
async def test_arguments_of_many_parts_are_not_read_again_for_each_piece_of_an_event() -> None:
    full = '{"a": [' + ",".join(["[]"] * (MAX_PARTS // 2 - 10)) + "]}"
    more = chat(*[{"index": 0, "function": {"arguments": " "}}] * 800)
    result = await asked(
        OpenAIProvider,
        events(chat(piece(0, full, id="c")), more, chat(finish_reason="tool_calls")),
        streamed=True,
    )
    assert len(result.tool_calls) == 1


# -- many blocks ----------------------------------------------------------------------------------------------------------

TOO_MANY = MAX_BLOCKS + 1
OF_GOOGLE = {"candidates": [{"content": {"parts": [{"text": "x"}] * TOO_MANY}, "finishReason": "STOP"}]}
OF_CHAT = {"choices": [{"message": {"content": [{"type": "text", "text": "x"}] * TOO_MANY}}]}
OF_RESPONSES = {"object": "response", "status": "completed", "output": [{"type": "reasoning"}] * TOO_MANY}
OF_ANTHROPIC = {"content": [{"type": "text", "text": "x"}] * TOO_MANY, "stop_reason": "end_turn"}


@pytest.mark.parametrize(
    ("kind", "options", "answer"),
    [
        (GoogleProvider, {}, OF_GOOGLE),
        (OpenAIProvider, {"api": "chat"}, OF_CHAT),
        (OpenAIProvider, {"api": "responses"}, OF_RESPONSES),
        (AnthropicProvider, {}, OF_ANTHROPIC),
    ],
    ids=["google", "chat", "responses", "anthropic"],
)
async def test_an_answer_of_countless_blocks_is_refused(
    kind: Any, options: dict[str, Any], answer: dict[str, Any]
) -> None:
    """A quarter of a million of them were made into parts, in two seconds."""
    with pytest.raises(InvalidResponse, match=f"more than {MAX_BLOCKS}"):
        await asked(kind, whole(json.dumps(answer)), **options)


async def test_so_is_an_event_of_countless_pieces_while_a_stream_may_have_more() -> None:
    delta = {"content": [{"type": "text", "text": "x"}] * (MAX_BLOCKS - 1)}
    event = {"choices": [{"delta": delta, "index": 0}]}
    result = await asked(
        OpenAIProvider, events(event, event, chat(finish_reason="stop")), streamed=True, api="chat"
    )
    assert len(result.content) == 2 * (MAX_BLOCKS - 1)
    delta["content"] *= 2
    with pytest.raises(InvalidResponse, match="pieces at once"):
        await asked(OpenAIProvider, events(event), streamed=True, api="chat")


@pytest.mark.timeout(40)  # all that had been said was put together for each of them, for minutes
async def test_a_message_that_is_said_to_change_countless_times_is_not_read_again_each_time() -> None:
    begin = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    text = {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "x" * 100},
    }
    stream = "".join(
        f"data: {json.dumps(event)}\n\n"
        for event in (begin, *[text] * 40_000, *[{"type": "message_delta"}] * 100_000)
    )
    result = await asked(
        AnthropicProvider, sse_reply(stream, 'data: {"type": "message_stop"}\n\n'), streamed=True
    )
    assert len(result.content) == 4_000_000


async def test_what_is_kept_of_a_stream_is_counted_over_all_its_events() -> None:
    """Of 64 MiB of empty lists, in events that are each small enough, came two gigabytes."""
    detail = {"type": "x", "deep": [[]] * (MAX_LISTS - 100)}
    event = {"choices": [{"delta": {"reasoning_details": [detail]}, "index": 0}]}
    one = await asked(OpenAIProvider, events(event, chat(finish_reason="stop")), streamed=True, api="chat")
    assert len(one.reasoning[0].data["reasoning_details"][0]["deep"]) == len(detail["deep"])
    with pytest.raises(InvalidResponse, match=f"more than {MAX_KEPT} values"):
        await asked(OpenAIProvider, events(*[event] * 6), streamed=True, api="chat")


# -- what an answer rests on, and how likely it was -----------------------------------------------------------------------


@pytest.mark.timeout(40)  # all of them were gone through at once, for minutes
@pytest.mark.parametrize("more", ["chunks", "numbers"])
async def test_what_is_said_of_countless_sources_is_left_out(more: str) -> None:
    source = {"web": {"uri": "https://example.com/a"}}
    sources: dict[str, Any] = {"groundingChunks": [source]}
    none: dict[str, Any] = {"groundingChunks": [{}] * MAX_STATED}
    if more == "numbers":
        none = {"groundingSupports": [{"groundingChunkIndices": [7] * MAX_STATED}]}
    end = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}

    async def cited(*stated: dict[str, Any]) -> list[str | None]:
        told = [{"candidates": [{"groundingMetadata": one}]} for one in stated]
        result = await asked(GoogleProvider, events(*told, end), streamed=True)
        return [citation.url for citation in result.citations]

    assert await cited(sources, *[none] * 30) == ["https://example.com/a"]
    assert await cited(none, sources) == []


@pytest.mark.parametrize("kind", ["chat", "google"])
async def test_of_countless_tokens_it_is_not_kept_how_likely_they_were(kind: str) -> None:
    half = MAX_LOGPROBS // 2 + 10
    if kind == "chat":
        told = {"content": [{"token": "x", "logprob": -1}] * half}
        event: dict[str, Any] = {"choices": [{"delta": {"content": "x"}, "index": 0, "logprobs": told}]}
        end = chat(finish_reason="stop")
    else:
        likely = {"chosenCandidates": [{"token": "x", "logProbability": -1}] * half}
        event = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "logprobsResult": likely}]}
        end = {"candidates": [{"finishReason": "STOP"}]}
    provider = OpenAIProvider if kind == "chat" else GoogleProvider
    options: dict[str, Any] = {"api": "chat"} if kind == "chat" else {}
    result = await asked(provider, events(event, event, end), streamed=True, **options)
    assert (len(result.logprobs), result.content) == (MAX_LOGPROBS, "xx")


# -- vectors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OpenAIProvider, GoogleProvider])
async def test_vectors_of_countless_numbers_are_not_read(kind: Any) -> None:
    """Sixty megabytes of zeros for one text took fourteen seconds and three gigabytes."""
    numbers = ",".join("0" * (MAX_PARTS + MAX_DIMENSIONS + 2))
    key, row = ("embeddings", "values") if kind is GoogleProvider else ("data", "embedding")
    async with LoopbackServer(whole(f'{{"{key}": [{{"index": 0, "{row}": [{numbers}]}}]}}')) as server:
        provider = kind("m", api_key="k", base_url=server.url)
        with pytest.raises(InvalidResponse, match="parts"):
            await ExecutionEngine(provider, retry=None).embed(["x"])
        await provider.aclose()


async def test_a_large_batch_of_vectors_is_read() -> None:
    row = ",".join(["0.5"] * 3_072)
    rows = ",".join(f'{{"index": {number}, "embedding": [{row}]}}' for number in range(400))
    async with LoopbackServer(whole(f'{{"data": [{rows}]}}')) as server:
        provider = OpenAIProvider("m", api_key="k", base_url=server.url)
        found = await ExecutionEngine(provider).embed(["x"] * 400)
        await provider.aclose()
    assert (len(found), {len(vector) for vector in found}, found[399][3_071]) == (400, {3_072}, 0.5)


# -- halves of characters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [MANY_NUMBERS, ",".join(["9" * 4_000] * 300)], ids=["long", "whole"])
async def test_half_a_character_does_not_have_countless_numbers_read_digit_by_digit(numbers: str) -> None:
    """It takes ten times as long: half a million of them beside one half held everybody up for five seconds."""
    answer = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    body = json.dumps(answer)[:-1] + f', "half": "{HALF}", "numbers": [{numbers}]}}'
    with pytest.raises(InvalidResponse, match="no JSON"):
        await asked(OpenAIProvider, whole(body), api="chat")
    few = json.dumps(answer)[:-1] + f', "half": "{HALF}", "numbers": [{LONG_NUMBER}]}}'
    assert (await asked(OpenAIProvider, whole(few), api="chat")).content == "x"
    assert make_tool_call("c", "f", f'{{"half": "{HALF}"}}').arguments == {"half": "\ufffd"}


@pytest.mark.timeout(20)  # each was put right by itself, for a minute
def test_countless_halves_are_put_right_at_once() -> None:
    assert whole_text("a\ud800" * 20_000_000) == "a?" * 20_000_000
    assert whole_text("a\ud800b\udc00\ud83d\ude00") == "a\ufffdb\ufffd\U0001f600"


@pytest.mark.timeout(20)  # it was cut up at each of them
def test_quotes_without_end_behind_half_a_character_are_no_json() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads('{"a": "' + '"' * 20_000_000 + HALF)


@pytest.mark.parametrize("answer", [f'Here: {{"n": [{"1," * MAX_SEARCHED}1]}}', "x " * MAX_SEARCHED])
def test_an_answer_longer_than_anybody_looks_through_has_no_json_in_it(answer: str) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        list(json_of(answer))
    assert list(json_of(f'Here: {{"n": {LONG_NUMBER}}} and so on')) == [{"n": loads(LONG_NUMBER)}]


# -- values far inside each other -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("deep", [DEEP, "[" * 1_000 + "]" * 1_000])
async def test_arguments_deeper_than_anybody_goes_are_malformed(streamed: bool, deep: str) -> None:
    """`RecursionError` came out of the call, as it was."""
    text = f'{{"a": {deep}}}'
    call = piece(0, text, id="c")
    message = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    reply = events(chat(call), chat(finish_reason="tool_calls")) if streamed else whole(json.dumps(message))
    result = await asked(OpenAIProvider, reply, streamed=streamed, api="chat")
    assert result.tool_calls[0].malformed == text
    repeated = make_tool_call("c", "f", f"{text} {text}")
    assert repeated.malformed is not None


async def test_an_answer_deeper_than_anybody_goes_is_not_read() -> None:
    answer = f'{{"choices": [{{"message": {{"content": "x", "reasoning_details": {DEEP}}}}}]}}'
    with pytest.raises(InvalidResponse, match=f"deeper than {MAX_DEPTH}"):
        await asked(OpenAIProvider, whole(answer), api="chat")


def test_nor_is_json_in_an_answer() -> None:
    with pytest.raises(TooDeep):
        list(json_of(DEEP))
    with pytest.raises(orjson.JSONDecodeError):
        list(json_of(f'Here: {{"a": {DEEP}}}'))
    assert list(json_of(f'Here: {{"a": {DEEP}}} or {{"b": 1}}')) == [{"b": 1}]


# -- what a reader was told -----------------------------------------------------------------------------------------------


class Reader:
    """Reads an agent's stream, and dies once at its end."""

    def __init__(self) -> None:
        self.agent: Agent | None = None
        self.told: list[list[StreamEvent]] = []

    async def read(self, context: OperatorContext, _: Any) -> str:
        """Read it all."""
        assert self.agent is not None
        self.told.append([event async for event in self.agent.stream("Hi")])
        await context.sleep(0.01)
        return "read"


READER = Reader()


async def read_all(context: OperatorContext, given: Any) -> str:
    """Let the reader of the test read."""
    return await READER.read(context, given)


@pytest.mark.timeout(BOUND * 4)
@pytest.mark.parametrize("kind", ["arguments", "usage"])
async def test_a_stream_of_countless_pieces_is_recorded_and_told_again_as_it_came(kind: str) -> None:
    """Each was written by itself, which took four seconds, and the answer that was paid for was too long for the journal."""
    if kind == "arguments":
        pieces = [chat({"index": 0, "function": {"arguments": "x"}})] * 60_000
        pieces = [
            chat(piece(0, '{"a": "', id="c")),
            *pieces,
            chat({"index": 0, "function": {"arguments": '"}'}}),
        ]
        end = chat(finish_reason="length")
    else:
        pieces = [
            {"choices": [{"delta": {"content": "x"}, "index": 0}], "usage": {"prompt_tokens": number}}
            for number in range(1, 20_000)
        ]
        end = chat(finish_reason="stop")
    READER.told.clear()
    async with LoopbackServer(events(*pieces, end)) as server:
        provider = OpenAIProvider("m", api="chat", api_key="k", base_url=server.url)
        READER.agent = Agent(engine=ExecutionEngine(provider), name="a")
        options = replace(QUICK, suspend_after=0.0)
        async with kernel(MemoryStorage(), operators={"read": read_all}, options=options) as k:
            handle = await k.execute(ExecutionRequest(operator="read", input={}))
            assert (await handle.result(timeout=BOUND * 3)).content == "read"
            (answer,) = [event async for event in handle.events() if event.type == "model.completed"]
        await provider.aclose()
    first, *again = READER.told
    assert again
    if kind == "usage":
        content = [[event for event in told if event.type == "token"] for told in READER.told]
        assert content[0] == content[-1]
    else:
        assert again[-1][:-1] == first[:-1]
    assert len(answer.content or b"") < 1_500_000
