"""A process that executes the jobs of a SQLite file, and forks while it does; its child wants to execute as well.

Usage: `python -m support.forking_child DB`. Parent and child print who they are, and whether they execute. The parent goes
when a line is written to it; so does the child, once it has become the one who executes.
"""

import asyncio
import os
import sys

from agent_runtime.storage.sqlite import SQLiteStorage
from support.executor_child import OPERATORS
from support.kernels import kernel, until


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


async def child(path: str) -> None:
    """Become the one who executes, as soon as nobody else does."""
    async with kernel(SQLiteStorage(path, durability="process"), operators=OPERATORS) as k:
        say(f"child {os.getpid()} {'executes' if k.executes else 'waits'}")

        async def executes() -> bool:
            await asyncio.sleep(0)
            return k.executes

        await until(executes)
        say(f"child {os.getpid()} executes")
        await asyncio.to_thread(sys.stdin.readline)


async def parent(path: str) -> None:
    """Execute, and fork."""
    storage = SQLiteStorage(path, durability="process")
    async with kernel(storage, operators=OPERATORS) as k:
        assert k.executes
        if os.fork() == 0:
            asyncio.events._set_running_loop(None)
            asyncio.run(child(path))
            os._exit(0)
        say("parent executes")
        await asyncio.to_thread(sys.stdin.readline)
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(parent(sys.argv[1]))
