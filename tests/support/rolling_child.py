"""A worker of one release of an application. Usage: `python -m support.rolling_child DSN`, `RELEASE` says which.

Release `1` does not know the operator `fresh`, and has other code in `changing`. SIGTERM drains it.
"""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from typing import Any

from agent_runtime import ActionSpec, OperatorContext
from agent_runtime.storage.postgres import PostgresStorage
from support.kernels import kernel
from support.worker_child import WORKER

RELEASE = os.environ.get("RELEASE", "2")


async def plain(context: OperatorContext, given: int) -> int:
    """Do what both releases do."""
    return await context.step(int, given, name="plain", effect="read")


async def fresh(context: OperatorContext, given: int) -> int:
    """Do what is new."""
    return await context.step(int, given, name="fresh", effect="read")


async def changing(context: OperatorContext, given: int) -> str:
    """Ask, after a step that the releases name differently."""
    await context.step(int, given, name=f"step of release {RELEASE}", effect="read")
    await context.action(ActionSpec(type="confirm"))
    return RELEASE


OPERATORS: dict[str, list[Any]] = {"1": [plain, changing], "2": [plain, changing, fresh]}
OPTIONS = replace(WORKER, unlisted_after=3.0, code_version=RELEASE if "NAMED" in os.environ else None)


async def main(dsn: str) -> None:
    """Execute until told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    storage = PostgresStorage(dsn)
    async with kernel(storage, operators=OPERATORS[RELEASE], options=OPTIONS):
        print("ready", flush=True)
        await stop.wait()
    await storage.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
