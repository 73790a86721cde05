"""A worker process with a projection that writes down in a file what it is handed, until it is killed.

Usage: `python -m support.projecting_child STORAGE FILE`; with `logs` for the file it keeps the logs up. Prints `ready` when it works.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from agent_runtime import FeedEntry, KernelOptions, OperatorContext, RuntimeKernel, open_storage
from agent_runtime.observability import JournalLogs
from llm_client import Agent, FunctionProvider, RequestSpec, ToolCall, tool
from support.kernels import QUICK

OPTIONS: KernelOptions = replace(
    QUICK, heartbeat_interval=0.1, worker_timeout=0.4, projection_interval=0.01, audit_trail=True
)


class Written:
    """A projection into a file: a line for each entry, in one write for each call."""

    name = "written"
    begin: Literal["first"] = "first"

    def __init__(self, path: str) -> None:
        self._path = path

    async def project(self, entries: Sequence[FeedEntry]) -> None:
        """Write entries down, slowly, so that one is killed in the middle."""
        for position, event in entries:
            line = f"{position} {event.job_id} {event.seq} {event.type}\n"
            await asyncio.to_thread(self._append, line)

    def _append(self, line: str) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, line.encode())
        os.close(file)


async def work(context: OperatorContext, steps: int) -> int:
    """Take some steps, with a nap between them."""
    for number in range(steps):
        await context.step(add, number, effect="idempotent")
        await context.sleep(0.02)
    return steps


async def ask(context: OperatorContext, turns: int) -> str:
    """Ask a model some times, with a tool's call between."""
    answer = await AGENT.run(f"Count to {turns}.")
    return answer.content


@tool(effect="idempotent")
async def count(number: int) -> int:
    """Count on."""
    return number + 1


def _next(spec: RequestSpec) -> str | ToolCall:
    counted = sum(message.role == "tool" for message in spec.messages)
    return "Done." if counted == 3 else ToolCall(f"c{counted}", "count", {"number": counted})


LOGS = "logs"
AGENT = Agent(provider=FunctionProvider(_next), tools=[count], system_message="Be brief.")


async def add(number: int) -> int:
    """Add one."""
    return number + 1


async def main(storage: str, path: str) -> None:
    """Work until killed."""
    opened = open_storage(storage)
    projection = JournalLogs(opened) if path == LOGS else Written(path)
    async with RuntimeKernel(
        storage=opened, operators=[work, ask], projections=[projection], options=OPTIONS, dispatch="local"
    ):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
