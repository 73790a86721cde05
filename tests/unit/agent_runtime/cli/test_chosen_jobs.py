"""A command executes the job it was asked for, and no other."""

from pathlib import Path

from agent_runtime import ExecutionRequest, OperatorContext, RuntimeKernel
from agent_runtime.cli.chosen_jobs import ChosenJobs
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.worker.standing import standing
from support.kernels import kernel


async def echo(context: OperatorContext, given: str) -> str:
    return given


def chosen(path: Path, dispatcher: ChosenJobs, *, worker: bool = True) -> RuntimeKernel:
    return kernel(f"sqlite:///{path}", operators=[echo], dispatcher=dispatcher, worker=worker)


async def test_what_was_not_chosen_stays_queued(tmp_path: Path) -> None:
    dispatcher = ChosenJobs()
    async with chosen(tmp_path / "runs.db", dispatcher) as k:
        other = await k.execute(ExecutionRequest(operator="echo", input="other"))
        mine = await k.execute(ExecutionRequest(operator="echo", input="mine"))
        dispatcher.choose(mine.job_id)

        assert (await mine.result()).content == "mine"
        assert await other.status() == "queued"


async def test_a_job_may_be_chosen_before_this_process_executes(tmp_path: Path) -> None:
    async with chosen(tmp_path / "runs.db", ChosenJobs(), worker=False) as k:
        handle = await k.execute(ExecutionRequest(operator="echo", input="early"))
    dispatcher = ChosenJobs()
    dispatcher.choose(handle.job_id)

    async with chosen(tmp_path / "runs.db", dispatcher) as k:
        assert (await k.handle(handle.job_id).result()).content == "early"


async def test_a_job_that_runs_on_paper_only_is_interrupted() -> None:
    async with kernel(operators=[echo]) as k:
        handle = await k.execute(ExecutionRequest(operator="echo", input="x"))
        await handle.result()
        ended = await handle.job()
        (worker,) = await k.storage.list_workers()

    from dataclasses import replace

    from agent_runtime import JobStatus

    running = replace(ended, status=JobStatus.RUNNING, owner=worker.worker_id)
    dead = replace(worker, info={**worker.info, "pid": 2**22 + 1})
    elsewhere: WorkerRecord = replace(dead, info={**dead.info, "host": "another machine"})
    assert standing(ended, []) == "succeeded"
    assert standing(running, [worker]) == "running"
    assert standing(running, [elsewhere]) == "running"
    assert standing(running, [dead]) == standing(running, []) == "interrupted"
    assert standing(replace(running, owner=None), [worker]) == "interrupted"
