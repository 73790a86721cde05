"""A process that looks after resident agents, and kills itself with SIGKILL at a chosen moment.

Usage: `python -m support.agents_child DB [MOMENT]`. A moment is `change`, `start` or `commit`, with `before:` or `after:` and which of them:
`after:change:2`. Prints `ready`, and lives until its input ends.
"""

import asyncio
import sys
from typing import Any

from agent_runtime.kernel.residents import KernelTurns
from agent_runtime.storage.sqlite import SQLiteStorage
from llm_client import Agent, ExecutionEngine, FunctionProvider
from llm_client.spec import RequestSpec
from support.kernels import kernel
from support.scheduling_child import Moment


async def main(address: str, chosen: str) -> None:
    """Look after agents until the input ends."""
    moment = Moment(chosen)
    storage: Any = SQLiteStorage(address, durability="process")
    change, commit, start = storage.change_agent, storage.commit, KernelTurns.start

    async def changing(*args: Any, **parts: Any) -> Any:
        return await moment.around("change", change(*args, **parts))

    async def committing(*args: Any) -> Any:
        return await moment.around("commit", commit(*args))

    async def starting(self: KernelTurns, *args: Any) -> Any:
        return await moment.around("start", start(self, *args))

    storage.change_agent, storage.commit = changing, committing
    KernelTurns.start = starting  # type: ignore[method-assign]

    def answer(request: RequestSpec) -> str:
        return f"done: {request.messages[-1].text}"

    agent = Agent(engine=ExecutionEngine(FunctionProvider(answer)))
    async with kernel(storage, agent=agent):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await storage.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
