"""Plain functions that never return: they keep a thread, and nothing else."""

import threading
from typing import Any

from agent_runtime import ExecutionRequest, OperatorContext
from support.kernels import BOUND, kernel, status_becomes, until

HUNG = 40
"""More than the event loop's own pool has threads."""
release = threading.Event()
begun: list[int] = []


def hang() -> None:
    begun.append(threading.get_ident())
    release.wait(BOUND * 2)


def quick(value: int) -> int:
    return value


async def hangs(context: OperatorContext, given: Any) -> None:
    await context.gather(*(context.step(hang, effect="read") for _ in range(HUNG)))


async def goes_on(context: OperatorContext, given: int) -> int:
    return int(await context.step(quick, given, effect="read"))


async def all_hang() -> bool:
    return len(set(begun)) == HUNG  # each in a thread of its own, at once


async def test_functions_that_hang_keep_no_other_from_running() -> None:
    release.clear()
    begun.clear()
    async with kernel(operators=[hangs, goes_on]) as k:
        stuck = await k.execute(ExecutionRequest(operator="hangs"))
        await status_becomes(stuck, "running")
        handle = await k.execute(ExecutionRequest(operator="goes_on", input=7))
        assert (await handle.result(timeout=BOUND / 2)).output == 7
        await until(all_hang)
        await stuck.cancel()
        await status_becomes(stuck, "cancelled")
        release.set()
