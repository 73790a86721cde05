"""A job whose lines fail, expire, race and are left, crashed before and after each of its commits.

`test_crash_points.py` does so with every kind of step; here it is what ends steps without an outcome of their own.
"""

import asyncio
from pathlib import Path

import pytest

from agent_runtime import ExecutionHandle, ExecutionRequest, JobFilter, RuntimeKernel
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.faults import DyingStorage, Moment, bury, nth_commit
from support.kernels import BOUND, DOOMED, kernel, opened, until
from support.woven_job import RESULT, Woven

pytestmark = pytest.mark.timeout(BOUND * 3)

COMMITS = 32
"""Least commits of the whole job with its children; a few more depend on who is faster."""


async def check_end(k: RuntimeKernel, handle: ExecutionHandle, woven: Woven) -> None:
    """The result is an undisturbed run's, nothing is left behind, and nothing has happened that must not."""
    assert (await handle.result(timeout=BOUND)).output == RESULT

    async def all_ended() -> bool:
        return all(job.status.is_terminal for job in await k.jobs.list(JobFilter(limit=100)))

    await until(all_ended)
    assert await k.actions.list_pending() == []
    assert "ship" not in woven.done
    assert woven.done.index("refund") < woven.done.index("before the bound") < woven.done.index("seal")
    repeated = {what for what in woven.done if woven.done.count(what) > 1}
    assert len(repeated) <= 2  # what was in flight in both lines when the process died, under the same keys


async def life(storage: Storage, woven: Woven, job_id: str | None = None) -> None:
    """Run a kernel until the job has ended, as a restarted process would."""
    async with kernel(storage, operators=woven.operators) as k:
        handle = k.handle(job_id) if job_id else await k.execute(ExecutionRequest(operator="woven"))
        await check_end(k, handle, woven)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_job_without_a_crash(kind: str, tmp_path: Path) -> None:
    commits = 0

    def count(commit: object) -> bool:
        nonlocal commits
        commits += 1
        return False

    async with opened(kind, tmp_path) as storage:
        woven = Woven()
        await life(DyingStorage(storage, count), woven)
        assert {what for what in woven.done if woven.done.count(what) > 1} == set()
    assert COMMITS <= commits <= COMMITS + 20


@pytest.mark.parametrize("number", range(2, COMMITS + 1))
@pytest.mark.parametrize(("kind", "parity"), [("memory", 0), ("sqlite", 1)])
async def test_a_crash_at_any_commit_changes_nothing(
    kind: str, parity: int, number: int, tmp_path: Path
) -> None:
    """Before the commit on one storage and after it on the other, and the other way round for the next."""
    moment: Moment = "before" if number % 2 == parity else "after"
    async with opened(kind, tmp_path) as storage:
        woven, dying = Woven(), DyingStorage(storage, nth_commit(number), moment=moment)
        doomed = kernel(dying, operators=woven.operators, options=DOOMED)
        handle = await doomed.execute(ExecutionRequest(operator="woven"))
        async with asyncio.timeout(BOUND):
            await dying.died.wait()
        await bury(doomed, dying, storage)
        await life(storage, woven, handle.job_id)
