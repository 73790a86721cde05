"""Processes that keep the logs up are killed in the middle of it: the rows are those of the journals, and add up."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from agent_runtime import ExecutionRequest, RuntimeKernel, open_storage
from agent_runtime.observability import JournalLogs, LogStore, update_logs
from support.kernels import BOUND
from support.logs import everything, recounted, sums
from support.projecting import workers
from support.projecting_child import LOGS, OPTIONS, ask

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 6)]
JOBS, DEATHS = 12, 4


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path / 'runs.db'}"


async def test_rows_that_killed_processes_wrote_are_those_of_the_journals(address: str) -> None:
    chance = random.Random(11)
    count = 1 if address.startswith("sqlite") else 2
    storage = open_storage(address)
    await storage.open()
    async with RuntimeKernel(
        storage=storage, operators=[ask], options=OPTIONS, dispatch="local", worker=False
    ) as k:
        handles = [await k.execute(ExecutionRequest(operator="ask", input=3)) for _ in range(JOBS)]
        for _ in range(DEATHS):
            async with workers(address, Path(LOGS), count):
                await asyncio.sleep(chance.uniform(0.1, 0.6))
        async with workers(address, Path(LOGS), count):
            for handle in handles:
                await k.wait_for_end(handle.job_id)
    logs = LogStore(storage)
    assert await update_logs(storage) == 0
    assert await logs.count_executions(execution_step="run", status="completed") == JOBS
    assert await sums(logs) == await recounted(logs)

    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    anew = LogStore(engine)
    await anew.create_tables()
    await JournalLogs(storage, engine).project(
        await storage.feed(after=0, upto=await storage.feed_end(), limit=10_000)
    )
    assert await everything(anew) == await everything(logs)
    assert await sums(anew) == await sums(logs)
    for store in (anew, logs):
        await store.aclose()
    engine.dispose()
    await storage.aclose()


def test_processes_that_are_forked_log_as_their_parent_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "support.forked_logger", str(tmp_path / "logs.db")],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=BOUND * 4,
        check=False,
    )
    assert done.stdout.strip() == "['after', 'before', 'child 0', 'child 1', 'child 2']", done.stderr
