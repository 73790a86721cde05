"""What MCP servers give and say reaches the model; sessions that they forget begin anew."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from llm_client import (
    Agent,
    AnthropicProvider,
    GoogleProvider,
    LLMClientError,
    McpServer,
    MediaPart,
    OpenAIProvider,
    RequestContext,
    ScriptedProvider,
    Tool,
    ToolCall,
    ToolError,
    ToolInvocation,
    ToolResult,
    tool,
)
from llm_client.json_text import LongFloat
from llm_client.messages import TextPart
from llm_client.tools.execution import execute
from support.loopback import LoopbackServer, json_reply
from support.mcp_sessions import SessionServer
from support.wire import anthropic as anthropic_wire
from support.wire import google as google_wire
from support.wire import openai_chat as chat_wire
from support.wire import openai_responses as responses_wire

BOUND = 30.0
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
WAV = base64.b64encode(b"RIFF" + bytes(40)).decode()

RAW = Path(__file__).parents[2] / "support" / "raw_mcp_server.py"

pytestmark = pytest.mark.timeout(BOUND * 2)


def image(data: str = PNG, kind: str = "image/png") -> dict[str, Any]:
    return {"type": "image", "data": data, "mimeType": kind}


AUDIO = {"type": "audio", "data": WAV, "mimeType": "audio/wav"}
LINK = {
    "type": "resource_link",
    "uri": "file:///logs/today.log",
    "name": "today.log",
    "description": "The log.",
}


def resource(**fields: Any) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": "file:///report.md", **fields}}


@asynccontextmanager
async def serving(
    results: Any, schemas: Any = None, **options: Any
) -> AsyncIterator[tuple[SessionServer, McpServer]]:
    server = SessionServer(results, schemas)
    async with (
        LoopbackServer(server) as loopback,
        McpServer(url=f"{loopback.url}/mcp", **options) as connection,
    ):
        yield server, connection


async def call(made: Tool, **arguments: Any) -> ToolResult:
    invocation = ToolInvocation(
        tool=made, call=ToolCall("1", made.name, arguments), arguments=arguments, context=RequestContext()
    )
    return await asyncio.wait_for(execute(invocation), BOUND)


async def given(result: Any) -> ToolResult:
    """Return what a tool of a server with this result gives."""
    async with serving({"look": result}) as (_, connection):
        (look,) = await connection.tools()
        return await call(look)


PARTS = [
    ([{"type": "text", "text": "hello"}], "hello", ()),
    ([resource(text="# Report")], "[resource file:///report.md]\n# Report", ()),
    ([LINK], "[link today.log: file:///logs/today.log] The log.", ()),
    ([image()], "[image image/png]", ("image/png",)),
    ([AUDIO], "[audio audio/wav]", ("audio/wav",)),
    (
        [resource(blob=PNG, mimeType="image/png")],
        "[resource file:///report.md]\n[image image/png report.md]",
        ("image/png",),
    ),
    (
        [resource(blob=base64.b64encode(b"a,b").decode(), mimeType="text/csv")],
        "[resource file:///report.md]\na,b",
        (),
    ),
    (
        [resource(blob="AAAA", mimeType="application/zip")],
        "[resource file:///report.md application/zip]",
        (),
    ),
    ([image("no base64!")], "[image image/png] that cannot be read", ()),
    (
        [{"type": "text", "text": "Two:"}, image(), LINK, AUDIO],
        "Two:\n[image image/png]\n[link today.log: file:///logs/today.log] The log.\n[audio audio/wav]",
        ("image/png", "audio/wav"),
    ),
    ([], "", ()),
]


@pytest.mark.parametrize(("content", "text", "media"), PARTS)
async def test_all_that_a_tool_gives_is_read(content: Any, text: str, media: tuple[str, ...]) -> None:
    result = await given(content)

    assert result.success
    assert result.content == text
    assert tuple(part.media_type for part in result.media) == media
    assert all(part.data in (PNG, WAV) for part in result.media)


@pytest.mark.parametrize(("content", "text", "media"), PARTS)
async def test_all_that_a_failed_tool_gives_is_read_as_well(
    content: Any, text: str, media: tuple[str, ...]
) -> None:
    result = await given({"content": content, "isError": True})

    assert (result.success, result.error_type) == (False, "tool_error")
    assert result.content == f"Error: {text or 'the tool failed without saying why'}"
    assert tuple(part.media_type for part in result.media) == media


async def test_structured_content_is_read_where_there_is_no_text() -> None:
    structured = {"city": "Oslo", "people": 717_710}
    alone = await given({"content": [], "structuredContent": structured})
    pictured = await given({"content": [image()], "structuredContent": structured})
    told = await given({"content": [{"type": "text", "text": "Oslo"}], "structuredContent": structured})
    failed = await given({"content": [], "structuredContent": structured, "isError": True})

    assert json.loads(alone.content) == structured
    assert pictured.content == '[image image/png]\n{"city":"Oslo","people":717710}'
    assert told.content == "Oslo"
    assert failed.content == 'Error: {"city":"Oslo","people":717710}'
    assert [result.value for result in (alone, pictured, told)] == [structured] * 3


async def test_numbers_that_a_program_says_keep_their_digits(tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.write_text("Pays.")
    async with McpServer([sys.executable, str(RAW), "digits", str(said)]) as server:
        (pay,) = await server.tools()
        result = await call(pay, do="digits")

    assert str(result.value["price"]) == "12345678901234567.89"
    assert result.content == '{"price":12345678901234567.89,"count":123456789012345678901234567890}'


async def test_number_that_would_become_another_one_is_not_sent() -> None:
    async with serving({"pay": []}) as (server, connection):
        (pay,) = await connection.tools()
        refused = await call(pay, to=[{"price": LongFloat("12345678901234567.89")}])
        assert server.called == []
        sent = await call(pay, price=LongFloat("0.10000000000000000000"), count=2**80)

    assert "the number 12345678901234567.89 has more digits" in str(refused.error)
    assert (sent.error, server.called) == (None, ["pay"])


async def test_no_more_media_are_shown_than_anybody_looks_at() -> None:
    result = await given([image()] * 25)
    assert (len(result.media), result.content.count("[image image/png]")) == (20, 25)


@tool(effect="read")
def shot() -> list[Any]:
    """Take a picture."""
    return ["Here:", MediaPart(media_type="image/png", data=PNG, name="shot.png")]


@tool(effect="read")
def odd() -> MediaPart:
    """Give what few take."""
    return MediaPart(media_type="audio/x-odd", data=WAV)


@tool(effect="read")
def drawing() -> MediaPart:
    """Give an image that no vendor takes."""
    return MediaPart(media_type="image/svg+xml", data=PNG)


def uses(vendor: str, name: str) -> Any:
    """Return an answer of a vendor that calls a tool."""
    if vendor == "anthropic":
        return anthropic_wire.message([{"type": "tool_use", "id": "c1", "name": name, "input": {}}])
    if vendor == "google":
        call_part = {"functionCall": {"id": "c1", "name": name, "args": {}}}
        return {
            **google_wire.TEXT,
            "candidates": [{"content": {"role": "model", "parts": [call_part]}, "finishReason": "STOP"}],
        }
    if vendor == "chat":
        function = {"name": name, "arguments": "{}"}
        return chat_wire.completion(
            {"content": None, "tool_calls": [{"id": "c1", "type": "function", "function": function}]}
        )
    item = {
        "type": "function_call",
        "id": "f1",
        "call_id": "c1",
        "name": name,
        "arguments": "{}",
        "status": "completed",
    }
    return responses_wire.response([item])


TEXTS = {
    "anthropic": anthropic_wire.TEXT,
    "google": google_wire.TEXT,
    "chat": chat_wire.TEXT,
    "responses": responses_wire.TEXT,
}


def provider(vendor: str, url: str) -> Any:
    if vendor == "anthropic":
        return AnthropicProvider("claude-sonnet-4-6", api_key="x", base_url=url)
    if vendor == "google":
        return GoogleProvider("gemini-2.5-flash", api_key="x", base_url=url)
    api: Any = vendor
    return OpenAIProvider("gpt-5.2", api_key="x", base_url=f"{url}/v1", api=api)


async def answered(vendor: str, made: Tool) -> str:
    """Return the request in which a vendor gets a tool's result."""
    replies = (json_reply(uses(vendor, made.name)), json_reply(TEXTS[vendor]))
    async with LoopbackServer(*replies) as server:
        model = provider(vendor, server.url)
        result = await Agent(provider=model, tools=[made]).run("go")
        await model.aclose()
        assert result.status == "success"
        return server.requests[-1].body.decode()


@pytest.mark.parametrize("vendor", ["anthropic", "google", "chat", "responses"])
async def test_media_are_media_to_every_vendor(vendor: str) -> None:
    async with serving({"look": [{"type": "text", "text": "Here:"}, image()]}) as (_, connection):
        (look,) = await connection.tools()
        for made in (look, shot):
            sent = await answered(vendor, made)
            assert "Here:" in sent
            assert PNG in sent
            assert "[image image/png" in sent


@pytest.mark.parametrize("made", [odd, drawing])
@pytest.mark.parametrize("vendor", ["anthropic", "chat", "responses"])
async def test_media_that_a_vendor_does_not_take_are_told_in_words(vendor: str, made: Tool) -> None:
    sent = await answered(vendor, made)

    assert WAV not in sent
    assert PNG not in sent
    assert "[audio audio/x-odd]" in sent or "[image image/svg+xml]" in sent


async def test_a_tools_own_media_are_its_result() -> None:
    result = await execute(
        ToolInvocation(tool=shot, call=ToolCall("1", "shot"), arguments={}, context=RequestContext())
    )
    assert result.content == "Here:\n[image image/png shot.png]"
    assert result.media == (MediaPart(media_type="image/png", data=PNG, name="shot.png"),)
    assert result.said == (TextPart(text=result.content), *result.media)
    assert result.value == [
        {"type": "text", "text": "Here:"},
        {"type": "media", "media_type": "image/png", "data": PNG, "name": "shot.png"},
    ]


async def test_values_that_only_look_like_media_are_values() -> None:
    @tool(effect="read")
    def listing() -> list[Any]:
        """List."""
        return [{"type": "media", "size": 3}]

    result = await Agent(provider=ScriptedProvider([[ToolCall("1", "listing")], "ok"]), tools=[listing]).run(
        "go"
    )
    assert result.messages[2].text == '[{"type":"media","size":3}]'


async def test_a_session_that_the_server_forgot_is_opened_anew_for_the_next_call() -> None:
    async with serving({"look": [{"type": "text", "text": "seen"}]}) as (server, connection):
        (look,) = await connection.tools()
        assert (await call(look)).content == "seen"
        server.forget()
        lost = await call(look)
        assert (lost.success, lost.error_type) == (False, "ConnectionError")
        assert "forgotten the session" in lost.content
        assert (await call(look)).content == "seen"
        assert (server.opened, server.called) == (2, ["look", "look"])


async def test_a_tool_that_may_be_repeated_does_not_notice_it() -> None:
    async with serving({"look": [{"type": "text", "text": "seen"}]}, effects={"look": "read"}) as (
        server,
        connection,
    ):
        model = ScriptedProvider([[ToolCall("1", "look")], [ToolCall("2", "look")], "ok"])
        agent = Agent(provider=model, tools=await connection.tools())
        server.forget()
        result = await agent.run("go")

    assert [message.text for message in result.messages if message.role == "tool"] == ["seen", "seen"]


async def test_tools_are_asked_for_in_a_new_session() -> None:
    async with serving({"look": []}) as (server, connection):
        await connection.tools()
        server.forget()
        assert [made.name for made in await connection.tools()] == ["look"]


async def test_what_a_tool_has_become_in_a_new_session_is_noticed() -> None:
    async with serving({"look": []}, {"look": {"type": "object"}}) as (server, connection):
        (look,) = await connection.tools()
        server.forget()
        server.schemas["look"] = {"type": "object", "properties": {"all": {}}}
        await call(look)
        assert "something else" in (await call(look)).content
        assert server.called == []


@pytest.mark.parametrize(
    "listed",
    [
        {"tools": "none"},
        {"tools": [{"name": 5}]},
        {},
        {"tools": [{"name": "a", "inputSchema": []}]},
        {"tools": [{"name": "a", "inputSchema": {"type": "object", "maximum": 10**400}}]},
        None,
    ],
)
async def test_whatever_a_server_says_of_its_tools_it_is_a_tool_error(listed: Any) -> None:
    async with serving({"look": []}) as (server, connection):
        server.listed = lambda: listed
        with pytest.raises(ToolError):
            await connection.tools()
        server.listed = server.list
        assert [made.name for made in await connection.tools()] == ["look"]


async def test_names_that_vendors_refuse_get_an_alias_of_their_own_and_call_the_right_tool() -> None:
    names = ["3d_render", "git.log", "git_log", "git log"]
    results = {name: [{"type": "text", "text": name}] for name in names}
    async with serving(results) as (_, connection):
        tools = {made.name: made for made in await connection.tools()}
        assert {"_3d_render", "git_log"} <= set(tools)
        assert len(tools) == len(names)
        agent = Agent(
            provider=ScriptedProvider([[ToolCall("1", "_3d_render")], "ok"]), tools=list(tools.values())
        )
        result = await agent.run("go")
        assert result.messages[2].text == "3d_render"
        assert {(await call(made)).content for made in tools.values()} == set(names)


async def test_a_tool_whose_schema_is_none_is_called() -> None:
    schemas = {
        "look": {
            "type": "object",
            "properties": {
                "a": {"type": "any"},
                "b": {"type": "string", "pattern": "(?<x>"},
                "c": {"$ref": "#/no"},
            },
        }
    }
    async with serving({"look": [{"type": "text", "text": "seen"}]}, schemas) as (_, connection):
        model = ScriptedProvider([[ToolCall("1", "look", {"a": 1, "b": "x", "c": 2})], "ok"])
        result = await Agent(provider=model, tools=await connection.tools()).run("go")

    assert result.messages[2].text == "seen"
    assert issubclass(ToolError, LLMClientError)
