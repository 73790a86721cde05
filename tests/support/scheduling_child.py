"""A process that executes what schedules start, and kills itself with SIGKILL at a chosen moment of the scheduler.

Usage: `python -m support.scheduling_child DB [MOMENT]`. A moment is `replace` or `start`, with `before:` or `after:` and which of them: `after:replace:2`. Prints
`ready`, and lives until its input ends.
"""

import asyncio
import os
import signal
import sys
from datetime import datetime
from typing import Any

from agent_runtime import OperatorContext
from agent_runtime.kernel.scheduled import KernelStarter
from agent_runtime.ports.schedules import StoredSchedule
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import kernel


class Moment:
    """Counts what happens, and ends the process at one moment."""

    def __init__(self, chosen: str) -> None:
        self._when, self._what, number = [*chosen.split(":"), "", "", "0"][:3]
        self._left = int(number or 0)

    async def around(self, what: str, work: Any) -> Any:
        """Do something; perhaps die before or after it."""
        counts = what == self._what
        self._left -= counts
        dies = counts and self._left == 0
        if dies and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = await work
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


async def beat(context: OperatorContext, given: Any) -> str:
    """Do nothing."""
    return context.job_id


async def main(address: str, chosen: str) -> None:
    """Execute until the input ends."""
    moment = Moment(chosen)
    is_postgres = address.startswith("postgres")
    storage: Any = PostgresStorage(address) if is_postgres else SQLiteStorage(address, durability="process")
    replace, start = storage.replace_schedule, KernelStarter.start

    async def replacing(schedule: StoredSchedule, **parts: Any) -> Any:
        return await moment.around("replace", replace(schedule, **parts))

    async def starting(self: KernelStarter, schedule: StoredSchedule, due_at: datetime) -> Any:
        return await moment.around("start", start(self, schedule, due_at))

    storage.replace_schedule = replacing
    KernelStarter.start = starting  # type: ignore[method-assign]
    async with kernel(storage, operators=[beat], checks={"news": lambda due: True}):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await storage.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
