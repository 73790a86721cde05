"""Running a tool's function once."""

import asyncio
import contextvars
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from llm_client import (
    ModelRetry,
    RequestContext,
    RunAborted,
    Tool,
    ToolCall,
    ToolContext,
    ToolError,
    ToolInvocation,
    ToolResult,
    tool,
)
from llm_client.tools.execution import execute

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def invocation(made: Tool, **arguments: Any) -> ToolInvocation:
    return ToolInvocation(
        tool=made,
        call=ToolCall("1", made.name, arguments),
        arguments=arguments,
        context=RequestContext(job_id="job-1", tenant_id="t"),
        operation_id="op-1",
        attempt=2,
        deadline=99.0,
    )


def returning(value: Any) -> Tool:
    @tool
    async def give() -> Any:
        return value

    return give


class Model(BaseModel):
    when: datetime
    price: Decimal


@dataclass
class Pair:
    a: int
    b: list[str]


@pytest.mark.parametrize(
    ("value", "content", "json"),
    [
        ("text", "text", "text"),
        (None, "", None),
        (True, "true", True),
        (3, "3", 3),
        (1.5, "1.5", 1.5),
        ({"a": (1, 2)}, '{"a":[1,2]}', {"a": [1, 2]}),
        ({1: "x"}, '{"1":"x"}', {"1": "x"}),
        ([Decimal("1.10")], '["1.10"]', ["1.10"]),
        ({"b", "a"}, '["a","b"]', ["a", "b"]),
        (Pair(1, ["x"]), '{"a":1,"b":["x"]}', {"a": 1, "b": ["x"]}),
        (
            Model(when=datetime(2026, 1, 2, tzinfo=UTC), price=Decimal("0.10")),
            '{"when":"2026-01-02T00:00:00Z","price":"0.10"}',
            {"when": "2026-01-02T00:00:00Z", "price": "0.10"},
        ),
    ],
)
async def test_what_a_tool_returns_becomes_json_and_text(value: Any, content: str, json: Any) -> None:
    result = await execute(invocation(returning(value)))

    assert (result.content, result.value, result.success) == (content, json, True)


@pytest.mark.parametrize("value", [object(), {"deep": [lambda: None]}, b"bytes"])
async def test_what_json_cannot_hold_is_a_failure_of_its_own_kind(value: Any) -> None:
    result = await execute(invocation(returning(value)))

    assert result.error_type == "result_not_serializable"
    assert "ran but returned" in result.content


async def test_broken_text_is_mended_not_passed_on() -> None:
    result = await execute(invocation(returning("half a pair: \ud83d")))

    assert result.content == "half a pair: \ufffd"


async def test_a_ready_result_is_passed_on() -> None:
    ready = ToolResult(content="for the model", value={"for": "the program"})

    assert await execute(invocation(returning(ready))) is ready


async def test_the_function_gets_its_context() -> None:
    @tool
    async def act(what: str, *, ctx: ToolContext) -> str:
        assert isinstance(ctx.request, RequestContext)
        return f"{what} {ctx.operation_id} {ctx.idempotency_key} {ctx.job_id} {ctx.attempt} {ctx.deadline}"

    assert (await execute(invocation(act, what="x"))).content == "x op-1 op-1 job-1 2 99.0"


async def test_a_plain_function_runs_off_the_loop_with_the_callers_context_variables() -> None:
    seen: list[tuple[str, bool]] = []

    @tool
    def act() -> str:
        seen.append((WHO.get(), threading.current_thread() is threading.main_thread()))
        return "done"

    WHO.set("somebody")
    await execute(invocation(act))

    assert seen == [("somebody", False)]


async def test_a_plain_function_may_return_a_coroutine() -> None:
    async def inner() -> str:
        return "awaited"

    @tool
    def act() -> Any:
        return inner()

    assert (await execute(invocation(act))).content == "awaited"


@pytest.mark.parametrize(
    ("error", "content", "kind"),
    [
        (ValueError("broken"), "Error: ValueError: broken", "ValueError"),
        (KeyError(), "Error: KeyError", "KeyError"),
        (ToolError("no such order"), "Error: no such order", "tool_error"),
        (ModelRetry("give the year, too"), "Error: give the year, too", "model_retry"),
        (StopIteration(), "Error: RuntimeError: the tool raised StopIteration", "RuntimeError"),
    ],
)
async def test_what_a_tool_raises_is_told_to_the_model(error: Exception, content: str, kind: str) -> None:
    @tool
    def act() -> None:
        raise error

    result = await execute(invocation(act))

    assert (result.content, result.error_type, result.success) == (content, kind, False)


@pytest.mark.parametrize("error", [RunAborted("stop"), asyncio.CancelledError()])
async def test_an_aborted_run_and_a_cancellation_pass_through(error: BaseException) -> None:
    async def act() -> None:
        raise error

    with pytest.raises(type(error)):
        await execute(invocation(tool(act)))


async def test_arguments_a_middleware_changed_are_checked_again() -> None:
    @tool
    async def act(count: int) -> int:
        return count

    result = await execute(invocation(act, count="many"))

    assert not result.success
    assert "count" in result.content


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_tool_cannot_end_the_process(asynchronous: bool) -> None:
    def leave() -> None:
        raise SystemExit(3)

    async def leave_later() -> None:
        raise SystemExit(3)

    result = await execute(invocation(tool(leave_later if asynchronous else leave)))

    assert "tried to end the process" in result.content


async def test_tools_that_hang_do_not_stop_others_from_running() -> None:
    release = threading.Event()

    @tool
    def hang() -> None:
        release.wait(30)

    @tool
    def fine() -> str:
        return "fine"

    hanging = [asyncio.create_task(execute(invocation(hang))) for _ in range(50)]
    result = await asyncio.wait_for(execute(invocation(fine)), 5)
    release.set()
    await asyncio.wait(hanging)

    assert result.content == "fine"


def test_a_tool_that_never_ends_does_not_keep_the_process_alive() -> None:
    program = """
import asyncio, threading
from llm_client import Agent, ScriptedProvider, ToolCall, tool

@tool(timeout=0.05)
def never() -> str:
    threading.Event().wait()

agent = Agent(provider=ScriptedProvider([[ToolCall("1", "never", {})], "gave up"]), tools=[never])
print(asyncio.run(agent.run("go")).content)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )

    assert ended.stdout.strip() == "gave up"
