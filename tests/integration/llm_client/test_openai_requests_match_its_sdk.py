"""What goes over the wire to OpenAI is what its own SDK sends for the same call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from llm_client.messages import MediaPart
from llm_client.providers.openai.chat_dialect import OPENAI
from llm_client.providers.openai.provider import OpenAIProvider
from llm_client.spec import OutputSchema
from support.conversations import (
    CITY_SCHEMA,
    CLOCK,
    CLOCK_SCHEMA,
    IMAGE_URL,
    PDF,
    PNG,
    WAV,
    WEATHER,
    complete,
    illustrated,
    image,
    stream,
    tool_conversation,
)
from support.loopback import LoopbackServer, Received, json_reply, sse_reply
from support.wire import data_events, named_events
from support.wire import openai_chat as chat_wire
from support.wire import openai_responses as responses_wire

openai = pytest.importorskip("openai")

SdkCall = Callable[[Any], Awaitable[Any]]
HEADERS = ("authorization", "content-type")
SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "user", "content": "Hello!"}
PDF_PART = MediaPart(media_type="application/pdf", data=PDF, name="a.pdf")
WAV_PART = MediaPart(media_type="audio/wav", data=WAV)


class City(BaseModel):
    """A city."""

    name: str
    country: str | None = None
    size: Literal["small", "large"] = "small"
    mayors: list[Person] = Field(default_factory=list)


class Person(BaseModel):
    name: str = Field(description="Full name")


def permitted(sent: dict[str, Any]) -> dict[str, Any]:
    """Return the SDK's schema without a default that is a value: the SDK keeps one, which strict mode refuses."""
    size = sent["schema"]["properties"]["size"]
    size["description"] = f"{{default: {size.pop('default')}}}"
    return sent


async def sdk_request(server: LoopbackServer, call: SdkCall) -> Received:
    async with openai.AsyncOpenAI(api_key="sk-test", base_url=server.url + "/v1", max_retries=0) as client:
        await call(client)
    return server.requests[-1]


def provider(server: LoopbackServer, api: str) -> OpenAIProvider:
    return OpenAIProvider("gpt-5.2", api_key="sk-test", base_url=server.url + "/v1", api=api, dialect=OPENAI)


def assert_same(ours: Received, theirs: Received) -> None:
    assert (ours.method, ours.target) == (theirs.method, theirs.target)
    assert ours.json == theirs.json
    assert {name: ours.headers.get(name) for name in HEADERS} == {
        name: theirs.headers.get(name) for name in HEADERS
    }


CHAT_TOOLS = [
    {
        "type": "function",
        "function": {"name": "weather", "description": "Tell the weather.", "parameters": CITY_SCHEMA},
    },
    {
        "type": "function",
        "function": {"name": "clock", "description": "Tell the time.", "parameters": CLOCK_SCHEMA},
    },
]
CHAT_HISTORY = [
    SYSTEM,
    HELLO,
    {
        "role": "assistant",
        "content": "Let me look.",
        "tool_calls": [
            {
                "id": "call_a",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"Köln"}'},
            },
            {"id": "call_b", "type": "function", "function": {"name": "clock", "arguments": "{}"}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_a", "content": "18 °C"},
    {"role": "tool", "tool_call_id": "call_b", "content": "12:00"},
    {"role": "user", "content": "And tomorrow?"},
]
WHAT = {"type": "text", "text": "What is this?"}

CHAT_CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {"messages": [SYSTEM, HELLO]}),
    "tools": (
        {
            "messages": tool_conversation(),
            "tools": [WEATHER, CLOCK],
            "tool_choice": "weather",
            "parallel_tool_calls": False,
        },
        {
            "messages": CHAT_HISTORY,
            "tools": CHAT_TOOLS,
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "parallel_tool_calls": False,
        },
    ),
    "parameters": (
        {
            "temperature": 0.2,
            "top_p": 0.9,
            "max_tokens": 100,
            "stop": ["END"],
            "seed": 7,
            "reasoning_effort": "low",
            "extra": {"service_tier": "flex"},
        },
        {
            "messages": [SYSTEM, HELLO],
            "temperature": 0.2,
            "top_p": 0.9,
            "max_completion_tokens": 100,
            "stop": ["END"],
            "seed": 7,
            "reasoning_effort": "low",
            "service_tier": "flex",
        },
    ),
    "media": (
        {"messages": illustrated(image(url=IMAGE_URL), image(), WAV_PART, PDF_PART)},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        WHAT,
                        {"type": "image_url", "image_url": {"url": IMAGE_URL}},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                        {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
                        {
                            "type": "file",
                            "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
                        },
                    ],
                }
            ]
        },
    ),
}


@pytest.mark.parametrize("case", CHAT_CASES)
async def test_chat_request_is_what_the_sdk_sends(case: str) -> None:
    ours, theirs = CHAT_CASES[case]
    async with LoopbackServer(json_reply(chat_wire.TEXT)) as server:
        sent = await sdk_request(
            server, lambda client: client.chat.completions.create(model="gpt-5.2", **theirs)
        )
        await complete(provider(server, "chat"), **ours)
        assert_same(server.requests[-1], sent)


async def test_streamed_chat_request_is_what_the_sdk_sends() -> None:
    async def call(client: Any) -> None:
        async for _ in await client.chat.completions.create(
            model="gpt-5.2", messages=[SYSTEM, HELLO], stream=True, stream_options={"include_usage": True}
        ):
            pass

    async with LoopbackServer(sse_reply(*data_events(chat_wire.TEXT_STREAM, done=True))) as server:
        sent = await sdk_request(server, call)
        await stream(provider(server, "chat"))
        assert_same(server.requests[-1], sent)


async def test_chat_output_schema_is_what_the_sdk_makes_of_a_pydantic_model() -> None:
    answer = chat_wire.completion({"content": '{"name":"Köln","country":null,"size":"large","mayors":[]}'})
    output = OutputSchema(name="City", schema=City.model_json_schema())
    async with LoopbackServer(json_reply(answer)) as server:
        sent = await sdk_request(
            server,
            lambda client: client.chat.completions.parse(
                model="gpt-5.2", messages=[SYSTEM, HELLO], response_format=City
            ),
        )
        await complete(provider(server, "chat"), output_schema=output)
        ours = server.requests[-1].json["response_format"]["json_schema"]
        theirs = sent.json["response_format"]["json_schema"]
        assert ours == permitted(theirs)


RESPONSES_TOOLS = [
    {
        "type": "function",
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": CITY_SCHEMA,
        "strict": False,
    },
    {
        "type": "function",
        "name": "clock",
        "description": "Tell the time.",
        "parameters": CLOCK_SCHEMA,
        "strict": False,
    },
]
RESPONSES_HISTORY = [
    SYSTEM,
    HELLO,
    {"role": "assistant", "content": "Let me look."},
    {"type": "function_call", "call_id": "call_a", "name": "weather", "arguments": '{"city":"Köln"}'},
    {"type": "function_call", "call_id": "call_b", "name": "clock", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_a", "output": "18 °C"},
    {"type": "function_call_output", "call_id": "call_b", "output": "12:00"},
    {"role": "user", "content": "And tomorrow?"},
]
RESPONSES_CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {"input": [SYSTEM, HELLO]}),
    "tools": (
        {
            "messages": tool_conversation(),
            "tools": [WEATHER, CLOCK],
            "tool_choice": "weather",
            "parallel_tool_calls": False,
        },
        {
            "input": RESPONSES_HISTORY,
            "tools": RESPONSES_TOOLS,
            "tool_choice": {"type": "function", "name": "weather"},
            "parallel_tool_calls": False,
        },
    ),
    "parameters": (
        {
            "temperature": 0.2,
            "top_p": 0.9,
            "max_tokens": 100,
            "reasoning_effort": "low",
            "extra": {"reasoning": {"summary": "auto"}},
        },
        {
            "input": [SYSTEM, HELLO],
            "temperature": 0.2,
            "top_p": 0.9,
            "max_output_tokens": 100,
            "reasoning": {"effort": "low", "summary": "auto"},
        },
    ),
    "media": (
        {
            "messages": illustrated(
                image(url=IMAGE_URL),
                image(),
                PDF_PART,
                MediaPart(media_type="application/pdf", url="https://example.com/a.pdf"),
            )
        },
        {
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is this?"},
                        {"type": "input_image", "detail": "auto", "image_url": IMAGE_URL},
                        {
                            "type": "input_image",
                            "detail": "auto",
                            "image_url": f"data:image/png;base64,{PNG}",
                        },
                        {
                            "type": "input_file",
                            "filename": "a.pdf",
                            "file_data": f"data:application/pdf;base64,{PDF}",
                        },
                        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                    ],
                }
            ]
        },
    ),
}
STATELESS = {"store": False, "include": ["reasoning.encrypted_content"]}


@pytest.mark.parametrize("case", RESPONSES_CASES)
async def test_responses_request_is_what_the_sdk_sends(case: str) -> None:
    ours, theirs = RESPONSES_CASES[case]
    async with LoopbackServer(json_reply(responses_wire.TEXT)) as server:
        sent = await sdk_request(
            server, lambda client: client.responses.create(model="gpt-5.2", **theirs, **STATELESS)
        )
        await complete(provider(server, "responses"), **ours)
        assert_same(server.requests[-1], sent)


async def test_streamed_responses_request_is_what_the_sdk_sends() -> None:
    async def call(client: Any) -> None:
        async for _ in await client.responses.create(
            model="gpt-5.2", input=[SYSTEM, HELLO], stream=True, **STATELESS
        ):
            pass

    async with LoopbackServer(sse_reply(*named_events(responses_wire.TEXT_STREAM))) as server:
        sent = await sdk_request(server, call)
        await stream(provider(server, "responses"))
        assert_same(server.requests[-1], sent)


async def test_responses_output_schema_is_what_the_sdk_makes_of_a_pydantic_model() -> None:
    text = {**responses_wire.MESSAGE, "content": [{"type": "output_text", "annotations": [], "text": "null"}]}
    text["content"][0]["text"] = '{"name":"Köln","country":null,"size":"large","mayors":[]}'
    output = OutputSchema(name="City", schema=City.model_json_schema())
    async with LoopbackServer(json_reply(responses_wire.response([text]))) as server:
        sent = await sdk_request(
            server,
            lambda client: client.responses.parse(
                model="gpt-5.2", input=[SYSTEM, HELLO], text_format=City, **STATELESS
            ),
        )
        await complete(provider(server, "responses"), output_schema=output)
        assert server.requests[-1].json["text"]["format"] == permitted(sent.json["text"]["format"])


async def test_embedding_request_is_what_the_sdk_sends_and_vectors_keep_their_order() -> None:
    rows = [
        {"object": "embedding", "index": 1, "embedding": [0.25, 0.5]},
        {"object": "embedding", "index": 0, "embedding": [1.0, -1.0]},
    ]
    reply = json_reply(
        {"object": "list", "data": rows, "model": "m", "usage": {"prompt_tokens": 2, "total_tokens": 2}}
    )
    async with LoopbackServer(reply) as server:
        sent = await sdk_request(
            server,
            lambda client: client.embeddings.create(
                model="text-embedding-3-small", input=["a", "b"], encoding_format="float"
            ),
        )
        ours = provider(server, "chat")
        vectors = await ours.embed(["a", "b"])
        assert vectors == [[1.0, -1.0], [0.25, 0.5]]
        assert (vectors.model, vectors.usage.input_tokens, vectors.usage.requests) == ("m", 2, 1)
        await ours.aclose()
        assert_same(server.requests[-1], sent)
