"""Ours, with keys: an agent whose model answers at once, and one that takes steps."""

import asyncio
import os
import signal
import sys

from steps import STEPS, step

from agent_runtime import Role, RuntimeKernel
from agent_runtime.operators.operator import AgentOperator
from agent_runtime.server import ServerConfig, create_app
from agent_runtime.server.running import serving
from llm_client import Agent, FunctionProvider, RequestSpec, ToolCall, tool


def answer(spec: RequestSpec) -> object:
    """Have a tool called a few times, and answer."""
    taken = sum(message.role == "tool" for message in spec.messages)
    job = str(next(message.content for message in spec.messages if message.role == "user"))
    return "done" if taken == STEPS else ToolCall(f"call-{taken}", "take_step", {"job": job, "number": taken})


@tool(effect="read")  # it may be called again where nobody knows whether it was
async def take_step(job: str, number: int) -> str:
    """Take one step."""
    await step(job, number)
    return "taken"


async def main() -> None:
    """Serve until told to stop."""
    operators = [
        AgentOperator(Agent(provider=FunctionProvider(lambda spec: "done")), "echo"),
        AgentOperator(Agent(provider=FunctionProvider(answer), tools=[take_step]), "stepping"),
    ]
    kernel = RuntimeKernel(storage=os.environ["DATABASE_URL"], operators=operators)
    config = ServerConfig(requests_per_second=1e9, burst=1_000_000)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serving(create_app(kernel, config), port=int(sys.argv[1])):
        _, key = await kernel.keys.create(name="bench", role=Role.ADMIN, scope_id="bench")
        print(key, flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
