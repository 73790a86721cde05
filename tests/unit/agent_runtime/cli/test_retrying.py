"""`agent-runtime jobs retry`, on a SQLite file with a job that failed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agent_runtime import ExecutionRequest, InvalidInput, JobFailed, JobFilter, OperatorContext
from agent_runtime.cli.commands.jobs import jobs
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import kernel


async def failing(context: OperatorContext, given: Any) -> Any:
    return await context.step(int, "no number", effect="read")


@pytest.fixture
def failed(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "runs.db"

    async def fill() -> str:
        storage = SQLiteStorage(path)
        async with kernel(storage, operators=[failing]) as k:
            handle = await k.execute(ExecutionRequest(operator="failing"))
            with pytest.raises(JobFailed):
                await handle.result()
        await storage.aclose()
        return handle.job_id

    return path, asyncio.run(fill())


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(jobs, [str(one) for one in arguments], catch_exceptions=True)


def test_a_failed_job_is_retried_once_whoever_asks(failed: tuple[Path, str]) -> None:
    path, job_id = failed
    first = run("retry", job_id, "--db", path)
    assert first.exit_code == 0
    assert f"goes on in the place of {job_id}" in first.output
    assert run("retry", job_id, "--db", path).output == first.output

    async def links() -> list[Any]:
        storage = SQLiteStorage(path)
        async with kernel(storage, worker=False) as k:
            found = await k.jobs.list(JobFilter(chain_id=job_id))
        await storage.aclose()
        return [job.status for job in found]

    assert asyncio.run(links()) == ["queued", "failed"]


def test_a_step_that_is_not_there_is_named(failed: tuple[Path, str]) -> None:
    path, job_id = failed
    refused = run("retry", job_id, "--from-step", "nothing", "--db", path)
    assert isinstance(refused.exception, InvalidInput)
    assert "'nothing' names no step" in str(refused.exception)
