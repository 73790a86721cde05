"""A service whose operators are tools: what they do, and how clients without an SDK ask."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NotRequired, TypedDict

import httpx2
from mcp_types import ElicitResult

from agent_runtime import ActionSpec, Operator, OperatorContext, RuntimeKernel
from agent_runtime.server import McpConfig, ServerConfig
from support.kernels import QUICK
from support.service import Service, served

runs: list[Any] = []


SHIPPING = {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]}


class Ship(Operator):
    """Ship an order."""

    input_schema = SHIPPING

    @property
    def name(self) -> str:
        return "ship"

    async def execute(self, input_data: Any, context: OperatorContext) -> Any:
        runs.append(input_data)
        return {"shipped": input_data["order"]}


class Parcel(TypedDict):
    """What is sent."""

    to: str
    grams: NotRequired[int]


async def send(context: OperatorContext, given: Parcel) -> str:
    """Send a parcel."""
    return f"sent to {given['to']}"


class Untold(Operator):
    async def execute(self, input_data: Any, context: OperatorContext) -> Any:
        return "done"


async def count(context: OperatorContext, given: Any) -> str:
    """Count.

    Slowly.

    Args:
        context: The job.
        given: Nothing.
    """
    await context.progress(0.5, "half of it")
    return "counted"


async def busy(context: OperatorContext, given: Any) -> None:
    for number in range(given["steps"]):
        await context.emit("custom.step", {"number": number})


async def fail(context: OperatorContext, given: Any) -> Any:
    raise ValueError("not today")


async def ask(context: OperatorContext, given: Any) -> Any:
    answer = await context.action(ActionSpec(**given))
    return dict(answer.resolution or {})


async def wait(context: OperatorContext, given: Any) -> Any:
    await context.sleep(3600)


async def whoami(context: OperatorContext, given: Any) -> Any:
    of = context.execution_ctx
    return {"scope": of.scope_id, "person": of.principal_id}


OPERATORS = {
    "count": count,
    "busy": busy,
    "fail": fail,
    "ask": ask,
    "wait": wait,
    "whoami": whoami,
    "ship": Ship(),
    "send": send,
    "Größe messen": Untold(),
}


CONFIRM = {"type": "confirm", "payload": {"message": "Go on?"}}


@asynccontextmanager
async def serving(kernel: RuntimeKernel | None = None, **bounds: Any) -> AsyncIterator[Service]:
    """Serve the operators, with bounds of the MCP server, or as `config` says."""
    runs.clear()
    config = bounds.pop("config", {})
    kernel = kernel or RuntimeKernel(operators=OPERATORS, options=QUICK)
    fast = {"requests_per_second": 100_000, "burst": 100_000, **config}
    async with served(kernel, ServerConfig(mcp=McpConfig(**bounds), **fast)) as service:
        yield service


def yes(_: str) -> ElicitResult:
    return ElicitResult(action="accept", content={"confirmed": True})


HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


def call_of(tool: str, arguments: Any = None, *, number: int = 1, **params: Any) -> dict[str, Any]:
    """Return a call, as clients of before 2026-07-28 write it."""
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments or {}, **params},
    }


def said_in(answer: httpx2.Response) -> Any:
    """Return the message of an answer, which comes as a stream or as JSON."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return answer.json()
    return json.loads([line for line in answer.text.splitlines() if line.startswith("data: ")][-1][6:])
