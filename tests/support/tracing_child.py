"""A worker process that tells of its jobs to a receiver of OTLP, until it is killed.

Usage: `python -m support.tracing_child STORAGE ENDPOINT`. Prints `ready` when it works.
"""

import asyncio
import sys
from dataclasses import replace
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from agent_runtime import (
    ActionSpec,
    KernelOptions,
    OpenTelemetryAdapter,
    OperatorContext,
    OTelConfig,
    RuntimeKernel,
    open_storage,
)
from llm_client import Agent, FunctionProvider, RequestSpec, ToolCall, tool
from support.kernels import QUICK

OPTIONS: KernelOptions = replace(
    QUICK, heartbeat_interval=0.1, worker_timeout=0.5, projection_interval=0.01, suspend_after=0.05
)
"""A worker counts as dead soon, and what waits for a person leaves the memory."""


@tool(effect="idempotent")
async def count(number: int) -> int:
    """Count on."""
    await asyncio.sleep(0.05)
    return number + 1


@tool(effect="read")
async def look(what: str) -> str:
    """Look."""
    await asyncio.sleep(0.01)
    return f"saw {what}"


def _next(spec: RequestSpec) -> Any:
    counted = sum(message.role == "tool" for message in spec.messages) // 2
    if counted == 2:
        return "Done."
    return [
        ToolCall(f"c{counted}", "count", {"number": counted}),
        ToolCall(f"l{counted}", "look", {"what": "it"}),
    ]


AGENT = Agent(provider=FunctionProvider(_next), tools=[count, look], system_message="Be brief.")


async def trip(context: OperatorContext, given: object) -> str:
    """Ask a model, call tools, take steps side by side, ask a person, wait for a child."""
    await AGENT.run("Count to two.")
    await context.gather(*(context.step(add, number, effect="idempotent") for number in range(3)))
    await context.action(ActionSpec(type="confirm", payload={"go": "on?"}))
    await context.child("leg", 1)
    await context.step(add, 9, effect="idempotent")
    return "there"


async def leg(context: OperatorContext, given: int) -> int:
    """Ask a person, while the parent waits, and take a step."""
    await context.action(ActionSpec(type="confirm", payload={"go": "there?"}))
    return await context.step(add, given, effect="idempotent")


async def add(number: int) -> int:
    """Add one."""
    await asyncio.sleep(0.05)
    return number + 1


async def main(storage: str, endpoint: str) -> None:
    """Work until killed."""
    opened = open_storage(storage)
    adapter = OpenTelemetryAdapter(
        storage=opened,
        config=OTelConfig(begin="first", export_timeout=5.0, capture_tool_args=True),
        exporter=OTLPSpanExporter(endpoint, timeout=2),
    )
    async with RuntimeKernel(
        storage=opened, operators=[trip, leg], projections=[adapter], options=OPTIONS, dispatch="local"
    ):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
