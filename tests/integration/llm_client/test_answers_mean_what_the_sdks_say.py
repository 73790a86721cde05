"""The same bytes, read by each vendor's own SDK and by us, mean the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_client.messages import CompletionResult
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.provider import OpenAIProvider
from support.conversations import complete, stream
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import anthropic as anthropic_wire
from support.wire import data_events, named_events
from support.wire import google as google_wire
from support.wire import openai_chat as chat_wire
from support.wire import openai_responses as responses_wire

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
genai = pytest.importorskip("google.genai")

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

Seen = tuple[str, list[tuple[str, dict[str, Any]]], int, int]
"""Text, tool calls, input tokens and output tokens, as one of the two has understood them."""


def seen(result: CompletionResult) -> Seen:
    calls = [(call.name, call.arguments) for call in result.tool_calls]
    return result.content, calls, result.usage.input_tokens, result.usage.output_tokens


async def ours(server: LoopbackServer, vendor: str, *, streamed: bool) -> Seen:
    if vendor == "anthropic":
        provider: Any = AnthropicProvider("m", api_key="k", base_url=server.url)
    elif vendor == "google":
        provider = GoogleProvider("m", api_key="k", base_url=server.url)
    else:
        provider = OpenAIProvider("m", api_key="k", base_url=server.url + "/v1", api=vendor)
    if not streamed:
        return seen(await complete(provider))
    events = await stream(provider)
    assert events[-1].type == "done"
    assert "".join(event.text for event in events if event.type == "token") == events[-1].result.content
    ended = tuple(event.tool_call for event in events if event.type == "tool_call_end")
    assert ended == events[-1].result.tool_calls
    return seen(events[-1].result)


async def theirs_chat(server: LoopbackServer, *, streamed: bool) -> Seen:
    async with openai.AsyncOpenAI(api_key="k", base_url=server.url + "/v1", max_retries=0) as client:
        question: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        if streamed:
            async with client.chat.completions.stream(
                **question, stream_options={"include_usage": True}
            ) as events:
                answer = await events.get_final_completion()
        else:
            answer = await client.chat.completions.create(**question)
    message = answer.choices[0].message
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]
    return message.content or "", calls, answer.usage.prompt_tokens, answer.usage.completion_tokens


async def theirs_responses(server: LoopbackServer, *, streamed: bool) -> Seen:
    async with openai.AsyncOpenAI(api_key="k", base_url=server.url + "/v1", max_retries=0) as client:
        if streamed:
            async with client.responses.stream(model="m", input="x") as events:
                answer = await events.get_final_response()
        else:
            answer = await client.responses.create(model="m", input="x")
    calls = [(i.name, json.loads(i.arguments)) for i in answer.output if i.type == "function_call"]
    return answer.output_text, calls, answer.usage.input_tokens, answer.usage.output_tokens


async def theirs_anthropic(server: LoopbackServer, *, streamed: bool) -> Seen:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0) as client:
        question: dict[str, Any] = {
            "model": "m",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "x"}],
        }
        if streamed:
            async with client.messages.stream(**question) as events:
                answer = await events.get_final_message()
        else:
            answer = await client.messages.create(**question)
    text = "".join(block.text for block in answer.content if block.type == "text")
    calls = [(block.name, block.input) for block in answer.content if block.type == "tool_use"]
    usage = answer.usage  # exclusive buckets: cached input is counted beside the rest
    read = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
    return text, calls, read, usage.output_tokens


async def theirs_google(server: LoopbackServer, *, streamed: bool) -> Seen:
    client = genai.Client(api_key="k", http_options=genai.types.HttpOptions(base_url=server.url))
    try:
        if streamed:
            chunks = [
                c async for c in await client.aio.models.generate_content_stream(model="m", contents="x")
            ]
        else:
            chunks = [await client.aio.models.generate_content(model="m", contents="x")]
    finally:
        await client.aio.aclose()
        client.close()
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    text = "".join(part.text for part in parts if part.text and not part.thought)
    calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
    usage = chunks[-1].usage_metadata
    return text, calls, usage.prompt_token_count, usage.candidates_token_count + usage.thoughts_token_count


THEIRS = {
    "chat": theirs_chat,
    "responses": theirs_responses,
    "anthropic": theirs_anthropic,
    "google": theirs_google,
}
WHOLE = {"chat": chat_wire, "responses": responses_wire, "anthropic": anthropic_wire, "google": google_wire}


def streamed_reply(vendor: str, kind: str) -> Reply:
    events = getattr(WHOLE[vendor], f"{kind}_STREAM")
    if vendor in ("chat", "google"):
        return sse_reply(*data_events(events, done=vendor == "chat"))
    return sse_reply(*named_events(events))


@pytest.mark.parametrize("kind", ["TEXT", "TOOL"])
@pytest.mark.parametrize("vendor", THEIRS)
async def test_whole_answer_is_read_as_the_sdk_reads_it(vendor: str, kind: str) -> None:
    answer = getattr(WHOLE[vendor], "TOOL_CALLS" if kind == "TOOL" else kind)
    async with LoopbackServer(json_reply(answer)) as server:
        assert await ours(server, vendor, streamed=False) == await THEIRS[vendor](server, streamed=False)


@pytest.mark.parametrize("kind", ["TEXT", "TOOL"])
@pytest.mark.parametrize("vendor", THEIRS)
async def test_streamed_answer_is_read_as_the_sdk_reads_it(vendor: str, kind: str) -> None:
    async with LoopbackServer(streamed_reply(vendor, kind)) as server:
        assert await ours(server, vendor, streamed=True) == await THEIRS[vendor](server, streamed=True)


@pytest.mark.parametrize("vendor", THEIRS)
async def test_streamed_and_whole_answer_are_the_same(vendor: str) -> None:
    async with LoopbackServer(json_reply(WHOLE[vendor].TEXT), streamed_reply(vendor, "TEXT")) as server:
        assert await ours(server, vendor, streamed=False) == await ours(server, vendor, streamed=True)
