"""One step of a job under way: it takes half a second and leaves a line in a file, so that steps can be counted."""

import asyncio
import os

STEPS = 4
SECONDS = 0.5


async def step(job: str, number: int) -> None:
    """Take one step of a job."""
    line = f"{job} {number}\n".encode()
    file = os.open(os.environ["STEPS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)
    finally:
        os.close(file)
    await asyncio.sleep(SECONDS)
