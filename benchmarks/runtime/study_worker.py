"""A worker of the studies, with the settings that production has. Usage: `python study_worker.py FOLDER`.

Prints `ready`; ends when its standard input does. Operators write what they see into `FOLDER`, whoever runs them.
"""

import asyncio
import json
import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else ".")


def note(**what: Any) -> None:
    """Add a line to this process's notes; one write, so that a kill leaves no half of it."""
    with (FOLDER / f"notes-{os.getpid()}").open("ab", buffering=0) as file:
        file.write(json.dumps({"at": time.time(), "pid": os.getpid(), **what}).encode() + b"\n")


async def begin(context: Any, given: Any) -> float:
    """Say when it started."""
    return time.time()


async def steps(context: Any, total: int) -> None:
    """Take steps, one commit each."""
    for number in range(total):
        await context.step(_numbered, number, effect="read")


async def _numbered(number: int) -> dict[str, int | str]:
    return {"number": number, "status": "ok"}


async def hold(context: Any, number: int) -> None:
    """Begin a step that does not end."""
    await context.step(_hold, number, effect="read")


async def _hold(number: int) -> None:
    note(number=number)
    await asyncio.Event().wait()


async def answered(context: Any, given: Any) -> None:
    """Wait for a person."""
    from agent_runtime import ActionSpec

    action = await context.action(ActionSpec(type="input"))
    note(woken=time.time() - action.resolution["value"])


async def asleep(context: Any, until: float) -> None:
    """Wait for a moment."""
    from datetime import UTC

    await context.sleep(until=datetime.fromtimestamp(until, UTC))
    note(woken=time.time() - until)


OPERATORS = {"begin": begin, "steps": steps, "hold": hold, "answered": answered, "asleep": asleep}


async def main() -> None:
    """Execute until standard input ends."""
    from agent_runtime import KernelOptions, RuntimeKernel

    options = KernelOptions(**json.loads(os.environ.get("STUDY_OPTIONS", "{}")))
    async with RuntimeKernel(storage=os.environ["DATABASE_URL"], operators=OPERATORS, options=options):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
