"""Which process tries a blocked job again: by the operators it lists, the version of its code, and how often it was tried."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from agent_runtime import (
    ExecutionRequest,
    InvalidTransition,
    JobCancelled,
    NondeterminismError,
    OperatorContext,
    RuntimeKernel,
)
from agent_runtime.execution.abilities import Abilities
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.examples import NOW, job
from support.kernels import BOUND, QUICK, kernel, status_becomes, types, until

pytestmark = pytest.mark.timeout(BOUND * 3)


def release(number: int, tries: list[int]) -> Any:
    """Return an operator whose first release does not fit any journal."""

    async def changing(context: OperatorContext, given: object) -> int:
        tries.append(number)
        if number == 1:
            raise NondeterminismError("this release does not fit")
        return number

    return changing


def deployed(storage: MemoryStorage, operator: Any, version: str | None) -> RuntimeKernel:
    return kernel(storage, operators=[operator], options=replace(QUICK, code_version=version))


async def blocked(storage: MemoryStorage, version: str | None, tries: list[int]) -> str:
    """Return a job that the first release has blocked."""
    async with deployed(storage, release(1, tries), version) as k:
        handle = await k.execute(ExecutionRequest(operator="changing"))
        await status_becomes(handle, "blocked")
        return handle.job_id


async def several_sweeps(k: RuntimeKernel) -> None:
    """Let the kernel look for what it can run a few times."""
    for _ in range(3):
        await k._worker._keep_executing()
        await k._changes.sweep()
        await asyncio.sleep(0)


async def test_a_version_that_has_blocked_a_job_leaves_it_alone_and_another_tries_it() -> None:
    storage, tries = MemoryStorage(), list[int]()
    job_id = await blocked(storage, "2026-11-01", tries)
    async with deployed(storage, release(1, tries), "2026-11-01") as k:
        await several_sweeps(k)
        assert await k.handle(job_id).status() == "blocked"
    assert tries == [1]
    async with deployed(storage, release(2, tries), "2026-11-02") as k:
        assert (await k.handle(job_id).result(timeout=BOUND, wait_blocked=True)).output == 2


async def test_without_a_version_every_start_is_a_new_one() -> None:
    storage, tries = MemoryStorage(), list[int]()
    job_id = await blocked(storage, None, tries)
    async with deployed(storage, release(1, tries), None) as k:

        async def tried_again() -> bool:
            return tries == [1, 1] and await k.handle(job_id).status() == "blocked"

        await until(tried_again)
        await several_sweeps(k)
        assert tries == [1, 1]


def test_without_a_version_tries_become_rarer() -> None:
    record, waits = job(), []
    for number in range(30):
        process = Abilities(operators=tuple, code_version=None, process=f"process-{number}")
        change = process.blocking(record, "why", NondeterminismError.code, NOW)
        assert change.failed_versions is not None
        assert change.retry_at is not None
        record = replace(record, failed_versions=change.failed_versions)
        waits.append((change.retry_at - NOW).total_seconds())
    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] == 3600


async def test_what_a_deploy_of_the_same_version_may_mend_is_tried_by_each_process() -> None:
    """A key, a package or a policy that is missing has nothing to do with the version of the code."""
    now = datetime.now(UTC)
    process = Abilities(operators=tuple, code_version="v1", process="p1")
    change = process.blocking(job(), "why", "MISSING_DEPENDENCY", now)
    assert change.failed_versions == ("p1",)
    change = process.blocking(job(), "why", NondeterminismError.code, now)
    assert (change.failed_versions, change.retry_at) == (("v1",), None)


async def test_a_person_unblocks_a_job_for_the_version_that_has_blocked_it() -> None:
    storage, tries = MemoryStorage(), list[int]()
    job_id = await blocked(storage, "v1", tries)
    async with deployed(storage, release(2, tries), "v1") as k:
        await several_sweeps(k)
        assert await k.handle(job_id).status() == "blocked"
        handle = await k.unblock(job_id)
        assert (await handle.result(timeout=BOUND, wait_blocked=True)).output == 2
        with pytest.raises(InvalidTransition, match="not blocked"):
            await k.unblock(job_id)


async def test_all_blocked_jobs_are_freed_when_somebody_comes_who_knows_their_operator() -> None:
    """More than one page of them, and without a new start: the operator is added to a process that lives."""
    storage, tries, number = MemoryStorage(), list[int](), 1200

    async def other(context: OperatorContext, given: object) -> None:
        """Nothing to do."""

    async with kernel(storage, operators=[release(2, tries)], worker=False) as k:
        handles = [await k.execute(ExecutionRequest(operator="changing")) for _ in range(number)]
    async with kernel(storage, operators=[other]) as k:
        for handle in handles:
            await status_becomes(k.handle(handle.job_id), "blocked")
        assert (await k.handle(handles[0].job_id).job()).error_code == "OPERATOR_NOT_FOUND"
        k.operators.add(release(2, tries))
        for handle in handles:
            await k.handle(handle.job_id).result(timeout=BOUND, wait_blocked=True)
    assert len(tries) == number


async def test_a_job_that_nobody_knows_is_ended_when_it_is_cancelled() -> None:
    storage, tries = MemoryStorage(), list[int]()
    async with kernel(storage, operators=[release(2, tries)], worker=False) as k:
        handle = await k.execute(ExecutionRequest(operator="changing"))
    async with kernel(storage) as k:
        ours = k.handle(handle.job_id)
        await ours.cancel()
        with pytest.raises(JobCancelled):
            await ours.result(timeout=BOUND)
        assert "job.blocked" not in await types(ours)
    assert not tries


async def test_a_job_is_not_blocked_before_its_operator_was_missed_for_a_while() -> None:
    storage, tries = MemoryStorage(), list[int]()
    async with kernel(storage, operators=[release(2, tries)], worker=False) as k:
        handle = await k.execute(ExecutionRequest(operator="changing"))
    async with kernel(storage, options=replace(QUICK, unlisted_after=3600.0)) as k:
        await several_sweeps(k)
        assert await k.handle(handle.job_id).status() == "queued"
