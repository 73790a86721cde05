"""A kernel that is closed by somebody who does not wait for it."""

import asyncio
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, OperatorContext
from agent_runtime.storage.memory import MemoryStorage
from support.kernels import BOUND, kernel, status_becomes
from support.soak.virtual import LoopClock, run_in_virtual_time


async def waits(context: OperatorContext, given: Any) -> None:
    await context.step(asyncio.sleep, 3600, effect="read")


def test_closing_that_ran_out_of_time_is_finished_by_the_next_try() -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        storage = MemoryStorage()
        k = kernel(storage, operators=[waits], clock=LoopClock())
        handle = await k.execute(ExecutionRequest(operator="waits"))
        await status_becomes(handle, "running")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await k.aclose()
        assert asyncio.all_tasks() != before
        async with asyncio.timeout(BOUND):
            await asyncio.gather(k.aclose(), k.aclose())
        assert asyncio.all_tasks() == before
        assert await storage.list_workers() == []
        assert storage._listeners == []

    run_in_virtual_time(main())
