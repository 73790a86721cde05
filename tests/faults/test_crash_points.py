"""A job of every kind of step, crashed before and after each of its commits, on every storage.

The process is simulated: its storage dies, so nothing more is written, and a new kernel finds what was. The real
SIGKILL is in `test_sigkill.py`; here every boundary is reached, exactly and quickly.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import BudgetSpec, ExecutionHandle, ExecutionRequest
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.faults import DyingStorage, Moment, bury, nth_commit
from agent_runtime.values.deaths import SUSPECT_AFTER
from support import mixed_job
from support.answers import answer_questions, check_promises
from support.kernels import BOUND, DOOMED, kernel, opened, status_becomes
from support.traces import Shape, shape_of

COMMITS = 37
"""Most commits of the whole job, those of answers and timers included; a few depend on who is faster."""
LEAST_COMMITS = 22


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "effects"
    monkeypatch.setenv(mixed_job.EFFECTS, str(path))
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Shape:
    """What a job to which nothing happens tells OpenTelemetry."""

    async def run(world: Path) -> Shape:
        async with opened("memory", world.parent) as storage:
            await life(storage, world, None)
            return await shape_of(storage)

    with pytest.MonkeyPatch.context() as patch:
        world = tmp_path_factory.mktemp("undisturbed") / "effects"
        patch.setenv(mixed_job.EFFECTS, str(world))
        return asyncio.run(run(world))


def request() -> ExecutionRequest:
    return ExecutionRequest(operator="mixed", budgets=BudgetSpec(max_cost=1_000_000))


async def life(storage: Storage, world: Path, job_id: str | None) -> ExecutionHandle:
    """Run a kernel until the job has ended, as a restarted process would."""
    async with kernel(storage, operators=mixed_job.OPERATORS) as k:
        handle = k.handle(job_id) if job_id is not None else await k.execute(request())
        async with asyncio.timeout(BOUND):
            await answer_questions(handle, world)
        await check_promises(handle, world, k)
        return handle


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_job_without_a_crash(kind: str, tmp_path: Path, world: Path) -> None:
    commits = 0

    def count(commit: object) -> bool:
        nonlocal commits
        commits += 1
        return False

    async with opened(kind, tmp_path) as storage:
        await life(DyingStorage(storage, count), world, None)
    assert LEAST_COMMITS <= commits <= COMMITS


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(2, COMMITS + 1))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_crash_at_any_commit_loses_nothing_and_repeats_nothing(
    kind: str, number: int, moment: Moment, tmp_path: Path, world: Path, undisturbed: Shape
) -> None:
    async with opened(kind, tmp_path) as storage:
        dying = DyingStorage(storage, nth_commit(number), moment=moment)
        doomed = kernel(dying, operators=mixed_job.OPERATORS, options=DOOMED)
        handle = await doomed.execute(request())
        answering = asyncio.ensure_future(answer_questions(handle, world))
        death = asyncio.ensure_future(dying.died.wait())
        await asyncio.wait((answering, death), timeout=BOUND, return_when=asyncio.FIRST_COMPLETED)
        assert death.done() or number > LEAST_COMMITS
        for task in (answering, death):
            task.cancel()
        await asyncio.gather(answering, death, return_exceptions=True)
        await bury(doomed, dying, storage)
        await life(storage, world, handle.job_id)
        assert await shape_of(storage) == undisturbed


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_job_that_crashes_at_every_start_is_given_up(kind: str, tmp_path: Path, world: Path) -> None:
    async with opened(kind, tmp_path) as storage:
        job_id = None
        for _ in range(SUSPECT_AFTER + DOOMED.max_crashes):
            dying = DyingStorage(
                storage, lambda commit: any(e.type == "step.started" for e in commit.events), moment="before"
            )
            doomed = kernel(dying, operators=[crashing], options=DOOMED)
            if job_id is None:
                job_id = (await doomed.execute(ExecutionRequest(operator="crashing"))).job_id
            else:
                await doomed.start()
            async with asyncio.timeout(BOUND):
                await dying.died.wait()
            await bury(doomed, dying, storage)
        async with kernel(storage, operators=[crashing]) as k:
            handle = k.handle(job_id or "")
            await status_becomes(handle, "blocked")
            assert (await handle.job()).error_code == "CRASH_LOOP"
            await k.jobs.resume(handle.job_id)
            await handle.result(timeout=BOUND)


async def crashing(context: Any, given: object) -> None:
    await context.step(mixed_job.seal, "x")
