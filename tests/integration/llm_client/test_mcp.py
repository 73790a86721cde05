"""MCP servers, real ones: a program over stdio, and streamable HTTP."""

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_client import (
    Agent,
    ConfigurationError,
    McpServer,
    NetworkBlocked,
    RequestContext,
    ScriptedProvider,
    Tool,
    ToolCall,
    ToolError,
    ToolInvocation,
    ToolResult,
    block_network,
)
from llm_client.tools.execution import execute
from support.proxy import LoopbackProxy

PROGRAM = Path(__file__).parents[2] / "support" / "mcp_server.py"
COMMAND = [sys.executable, str(PROGRAM)]
BOUND = 30.0


@pytest.fixture
async def server() -> AsyncIterator[McpServer]:
    async with McpServer(
        COMMAND, env={"MCP_TEST": "from the environment"}, prefix="test_", trust_hints=True
    ) as made:
        yield made


async def call(made: Tool, **arguments: Any) -> ToolResult:
    invocation = ToolInvocation(
        tool=made,
        call=ToolCall("1", made.name, arguments),
        arguments=arguments,
        context=RequestContext(),
        operation_id="op-7",
    )
    return await asyncio.wait_for(execute(invocation), BOUND)


async def by_name(server: McpServer) -> dict[str, Tool]:
    return {made.name.removeprefix("test_"): made for made in await server.tools()}


async def test_tools_look_like_any_others(server: McpServer) -> None:
    tools = await by_name(server)

    assert set(tools) == {"add", "put", "send", "fail", "weather_today", "die"}
    assert tools["add"].description == "Add two numbers."
    assert tools["add"].parameters["required"] == ["a", "b"]
    assert {name: tools[name].effect for name in ("add", "put", "send")} == {
        "add": "read",
        "put": "idempotent",
        "send": "unsafe",
    }


async def test_hints_are_not_trusted_and_effects_can_be_told() -> None:
    async with McpServer(COMMAND, effects={"put": "idempotent"}, only=["add", "put"]) as server:
        assert {name: made.effect for name, made in (await by_name(server)).items()} == {
            "add": "unsafe",
            "put": "idempotent",
        }


async def test_a_call_gives_text_and_value_and_carries_its_operation_id(server: McpServer) -> None:
    tools = await by_name(server)
    added = await call(tools["add"], a=1, b=2)
    weather = await call(tools["weather_today"], arguments="Oslo")

    assert added.content == "3"
    assert weather.value["city"] == "Oslo"
    assert weather.value["env"] == "from the environment"
    assert weather.value["meta"]["agent-runtime/operation-id"] == "op-7"


async def test_a_failure_of_the_server_is_one_of_the_tool(server: McpServer) -> None:
    result = await call((await by_name(server))["fail"])

    assert not result.success
    assert "out of order" in result.content


async def test_arguments_are_checked_before_they_are_sent(server: McpServer) -> None:
    made = (await by_name(server))["add"]
    assert made.validate is not None

    with pytest.raises(ToolError, match="- a: 'one' is not of type 'integer'"):
        made.validate({"a": "one", "b": 2})


async def test_calls_run_side_by_side_and_from_any_task(server: McpServer) -> None:
    add = (await by_name(server))["add"]
    results = await asyncio.gather(*(asyncio.create_task(call(add, a=number, b=0)) for number in range(20)))

    assert [result.content for result in results] == [str(number) for number in range(20)]


async def test_an_agent_uses_them(server: McpServer) -> None:
    provider = ScriptedProvider([[ToolCall("1", "test_add", {"a": 2, "b": 3})], "5"])
    result = await Agent(provider=provider, tools=await server.tools()).run("2 + 3?")

    assert result.messages[2].text == "5"


async def test_a_lost_server_fails_the_call_and_is_started_again_for_the_next(server: McpServer) -> None:
    tools = await by_name(server)
    lost = await call(tools["die"])
    after = await call(tools["add"], a=1, b=1)

    assert not lost.success
    assert after.content == "2"


async def test_a_server_may_be_closed_in_another_task_than_it_was_opened_in() -> None:
    server = McpServer(COMMAND)
    await asyncio.create_task(server.tools())
    await asyncio.wait_for(asyncio.create_task(server.aclose()), BOUND)
    await server.aclose()


@pytest.mark.parametrize("command", [["/no/such/program"], [sys.executable, "-c", "raise SystemExit(1)"]])
async def test_a_server_that_does_not_start_says_so(command: list[str]) -> None:
    server = McpServer(command, connect_timeout=BOUND)
    with pytest.raises(ToolError, match="MCP server"):
        await asyncio.wait_for(server.tools(), BOUND)
    await server.aclose()


async def test_a_server_that_says_nothing_is_given_up() -> None:
    server = McpServer([sys.executable, "-c", "import sys; sys.stdin.read()"], connect_timeout=0.2)
    with pytest.raises(ToolError, match=r"within 0\.2 seconds"):
        await asyncio.wait_for(server.tools(), BOUND)


@pytest.fixture
def url() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*COMMAND, str(port)], stderr=subprocess.DEVNULL)
    try:
        _wait_until_listening(port, process)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(BOUND)


def _wait_until_listening(port: int, process: "subprocess.Popen[bytes]") -> None:
    import time

    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None
        time.sleep(0.05)
    raise AssertionError("the server did not come up")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer test"}], ids=["plain", "with headers"])
async def test_streamable_http_works_the_same(url: str, headers: dict[str, str]) -> None:
    async with McpServer(url=url, headers=headers, trust_hints=True) as server:
        tools = await by_name(server)

        assert (await call(tools["add"], a=1, b=2)).content == "3"
        assert tools["add"].effect == "read"


async def test_a_server_on_this_machine_is_reached_through_no_proxy_of_the_environment(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LoopbackProxy() as proxy:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        for address in (url, url.replace("127.0.0.1", "LocalHost")):
            async with McpServer(url=address, headers={"Authorization": "Bearer test"}) as server:
                assert "add" in await by_name(server)
        assert proxy.seen == []


async def test_the_name_of_a_server_is_looked_up_beside_everything_else(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio's own threads are everybody's, and few."""
    threads: set[str] = set()
    look_up = socket.getaddrinfo

    def noted(*args: Any, **kwargs: Any) -> Any:
        threads.add(threading.current_thread().name)
        return look_up(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    address = url.replace("127.0.0.1", "LocalHost")
    async with McpServer(url=address, headers={"Authorization": "Bearer test"}) as server:
        assert "add" in await by_name(server)
    assert threads == {"host-name"}


async def test_a_blocked_network_blocks_it_too() -> None:
    server = McpServer(url="http://127.0.0.1:9/mcp")
    with block_network(), pytest.raises(NetworkBlocked):
        await server.tools()


def test_a_server_has_one_address() -> None:
    with pytest.raises(ConfigurationError):
        McpServer()
    with pytest.raises(ConfigurationError):
        McpServer(COMMAND, url="http://127.0.0.1:9/mcp")
