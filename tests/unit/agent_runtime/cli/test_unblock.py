"""`agent-runtime jobs unblock`, on a SQLite file with a job that its code has blocked."""

import asyncio
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from agent_runtime import ExecutionRequest, NondeterminismError, OperatorContext
from agent_runtime.cli.commands.jobs import jobs
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import BOUND, QUICK, kernel, status_becomes

OPTIONS = replace(QUICK, code_version="v1")
FITS = {"now": False}


async def changing(context: OperatorContext, given: object) -> str:
    """Fit the journal from some moment on."""
    if not FITS["now"]:
        raise NondeterminismError("this code does not fit")
    return "done"


async def life(path: Path, job_id: str | None) -> str:
    """Let a process run the job, to where it is blocked or to its end."""
    storage = SQLiteStorage(path)
    async with kernel(storage, operators=[changing], options=OPTIONS) as k:
        if job_id is None:
            handle = await k.execute(ExecutionRequest(operator="changing"))
            await status_becomes(handle, "blocked")
            found = handle.job_id
        else:
            found = (await k.handle(job_id).result(timeout=BOUND, wait_blocked=True)).content
    await storage.aclose()
    return found


def test_a_blocked_job_is_tried_again_by_the_code_that_has_blocked_it(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    job_id = asyncio.run(life(path, None))
    FITS["now"] = True
    shown = CliRunner().invoke(jobs, ["unblock", job_id, "--db", str(path)])
    assert shown.output == f"{job_id} waits for a worker that knows 'changing'\n"
    assert asyncio.run(life(path, job_id)) == "done"
    again = CliRunner().invoke(jobs, ["unblock", job_id, "--db", str(path)])
    assert "not blocked" in str(again.exception)
