"""A process that executes jobs of which some kill it. Usage: `python -m support.poison_child URL WORLD`.

Prints `ready` when it executes. `WORLD` is a file that gets a line for every effect.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from agent_runtime import KernelOptions, OperatorContext
from agent_runtime.app import open_storage
from llm_client import ExecutionEngine, FunctionProvider, Message, RequestSpec, tool
from llm_client.agent.agent import Agent
from llm_client.messages import ToolCall
from support.kernels import kernel

OPTIONS = KernelOptions(
    suspend_after=0.01,
    drain_timeout=2.0,
    heartbeat_interval=0.1,
    worker_timeout=0.7,
    sweep_interval=0.2,
    suspect_patience=1.0,
    max_crashes=3,
)
WORLD = Path(os.devnull)


def happened(what: str) -> None:
    """Leave a line in the world."""
    with WORLD.open("a", encoding="utf-8") as file:
        file.write(f"{what}\n")


def die() -> None:
    """Die as a process dies."""
    os.kill(os.getpid(), signal.SIGKILL)


def answer(spec: RequestSpec) -> Any:
    """Answer, or die of the answer."""
    asked = spec.messages[0].text
    happened(f"{asked}: asked")
    if asked == "answer":
        die()
    if asked == "tool" and len(spec.messages) == 1:
        return ToolCall(id="c1", name="poisonous", arguments={})
    return "fine"


@tool(effect="read")
async def poisonous() -> str:
    """Die."""
    happened("tool: called")
    die()
    return "never"


engine = ExecutionEngine(provider=FunctionProvider(answer))
asker = Agent(engine=engine, tools=[poisonous])


async def poison(context: OperatorContext, given: str) -> None:
    """Die of what a model says, of a tool it wants called, of the code that reads it, or beside other work."""
    if given == "tool":
        await asker.run(given)
    elif given == "branch":
        await context.gather(context.model(asking("answer")), _busy(context))
    else:
        await context.model(asking(given))
    die()


def asking(text: str) -> RequestSpec:
    """Build a request."""
    return RequestSpec(messages=[Message.user(text)])


async def _busy(context: OperatorContext) -> None:
    for number in range(10_000):
        await context.step(int, number, name="busy", effect="read")


async def patient(context: OperatorContext, given: float) -> str:
    """Have one long call."""
    return await context.step(_long, given, name="long", effect="idempotent")


async def _long(seconds: float) -> str:
    await asyncio.sleep(seconds)
    happened("patient: done")
    return "done"


async def sleeper(context: OperatorContext, given: object) -> None:
    """Never end, and never write anything."""
    await context.step(asyncio.sleep, 3600, name="sleep", effect="read")


OPERATORS = [poison, patient, sleeper]


async def main(url: str) -> None:
    """Execute until killed."""
    storage = open_storage(url)
    async with kernel(storage, engine=engine, operators=OPERATORS, options=OPTIONS) as k:
        while not k.executes:
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    WORLD = Path(sys.argv[2])
    asyncio.run(main(sys.argv[1]))
