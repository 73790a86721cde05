"""What goes over the wire to Anthropic is what its own SDK sends for the same call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from llm_client.messages import MediaPart, Message, TextPart
from llm_client.providers.anthropic.provider import AnthropicProvider
from llm_client.spec import OutputSchema
from support.conversations import (
    CITY_SCHEMA,
    CLOCK,
    CLOCK_SCHEMA,
    IMAGE_URL,
    PDF,
    PNG,
    WEATHER,
    complete,
    illustrated,
    image,
    stream,
    tool_conversation,
)
from support.loopback import LoopbackServer, Received, json_reply, sse_reply
from support.wire import anthropic as wire
from support.wire import named_events

anthropic = pytest.importorskip("anthropic")

HEADERS = ("authorization", "anthropic-version", "content-type")
HELLO = {"role": "user", "content": "Hello!"}
EPHEMERAL = {"type": "ephemeral"}


class Person(BaseModel):
    name: str = Field(description="Full name", min_length=2)


class City(BaseModel):
    name: str
    country: str | None = None
    size: Literal["small", "large"] = "small"
    mayors: list[Person] = Field(max_length=3)
    founded: int = Field(ge=0)


async def sdk_request(server: LoopbackServer, call: Callable[[Any], Awaitable[Any]]) -> Received:
    async with anthropic.AsyncAnthropic(api_key="sk-ant-test", base_url=server.url, max_retries=0) as client:
        await call(client)
    return server.requests[-1]


def provider(server: LoopbackServer, model: str = "claude-sonnet-4-6") -> AnthropicProvider:
    return AnthropicProvider(model, api_key="sk-ant-test", base_url=server.url)


def assert_same(ours: Received, theirs: Received) -> None:
    assert (ours.method, ours.target) == (theirs.method, theirs.target)
    assert ours.json == theirs.json
    assert {name: ours.headers.get(name) for name in HEADERS} == {
        name: theirs.headers.get(name) for name in HEADERS
    }


TOOLS = [
    {"name": "weather", "description": "Tell the weather.", "input_schema": CITY_SCHEMA},
    {"name": "clock", "description": "Tell the time.", "input_schema": CLOCK_SCHEMA},
]
HISTORY = [
    HELLO,
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Köln"}},
            {"type": "tool_use", "id": "call_b", "name": "clock", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_a", "content": "18 °C"},
            {"type": "tool_result", "tool_use_id": "call_b", "content": "12:00"},
            {"type": "text", "text": "And tomorrow?"},
        ],
    },
]

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {"system": "Be brief.", "messages": [HELLO], "max_tokens": 8192}),
    "tools": (
        {
            "messages": tool_conversation(),
            "tools": [WEATHER, CLOCK],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "max_tokens": 500,
        },
        {
            "system": "Be brief.",
            "messages": HISTORY,
            "tools": TOOLS,
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            "max_tokens": 500,
        },
    ),
    "named tool": (
        {"tools": [CLOCK], "tool_choice": "clock", "max_tokens": 5},
        {
            "system": "Be brief.",
            "messages": [HELLO],
            "tools": TOOLS[1:],
            "tool_choice": {"type": "tool", "name": "clock"},
            "max_tokens": 5,
        },
    ),
    "parameters": (
        {"max_tokens": 100, "stop": ["END"], "extra": {"metadata": {"user_id": "u"}}},
        {
            "system": "Be brief.",
            "messages": [HELLO],
            "max_tokens": 100,
            "stop_sequences": ["END"],
            "metadata": {"user_id": "u"},
        },
    ),
    "sampling": (
        {"temperature": 0.2, "top_p": 0.9, "max_tokens": 100},
        {
            "system": "Be brief.",
            "messages": [HELLO],
            "max_tokens": 100,
            "extra_body": {"temperature": 0.2, "top_p": 0.9},
            "extra_headers": {"anthropic-version": "2023-06-01"},
        },
    ),
    "media": (
        {
            "messages": illustrated(
                image(url=IMAGE_URL),
                image(cache=True),
                MediaPart(media_type="application/pdf", data=PDF, name="a.pdf"),
                MediaPart(media_type="text/plain", data="aGFsbG8="),
            ),
            "max_tokens": 100,
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is this?"},
                        {"type": "image", "source": {"type": "url", "url": IMAGE_URL}},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                            "cache_control": EPHEMERAL,
                        },
                        {
                            "type": "document",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                            "title": "a.pdf",
                        },
                        {
                            "type": "document",
                            "source": {"type": "text", "media_type": "text/plain", "data": "hallo"},
                        },
                    ],
                }
            ],
            "max_tokens": 100,
        },
    ),
    "cached instructions": (
        {
            "messages": [Message.system([TextPart(text="Long rules.", cache=True)]), Message.user("Hello!")],
            "max_tokens": 9,
        },
        {
            "system": [{"type": "text", "text": "Long rules.", "cache_control": EPHEMERAL}],
            "messages": [HELLO],
            "max_tokens": 9,
        },
    ),
    "adaptive thinking": (
        {"reasoning_effort": "high", "max_tokens": 4000},
        {
            "system": "Be brief.",
            "messages": [HELLO],
            "max_tokens": 4000,
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "high"},
        },
    ),
    "thinking budget": (
        {"reasoning_tokens": 2000, "max_tokens": 4000},
        {
            "system": "Be brief.",
            "messages": [HELLO],
            "max_tokens": 4000,
            "thinking": {"type": "enabled", "budget_tokens": 2000},
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_request_is_what_the_sdk_sends(case: str) -> None:
    ours, theirs = CASES[case]
    async with LoopbackServer(json_reply(wire.TEXT)) as server:
        sent = await sdk_request(
            server, lambda client: client.messages.create(model="claude-sonnet-4-6", **theirs)
        )
        await complete(provider(server), **ours)
        assert_same(server.requests[-1], sent)


async def test_streamed_request_is_what_the_sdk_sends() -> None:
    async def call(client: Any) -> None:
        async for _ in await client.messages.create(
            model="claude-sonnet-4-6", system="Be brief.", messages=[HELLO], max_tokens=8192, stream=True
        ):
            pass

    async with LoopbackServer(sse_reply(*named_events(wire.TEXT_STREAM))) as server:
        sent = await sdk_request(server, call)
        await stream(provider(server))
        assert_same(server.requests[-1], sent)


async def test_output_schema_is_what_the_sdk_makes_of_a_pydantic_model() -> None:
    text = '{"name":"Köln","country":null,"size":"large","mayors":[],"founded":50}'
    output = OutputSchema(name="City", schema=City.model_json_schema())
    async with LoopbackServer(json_reply(wire.message([{"type": "text", "text": text}]))) as server:
        sent = await sdk_request(
            server,
            lambda client: client.messages.parse(
                model="claude-sonnet-4-6", messages=[HELLO], max_tokens=8192, output_format=City
            ),
        )
        await complete(provider(server), output_schema=output)
        assert server.requests[-1].json["output_config"] == sent.json["output_config"]


async def test_thinking_budget_never_exceeds_the_output_limit_of_the_caller() -> None:
    async with LoopbackServer(json_reply(wire.TEXT)) as server:
        await complete(provider(server, "claude-sonnet-4-5"), reasoning_effort="high", max_tokens=3000)
        bounded = server.requests[-1].json
        await complete(provider(server, "claude-sonnet-4-5"), reasoning_effort="high", max_tokens=500)
        too_small = server.requests[-1].json
        await complete(provider(server, "claude-sonnet-4-5"), reasoning_effort="high")
        unbounded = server.requests[-1].json
    assert (bounded["max_tokens"], bounded["thinking"]["budget_tokens"]) == (3000, 2999)
    assert too_small["max_tokens"] == 500
    assert "thinking" not in too_small
    assert unbounded["max_tokens"] == 8192 + unbounded["thinking"]["budget_tokens"]
