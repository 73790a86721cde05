"""A kernel that is closed by somebody who does not wait for it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, OperatorContext
from agent_runtime.storage.memory import MemoryStorage
from support.kernels import BOUND, QUICK, kernel, status_becomes
from support.soak.virtual import LoopClock, run_in_virtual_time


def test_closing_that_runs_out_of_its_callers_time_waits_for_nothing_and_leaves_nothing_behind() -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        storage = MemoryStorage()
        began = asyncio.Event()

        async def long() -> None:
            began.set()
            await asyncio.sleep(3600)

        async def waits(context: OperatorContext, given: Any) -> None:
            await context.step(long, effect="read")

        k = kernel(storage, operators=[waits], clock=LoopClock())
        await k.execute(ExecutionRequest(operator="waits"))
        await began.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await k.aclose()
        async with asyncio.timeout(BOUND):
            await asyncio.gather(k.aclose(), k.aclose())
        assert asyncio.all_tasks() == before
        assert await storage.list_workers() == []
        assert storage._listeners == []

    run_in_virtual_time(main())


async def stubborn(context: OperatorContext, given: Any) -> None:
    while True:
        try:
            await context.step(asyncio.sleep, 3600, effect="read")
        except asyncio.CancelledError:
            await asyncio.sleep(3600)


@pytest.mark.parametrize("drain_timeout", [0.0, 10.0])
def test_closing_takes_no_longer_than_drain_timeout_whatever_a_job_does(drain_timeout: float) -> None:
    async def main() -> None:
        storage = MemoryStorage()
        options = replace(QUICK, drain_timeout=drain_timeout, cancel_timeout=8.0)
        k = kernel(storage, operators=[stubborn], clock=LoopClock(), options=options)
        handle = await k.execute(ExecutionRequest(operator="stubborn"))
        await status_becomes(handle, "running")
        async with asyncio.timeout(max(drain_timeout, 8.0) + 0.5):
            await k.aclose()
        assert await storage.list_workers() == []
        record = await storage.get_job(handle.job_id)
        assert record is not None
        assert record.owner is None

    run_in_virtual_time(main())
