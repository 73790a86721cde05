"""An MCP server that means harm freezes nothing, reaches nothing and is believed nothing."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llm_client import McpServer, RequestContext, Tool, ToolCall, ToolError, ToolInvocation, ToolResult
from llm_client.tools.execution import execute
from support.loopback import LoopbackServer, json_reply

PROGRAM = Path(__file__).parents[1] / "support" / "hostile_mcp_server.py"
BOUND = 30.0

pytestmark = pytest.mark.timeout(BOUND * 2)


def hostile(mode: str, *arguments: str, **options: Any) -> McpServer:
    return McpServer([sys.executable, str(PROGRAM), mode, *arguments], **options)


async def call(made: Tool, **arguments: Any) -> ToolResult:
    invocation = ToolInvocation(
        tool=made, call=ToolCall("1", made.name, arguments), arguments=arguments, context=RequestContext()
    )
    return await asyncio.wait_for(execute(invocation), BOUND)


@pytest.fixture
async def away() -> AsyncIterator[LoopbackServer]:
    async with LoopbackServer(json_reply({"type": "string", "const": "fetched"})) as server:
        yield server


@pytest.fixture
async def tools(away: LoopbackServer) -> AsyncIterator[dict[str, Tool]]:
    async with hostile("tools", away.url) as server:
        yield {made.name: made for made in await server.tools()}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("slow", {"text": "a" * 64 + "!"}),
        ("slow_names", {"a" * 64 + "!": 1}),
        ("twins", {"items": [{"n": number} for number in range(20_000)]}),
    ],
)
async def test_no_schema_of_a_server_stops_the_loop(
    name: str, arguments: dict[str, Any], tools: dict[str, Tool]
) -> None:
    """Some of these would take hours; the loop is watched by the test suite as well."""
    assert (await call(tools[name], **arguments)).success


@pytest.mark.parametrize("name", ["laughs", "circle"])
async def test_references_that_multiply_are_given_up(name: str, tools: dict[str, Tool]) -> None:
    validate: Any = tools[name].validate
    started = time.process_time()
    with pytest.raises(ToolError, match="cannot be checked"):
        await asyncio.to_thread(validate, {"x": 1})
    assert time.process_time() - started < BOUND, "2 ** 40 references would take years"


async def test_a_reference_to_an_address_is_not_fetched(tools: dict[str, Tool], away: LoopbackServer) -> None:
    validate: Any = tools["away"].validate
    with pytest.raises(ToolError, match="cannot be checked"):
        validate({"text": "x"})
    assert away.requests == []


async def test_what_a_server_says_of_its_effects_is_not_believed(tools: dict[str, Tool]) -> None:
    assert {made.effect for made in tools.values()} == {"unsafe"}


async def test_what_nobody_sees_is_not_shown_to_the_model(tools: dict[str, Tool]) -> None:
    assert tools["slow"].description == "Read.]52;c;aGk= Really."
    assert (await call(tools["answer"])).content == "answer[2K"


async def test_a_result_is_not_checked_with_the_servers_own_patterns(tools: dict[str, Tool]) -> None:
    result = await call(tools["answer"])
    assert result.value == {"text": "a" * 40 + "!"}


@pytest.mark.parametrize(("mode", "why"), [("many", "more than 500 tools"), ("large", "at most 65536")])
async def test_more_than_tools_need_is_refused(mode: str, why: str) -> None:
    async with hostile(mode) as server:
        with pytest.raises(ToolError, match=why):
            await server.tools()


async def test_a_server_that_does_not_tell_its_tools_is_given_up() -> None:
    async with hostile("silent", list_timeout=0.3) as server:
        with pytest.raises(ToolError, match="did not tell its tools"):
            await server.tools()
