"""Lists of tools that change between two starts of a job, and results with images: a job goes on as it began."""

import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import ActionSpec, ActionType, BudgetSpec, ExecutionRequest, OperatorContext
from agent_runtime.storage.memory import MemoryStorage
from llm_client import Agent, McpServer, MediaPart, ScriptedProvider, Tool, ToolCall, ToolError, tool
from llm_client.messages import Message
from support.kernels import BOUND, QUICK, journal, kernel, pending, resumed, status_becomes, types
from support.loopback import LoopbackServer
from support.mcp_sessions import SessionServer

pytestmark = pytest.mark.timeout(BOUND * 3)

PNG = base64.b64encode(b"\x89PNG" + bytes(60)).decode()
SEEN = [{"type": "text", "text": "seen"}]


@asynccontextmanager
async def serving(**tools: Any) -> AsyncIterator[tuple[SessionServer, McpServer]]:
    server = SessionServer(tools)
    async with LoopbackServer(server) as loopback, McpServer(url=f"{loopback.url}/mcp") as connection:
        yield server, connection


def looking(connection: McpServer, *replies: Any) -> Any:
    async def op(context: OperatorContext, _: Any) -> Any:
        tools = await connection.tools()
        agent = Agent(provider=ScriptedProvider(replies), tools=tools)
        first = await agent.run("Look.")
        await context.action(ActionSpec(type=ActionType.CONFIRM))
        second = await agent.run("Look again.", messages=first.messages)
        return {"tools": [made.name for made in tools], "told": told(second.messages), "said": second.content}

    return {"op": op}


def told(messages: Any) -> list[str]:
    return [message.text for message in messages if message.role == "tool"]


async def begun(storage: MemoryStorage, operators: Any, **options: Any) -> str:
    """Let a job come to its question and leave; return its id."""
    async with kernel(storage, operators=operators, **options) as k:
        handle = await k.execute(ExecutionRequest(operator="op"))
        await pending(handle)
        await status_becomes(handle, "waiting_action")
    return handle.job_id


async def test_a_server_whose_tools_change_breaks_no_replay() -> None:
    storage = MemoryStorage()
    options = replace(QUICK, strict=True)
    async with serving(look=SEEN) as (_, connection):
        first = looking(connection, [ToolCall("1", "look")], "One.")
        job_id = await begun(storage, first, options=options)

    async with serving(peep=SEEN) as (server, connection):
        again = looking(connection, [ToolCall("2", "look")], "Two.")
        async with kernel(storage, operators=again, options=options) as k:
            handle = k.handle(job_id)
            result = await resumed(handle)
            assert "job.warning" not in await types(handle)
        assert server.called == []
    assert result.output["tools"] == ["look"]
    assert result.output["told"][0] == "seen"
    assert "something else of its tool 'look'" in result.output["told"][1], (
        "what a tool has become is not called"
    )


async def test_a_replay_does_not_need_the_server() -> None:
    storage = MemoryStorage()
    async with serving(look=SEEN) as (_, connection):
        job_id = await begun(storage, looking(connection, [ToolCall("1", "look")], "One."))

    away = McpServer(url="http://127.0.0.1:9/mcp")
    async with kernel(storage, operators=looking(away, "Two.")) as k:
        result = await resumed(k.handle(job_id))
    assert (result.output["told"], result.output["said"]) == (["seen"], "Two.")
    await away.aclose()


async def test_lists_of_several_servers_are_asked_for_at_once_and_recalled() -> None:
    def gathering(*connections: McpServer) -> Any:
        async def op(context: OperatorContext, _: Any) -> Any:
            lists = await context.gather(*(connection.tools() for connection in connections))
            await context.action(ActionSpec(type=ActionType.CONFIRM))
            return [[made.name for made in tools] for tools in lists]

        return {"op": op}

    storage = MemoryStorage()
    async with serving(look=SEEN) as (_, one), serving(peep=SEEN) as (_, other):
        job_id = await begun(storage, gathering(one, other))
    away = [McpServer(url="http://127.0.0.1:9/mcp") for _ in range(2)]
    async with kernel(storage, operators=gathering(*away)) as k:
        assert (await resumed(k.handle(job_id))).output == [["look"], ["peep"]]
    for connection in away:
        await connection.aclose()


async def test_a_server_that_could_not_be_reached_could_not_be_reached() -> None:
    """What the operator did without tools is not done again with them."""
    storage = MemoryStorage()

    def trying(connection: McpServer) -> Any:
        async def op(context: OperatorContext, _: Any) -> Any:
            try:
                found = [made.name for made in await connection.tools()]
            except ToolError as error:
                found = [str(error)]
            await context.action(ActionSpec(type=ActionType.CONFIRM))
            return found

        return {"op": op}

    away = McpServer(url="http://127.0.0.1:9/mcp")
    job_id = await begun(storage, trying(away))
    await away.aclose()
    async with serving(look=SEEN) as (_, connection), kernel(storage, operators=trying(connection)) as k:
        (said,) = (await resumed(k.handle(job_id))).output
    assert said.startswith("the MCP server cannot be reached")


@tool(effect="unsafe")
async def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@tool(effect="unsafe", name="pay")
async def pay_in(amount: int, currency: str) -> str:
    """Pay in a currency, which has come to be needed."""
    return f"paid {amount} {currency}"


def acting(tools: list[Tool], *replies: Any) -> Any:
    async def op(context: OperatorContext, _: Any) -> Any:
        agent = Agent(provider=ScriptedProvider(replies), tools=tools)
        first = await agent.run("Pay.")
        await context.action(ActionSpec(type=ActionType.CONFIRM))
        return told(first.messages)

    return {"op": op}


@pytest.mark.parametrize("now", [[], [pay_in]], ids=["gone", "other arguments"])
async def test_what_a_tool_gave_is_recalled_when_it_is_gone(now: list[Tool]) -> None:
    storage = MemoryStorage()
    job_id = await begun(storage, acting([pay], [ToolCall("1", "pay", {"amount": 5})], "Done."))
    async with kernel(storage, operators=acting(now)) as k:
        handle = k.handle(job_id)
        result = await resumed(handle)
        assert "job.warning" not in await types(handle)
    assert result.output == ["paid 5"]


async def test_a_call_that_was_refused_is_not_made_by_a_replay_that_knows_its_tool() -> None:
    paid: list[int] = []

    @tool(effect="unsafe", name="pay")
    async def late(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return "paid"

    storage = MemoryStorage()
    job_id = await begun(storage, acting([], [ToolCall("1", "pay", {"amount": 5})], "Sorry."))
    async with kernel(storage, operators=acting([late])) as k:
        result = await resumed(k.handle(job_id))
    assert paid == []
    assert result.output[0].startswith("Error: ")


SHOT = MediaPart(media_type="image/png", data=PNG, name="shot.png")


@tool(effect="read")
async def shoot() -> list[Any]:
    """Take a picture."""
    return ["Here:", SHOT]


async def test_images_are_recalled_as_images_and_written_once() -> None:
    storage = MemoryStorage()

    def seeing(*replies: Any) -> Any:
        async def op(context: OperatorContext, _: Any) -> Any:
            model = ScriptedProvider(replies)
            first = await Agent(provider=model, tools=[shoot]).run("Shoot.")
            await context.action(ActionSpec(type=ActionType.CONFIRM))
            message: Message = first.messages[2]
            return [message.text, isinstance(message.content, tuple) and message.content[1] == SHOT]

        return {"op": op}

    job_id = await begun(storage, seeing([ToolCall("1", "shoot")], "I see."))
    async with kernel(storage, operators=seeing()) as k:
        handle = k.handle(job_id)
        result = await resumed(handle)
        assert "job.warning" not in await types(handle)
        written = b"".join(event.content or b"" for event in await journal(handle))
    assert result.output == ["Here:\n[image image/png shot.png]", True]
    assert written.count(PNG.encode()) == 1


PIXELS = struct.pack(">I4sII5x", 13, b"IHDR", 64, 48)
SMALL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + PIXELS).decode()


@pytest.mark.parametrize(
    "budgets", [BudgetSpec(max_tokens=1_000_000, mode="hard"), None], ids=["bounded", "free"]
)
async def test_a_tools_media_do_not_end_a_job_whose_budget_cannot_bound_them(budgets: Any) -> None:
    @tool(effect="read")
    async def record() -> list[Any]:
        """Record."""
        return [MediaPart(media_type="audio/wav", data="AAAA"), MediaPart(media_type="image/png", data=SMALL)]

    async def op(context: OperatorContext, _: Any) -> Any:
        model = ScriptedProvider([[ToolCall("1", "record")], "Done."])
        result = await Agent(provider=model, tools=[record]).run("Record.")
        content = result.messages[2].content
        media = [part.media_type for part in content if isinstance(part, MediaPart)]
        return [result.status, media, "left out" in result.messages[2].text]

    async with kernel(operators={"op": op}) as k:
        result = await (await k.execute(ExecutionRequest(operator="op", budgets=budgets))).result()
    bounded = ["success", ["image/png"], True]
    assert result.output == (bounded if budgets else ["success", ["audio/wav", "image/png"], False])
