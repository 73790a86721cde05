"""A real process, really killed with SIGKILL, at every journal boundary of every kind of step."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from agent_runtime.storage.sqlite import SQLiteStorage
from support import mixed_job
from support.answers import check_promises
from support.crash_matrix import BEGIN, END, MOMENTS, PAGE, observe, published, render, settle
from support.kernels import kernel
from support.mixed_child import KILL_COMMIT

pytestmark = pytest.mark.fault
TESTS = Path(__file__).parent.parent


def run_child(database: Path, world: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the job in a process of its own, until it ends or is killed."""
    return subprocess.run(
        [sys.executable, "-m", "support.mixed_child", str(database)],
        env={**os.environ, "PYTHONPATH": str(TESTS), mixed_job.EFFECTS: str(world), **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_kill_loses_nothing_and_repeats_nothing(moment: str, tmp_path: Path) -> None:
    database, world = tmp_path / "runs.db", tmp_path / "effects"
    around_commit = "." in moment
    variable = KILL_COMMIT if around_commit else mixed_job.KILL_AT
    killed = await asyncio.to_thread(run_child, database, world, **{variable: moment})
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = await asyncio.to_thread(run_child, database, world)
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert told["output"] == mixed_job.RESULT
    async with kernel(SQLiteStorage(database), operators=mixed_job.OPERATORS) as k:
        handle = k.handle(told["job_id"])
        await check_promises(handle, world, k)
        settle("SQLite", moment, await observe(moment, handle, k, world))
        await k.storage.aclose()
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM runtime_jobs").fetchone() == (3,)
    connection.close()


def test_the_published_matrix_is_as_the_run_writes_it() -> None:
    """What its cells say is compared where it is seen; here, that no row, column or word was changed by hand."""
    table = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert table == f"\n{render(published())}\n"
