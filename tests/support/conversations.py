"""A conversation and tools that exercise every kind of part, the same for all vendors."""

from __future__ import annotations

from typing import Any

from llm_client.messages import CompletionResult, MediaPart, Message, StreamEvent, TextPart, ToolCall
from llm_client.providers.base import Provider
from llm_client.spec import RequestContext, RequestSpec
from llm_client.tools.tool import Tool

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKJcOkw7zDtsOf"
WAV = "UklGRiQAAABXQVZFZm10IA=="
CITY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Name of the city"}},
    "required": ["city"],
}
CLOCK_SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}

WEATHER = Tool(
    name="weather", description="Tell the weather.", parameters=CITY_SCHEMA, handler=lambda city: city
)
CLOCK = Tool(name="clock", description="Tell the time.", parameters=CLOCK_SCHEMA, handler=lambda: "12:00")
IMAGE_URL = "https://example.com/cat.png"


def question() -> list[Message]:
    """Return an instruction and a question."""
    return [Message.system("Be brief."), Message.user("Hello!")]


def tool_conversation() -> list[Message]:
    """Return a conversation in which two tools were called at once."""
    return [
        *question(),
        Message.assistant(
            "Let me look.", [ToolCall("call_a", "weather", {"city": "Köln"}), ToolCall("call_b", "clock", {})]
        ),
        Message.tool("18 °C", "call_a", "weather"),
        Message.tool("12:00", "call_b", "clock"),
        Message.user("And tomorrow?"),
    ]


def image(*, url: str | None = None, cache: bool = False) -> MediaPart:
    """Return an image, by URL or as data."""
    return MediaPart(media_type="image/png", url=url, data=None if url else PNG, cache=cache)


def illustrated(*parts: MediaPart) -> list[Message]:
    """Return a question with media."""
    return [Message.user([TextPart(text="What is this?"), *parts])]


def spec(messages: list[Message] | None = None, **fields: Any) -> RequestSpec:
    """Return a request, by default the plain question."""
    return RequestSpec(messages=question() if messages is None else messages, **fields)


async def complete(
    provider: Provider, messages: list[Message] | None = None, **fields: Any
) -> CompletionResult:
    """Ask a provider once, and close it."""
    try:
        return await provider.complete(spec(messages, **fields), RequestContext())
    finally:
        await provider.aclose()


async def stream(
    provider: Provider, messages: list[Message] | None = None, **fields: Any
) -> list[StreamEvent]:
    """Ask a provider for a stream, return its events, and close it."""
    try:
        return [event async for event in provider.stream(spec(messages, **fields), RequestContext())]
    finally:
        await provider.aclose()
