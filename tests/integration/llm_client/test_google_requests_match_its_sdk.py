"""What goes over the wire to Google is what its own SDK sends for the same call."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from llm_client.messages import MediaPart
from llm_client.providers.google.provider import GoogleProvider
from llm_client.spec import OutputSchema
from support.conversations import (
    CITY_SCHEMA,
    CLOCK,
    CLOCK_SCHEMA,
    PNG,
    WEATHER,
    complete,
    illustrated,
    image,
    stream,
    tool_conversation,
)
from support.loopback import LoopbackServer, Received, json_reply, sse_reply
from support.wire import data_events
from support.wire import google as wire

genai = pytest.importorskip("google.genai")
types = pytest.importorskip("google.genai.types")

# The SDK subclasses aiohttp.ClientSession, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
HEADERS = ("x-goog-api-key", "content-type")
MODEL = "gemini-3-pro"


async def sdk_request(server: LoopbackServer, call: Callable[[Any], Awaitable[Any]]) -> Received:
    client = genai.Client(api_key="g-test", http_options=types.HttpOptions(base_url=server.url))
    try:
        await call(client.aio.models)
    finally:
        await client.aio.aclose()
        client.close()
    return server.requests[-1]


def provider(server: LoopbackServer) -> GoogleProvider:
    return GoogleProvider(MODEL, api_key="g-test", base_url=server.url)


def normalised(body: dict[str, Any]) -> dict[str, Any]:
    """Take away what has no meaning to the API: the instruction's role, an empty object, and the spelling of names.

    The API takes the names of its fields in camelCase and in snake_case; the SDK mixes both.
    """
    body.get("systemInstruction", {}).pop("role", None)
    if not body.get("generationConfig"):
        body.pop("generationConfig", None)
    return camel_case(body)


def camel_case(value: Any) -> Any:
    if isinstance(value, list):
        return [camel_case(item) for item in value]
    if not isinstance(value, dict):
        return value
    opaque = ("args", "response", "parametersJsonSchema", "responseJsonSchema")
    renamed = {
        re.sub("_([a-z])", lambda found: found[1].upper(), name): child for name, child in value.items()
    }
    for name in {"data", "thoughtSignature"} & renamed.keys():  # base64 in either of its alphabets
        renamed[name] = renamed[name].replace("-", "+").replace("_", "/")
    return {name: child if name in opaque else camel_case(child) for name, child in renamed.items()}


def assert_same(ours: Received, theirs: Received) -> None:
    assert (ours.method, ours.target) == (theirs.method, theirs.target)
    assert ours.json == normalised(theirs.json)
    assert {name: ours.headers.get(name) for name in HEADERS} == {
        name: theirs.headers.get(name) for name in HEADERS
    }


def user(*parts: Any) -> Any:
    return types.Content(
        role="user", parts=[types.Part.from_text(text=p) if isinstance(p, str) else p for p in parts]
    )


TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather", description="Tell the weather.", parameters_json_schema=CITY_SCHEMA
        ),
        types.FunctionDeclaration(
            name="clock", description="Tell the time.", parameters_json_schema=CLOCK_SCHEMA
        ),
    ]
)
HISTORY = [
    user("Hello!"),
    types.Content(
        role="model",
        parts=[
            types.Part.from_text(text="Let me look."),
            types.Part(
                function_call=types.FunctionCall(id="call_a", name="weather", args={"city": "Köln"}),
                thought_signature=b"skip_thought_signature_validator",
            ),
            types.Part(function_call=types.FunctionCall(id="call_b", name="clock", args={})),
        ],
    ),
    user(
        types.Part(
            function_response=types.FunctionResponse(
                id="call_a", name="weather", response={"result": "18 °C"}
            )
        ),
        types.Part(
            function_response=types.FunctionResponse(id="call_b", name="clock", response={"result": "12:00"})
        ),
    ),
    user("And tomorrow?"),
]

CASES: dict[str, tuple[dict[str, Any], list[Any], dict[str, Any]]] = {
    "plain": ({}, [user("Hello!")], {"system_instruction": "Be brief."}),
    "tools": (
        {"messages": tool_conversation(), "tools": [WEATHER, CLOCK], "tool_choice": "weather"},
        HISTORY,
        {
            "system_instruction": "Be brief.",
            "tools": [TOOL],
            "tool_config": types.ToolConfig(
                function_calling_config=types.FunctionCallingConfig(
                    mode="ANY", allowed_function_names=["weather"]
                )
            ),
        },
    ),
    "parameters": (
        {"temperature": 0.2, "top_p": 0.9, "max_tokens": 100, "stop": ["END"], "seed": 7},
        [user("Hello!")],
        {
            "system_instruction": "Be brief.",
            "temperature": 0.2,
            "top_p": 0.9,
            "max_output_tokens": 100,
            "stop_sequences": ["END"],
            "seed": 7,
        },
    ),
    "thinking budget": (
        {"reasoning_tokens": 2000},
        [user("Hello!")],
        {
            "system_instruction": "Be brief.",
            "thinking_config": types.ThinkingConfig(thinking_budget=2000, include_thoughts=True),
        },
    ),
    "output schema": (
        {"output_schema": OutputSchema(name="City", schema=CITY_SCHEMA)},
        [user("Hello!")],
        {
            "system_instruction": "Be brief.",
            "response_mime_type": "application/json",
            "response_json_schema": CITY_SCHEMA,
        },
    ),
    "media": (
        {
            "messages": illustrated(
                image(),
                MediaPart(media_type="video/mp4", url="https://generativelanguage.googleapis.com/files/a"),
            )
        },
        [
            user(
                "What is this?",
                types.Part(inline_data=types.Blob(mime_type="image/png", data=b64decode(PNG))),
                types.Part.from_uri(
                    file_uri="https://generativelanguage.googleapis.com/files/a", mime_type="video/mp4"
                ),
            )
        ],
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_request_is_what_the_sdk_sends(case: str) -> None:
    ours, contents, config = CASES[case]
    async with LoopbackServer(json_reply(wire.TEXT)) as server:
        sent = await sdk_request(
            server,
            lambda models: models.generate_content(
                model=MODEL, contents=contents, config=types.GenerateContentConfig(**config)
            ),
        )
        await complete(provider(server), **ours)
        assert_same(server.requests[-1], sent)


async def test_streamed_request_is_what_the_sdk_sends() -> None:
    async def call(models: Any) -> None:
        async for _ in await models.generate_content_stream(
            model=MODEL, contents=[user("Hello!")], config={"system_instruction": "Be brief."}
        ):
            pass

    async with LoopbackServer(sse_reply(*data_events(wire.TEXT_STREAM))) as server:
        sent = await sdk_request(server, call)
        await stream(provider(server))
        assert_same(server.requests[-1], sent)


async def test_embedding_request_is_what_the_sdk_sends() -> None:
    reply = json_reply({"embeddings": [{"values": [0.5, 1.0]}, {"values": [0.25, 0.0]}]})
    async with LoopbackServer(reply) as server:
        sent = await sdk_request(
            server, lambda models: models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
        )
        ours = provider(server)
        assert await ours.embed(["a", "b"]) == [[0.5, 1.0], [0.25, 0.0]]
        await ours.aclose()
        theirs = sent.json
        for request in theirs["requests"]:
            request["content"].pop("role", None)
        assert server.requests[-1].json == theirs
        assert server.requests[-1].target == sent.target
