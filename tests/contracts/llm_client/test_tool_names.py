"""A request of one's own may have tools with names that vendors refuse: they have legal ones on the wire, and their own in the answer."""

from __future__ import annotations

import re
from typing import Any

import pytest

from llm_client import Message, RequestContext, RequestSpec, Tool
from llm_client.errors import StreamInterrupted
from llm_client.messages import ToolCall
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.providers.google.provider import GoogleProvider
from llm_client.providers.openai.provider import OpenAIProvider
from llm_client.tools.server import WebSearch
from support.loopback import LoopbackServer, Reply, json_reply, sse_reply
from support.wire import (
    anthropic_answers,
    chat_answers,
    data_events,
    google_answers,
    named_events,
    responses_answers,
)

VENDORS = ("chat", "responses", "anthropic", "google")
LEGAL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def provider(vendor: str, server: LoopbackServer) -> Any:
    if vendor in ("chat", "responses"):
        return OpenAIProvider("gpt-5.2", api_key="k", base_url=server.url + "/v1", api=vendor)  # type: ignore[arg-type] -- one of both
    cls = AnthropicProvider if vendor == "anthropic" else GoogleProvider
    return cls(
        "gemini-3-pro" if vendor == "google" else "claude-sonnet-4-6", api_key="k", base_url=server.url
    )


def called(vendor: str, name: str, *, stream: bool) -> Reply:
    """Return an answer that calls a tool by this name."""
    if vendor == "anthropic":
        blocks = [anthropic_answers.use("a", name, x=1)]
        payload: Any = {"content": blocks, "stop_reason": "tool_use", "usage": {}}
        return (
            sse_reply(*named_events(anthropic_answers.streamed(blocks, "tool_use")))
            if stream
            else json_reply(payload)
        )
    if vendor == "google":
        parts = [google_answers.call("a", name, x=1)]
        parts = [{"functionCall": {"id": "a", "name": name, "args": {"x": 1}}}]
        payload = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
        return (
            sse_reply(*data_events(google_answers.streamed(parts, "STOP"))) if stream else json_reply(payload)
        )
    if vendor == "responses":
        items = [responses_answers.call(1, name, '{"x": 1}')]
        payload = {"object": "response", "status": "completed", "output": items, "error": None}
        return (
            sse_reply(*named_events(responses_answers.streamed(items, payload)))
            if stream
            else json_reply(payload)
        )
    message = chat_answers.called(chat_answers.call("a", name, '{"x": 1}'))
    payload = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
    return (
        sse_reply(*data_events(chat_answers.streamed(message, "tool_calls"), done=True))
        if stream
        else json_reply(payload)
    )


def names_in(body: Any) -> set[str]:
    """Return every tool's name in a request, wherever it stands."""
    found: set[str] = set()
    below: list[Any] = [body]
    while below:
        each = below.pop()
        if isinstance(each, dict):
            name = each.get("name")
            if isinstance(name, str):
                found.add(name)
            found |= set(each.get("allowedFunctionNames", ()))
            below += each.values()
        elif isinstance(each, list):
            below += each
    return found


def spec(*names: str, **fields: Any) -> RequestSpec:
    made = [
        Tool(name=name, description="d", parameters={"type": "object", "properties": {}}, handler=print)
        for name in names
    ]
    before = ToolCall("c1", names[0], {"x": 0})
    said = [Message.user("Go."), Message.assistant("", [before]), Message.tool("ok", "c1", names[0])]
    return RequestSpec(messages=said, tools=made, **fields)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_illegal_name_is_legal_on_the_wire_and_itself_in_the_answer(vendor: str, stream: bool) -> None:
    asked = spec("3d_render", "crm.find", "x" * 80, tool_choice="3d_render")
    async with LoopbackServer(called(vendor, "_3d_render", stream=stream)) as server:
        model = provider(vendor, server)
        if stream:
            events = [event async for event in model.stream(asked, RequestContext())]
            result = events[-1].result
            told = {event.tool_call.name for event in events if event.tool_call is not None}
            assert told == {"3d_render"}
        else:
            result = await model.complete(asked, RequestContext())
        await model.aclose()

    assert [call.name for call in result.tool_calls] == ["3d_render"]
    sent = names_in(server.requests[0].json)
    assert sent == {"_3d_render", "crm_find", "x" * 64}
    assert all(LEGAL.fullmatch(name) for name in sent)


async def test_aliases_are_nobody_elses_name() -> None:
    asked = spec("a.b", "a_b", "web search", server_tools=[WebSearch()])
    async with LoopbackServer(called("anthropic", "a_b", stream=False)) as server:
        model = provider("anthropic", server)
        result = await model.complete(asked, RequestContext())
        await model.aclose()

    sent = [tool["name"] for tool in server.requests[0].json["tools"]]
    assert len(set(sent)) == 4
    assert [call.name for call in result.tool_calls] == ["a_b"]


async def test_what_has_come_of_a_broken_stream_has_the_given_names() -> None:
    blocks = [anthropic_answers.use("a", "_3d_render", x=1)]
    begun = named_events(anthropic_answers.streamed(blocks, "tool_use")[:-2])
    async with LoopbackServer(sse_reply(*begun)) as server:
        model = provider("anthropic", server)
        with pytest.raises(StreamInterrupted) as caught:
            async for _ in model.stream(spec("3d_render"), RequestContext()):
                pass
        await model.aclose()
    assert caught.value.partial is not None
    assert [call.name for call in caught.value.partial.tool_calls] == ["3d_render"]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_legal_names_stay_as_they_are(vendor: str) -> None:
    asked = spec("look", "_list", "Find-it")
    async with LoopbackServer(called(vendor, "look", stream=False)) as server:
        model = provider(vendor, server)
        await model.complete(asked, RequestContext())
        await model.aclose()
    assert names_in(server.requests[0].json) == {"look", "_list", "Find-it"}
