"""Worker processes that keep a projection up, to be killed."""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

from support.kernels import BOUND

TESTS = Path(__file__).parent.parent


async def begun(address: str, path: Path | str, module: str = "support.projecting_child") -> Process:
    """Start a worker process, and wait until it works."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, address, str(path)),
        stdout=PIPE,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    assert child.stdout is not None
    async with asyncio.timeout(BOUND):
        assert await child.stdout.readline() == b"ready\n"
    return child


@contextlib.asynccontextmanager
async def workers(
    address: str, path: Path | str, count: int, module: str = "support.projecting_child"
) -> AsyncIterator[list[Process]]:
    """Some worker processes, which are killed in the end."""
    children = [await begun(address, path, module) for _ in range(count)]
    try:
        yield children
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
