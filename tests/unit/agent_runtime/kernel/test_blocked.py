"""Jobs that wait for somebody to mend something: who waits for their result is told."""

import asyncio
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, JobBlocked, JobCancelled, NondeterminismError, OperatorContext
from agent_runtime.storage.memory import MemoryStorage
from support.kernels import BOUND, kernel, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 3)


class Code:
    """An operator that does not fit its journal until a deploy has mended it."""

    name = "code"

    def __init__(self) -> None:
        self.is_mended = False

    async def execute(self, given: Any, context: OperatorContext) -> Any:
        if not self.is_mended:
            raise NondeterminismError("the code has changed")
        return given


async def test_a_result_that_nobody_can_bring_about_is_told_at_once_and_later() -> None:
    code = Code()
    async with kernel(operators=[code]) as k:
        handle = await k.execute(ExecutionRequest(operator="code", input=1))
        for each in (handle, k.handle(handle.job_id)):
            with pytest.raises(JobBlocked, match="the code has changed") as blocked:
                await each.result(timeout=BOUND)
            assert (blocked.value.reason, blocked.value.code) == ("the code has changed", "NONDETERMINISM")
            assert blocked.value.job_id == handle.job_id
        with pytest.raises(JobBlocked):
            await handle.result(timeout=BOUND)
        assert await handle.status() == "blocked"


async def test_who_waits_on_gets_the_result_of_the_mended_job() -> None:
    code = Code()
    async with kernel(operators=[code]) as k:
        handle = await k.execute(ExecutionRequest(operator="code", input=1))
        patient = asyncio.ensure_future(handle.result(timeout=BOUND, wait_blocked=True))
        await status_becomes(handle, "blocked")
        await k.jobs.resume(handle.job_id)  # too early: it is blocked once more
        with pytest.raises(JobBlocked):
            await k.handle(handle.job_id).result(timeout=BOUND)
        code.is_mended = True
        await k.jobs.resume(handle.job_id)
        assert (await handle.result(timeout=BOUND)).output == 1  # it is about to go on, so it is not blocked
        assert (await patient).output == 1


async def test_a_restart_that_mends_a_job_gives_its_result() -> None:
    storage, code = MemoryStorage(), Code()
    async with kernel(storage, operators=[code]) as k:
        handle = await k.execute(ExecutionRequest(operator="code", input=1))
        with pytest.raises(JobBlocked):
            await handle.result(timeout=BOUND)
    code.is_mended = True
    async with kernel(storage, operators=[code]) as k:
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == 1


async def test_another_process_is_told_that_a_job_is_blocked() -> None:
    storage = MemoryStorage()
    async with kernel(storage, worker=False) as client, kernel(storage, operators=[Code()]) as k:
        handle = await k.execute(ExecutionRequest(operator="code"))
        with pytest.raises(JobBlocked, match="the code has changed"):
            await client.handle(handle.job_id).result(timeout=BOUND)


async def test_a_blocked_child_keeps_its_parent_waiting() -> None:
    """The parent is no nearer to failing than the child: both go on when somebody has mended the child."""
    code = Code()

    async def parent(context: OperatorContext, given: Any) -> Any:
        await context.child("code", 2)
        return "both"

    async with kernel(operators=[code, parent]) as k:
        handle = await k.execute(ExecutionRequest(operator="parent"))
        await status_becomes(handle, "waiting")
        (child,) = [job for job in await k.jobs.list() if job.parent_job_id == handle.job_id]
        with pytest.raises(JobBlocked):
            await k.handle(child.job_id).result(timeout=BOUND)
        assert await handle.status() == "waiting"
        code.is_mended = True
        await k.jobs.resume(child.job_id)
        assert (await handle.result(timeout=BOUND)).output == "both"


async def test_a_blocked_job_that_is_cancelled_ends() -> None:
    async with kernel(operators=[Code()]) as k:
        handle = await k.execute(ExecutionRequest(operator="code"))
        await status_becomes(handle, "blocked")
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
