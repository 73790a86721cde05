"""A process that executes the jobs of a SQLite file until it is killed. Prints `ready` when it does.

Usage: `python -m support.executor_child DB [fork]`; with `fork` it leaves a child behind that outlives it.
"""

import asyncio
import os
import sys
import time
from typing import Any

from agent_runtime import ActionSpec, OperatorContext
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import kernel


async def ask(context: OperatorContext, given: Any) -> Any:
    """Ask for a value and return it with the process that did."""
    answered = await context.action(ActionSpec(type="input"))
    assert answered.resolution is not None
    return {"value": answered.resolution["value"], "pid": os.getpid()}


async def long(context: OperatorContext, given: Any) -> None:
    """Never end."""
    await context.step(asyncio.sleep, 3600, effect="read")


async def chatter(context: OperatorContext, given: int) -> int:
    """Say many things."""
    for number in range(given):
        await context.emit("custom.said", {"n": number})
    return given


OPERATORS = [ask, long, chatter]


async def main() -> None:
    """Execute until killed."""
    async with kernel(SQLiteStorage(sys.argv[1], durability="process"), operators=OPERATORS) as k:
        assert k.executes
        if "fork" in sys.argv and os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
