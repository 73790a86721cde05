"""phoenix #13906: deleting what was too old ran out of memory when it was 10.5 million rows.

Here the journals and logs of many jobs, which take many times what a process may grow by, are let go by `prune` in a process of its own,
first their content and then the jobs, while another process goes on executing jobs on the same database.
"""

import asyncio
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest
from sqlalchemy import Column, Connection, Engine, MetaData, Table, create_engine, func, select
from sqlalchemy.engine import make_url

from agent_runtime import ExecutionRequest, OperatorContext, RuntimeKernel
from agent_runtime.observability import JournalLogs, update_logs
from support.agents import scripted
from support.kernels import BOUND, kernel, opened

pytestmark = pytest.mark.timeout(BOUND * 6)

JOBS = 80
STEPS = 25
TEXT = "0123456789abcdef" * 4096
"""Of each step: together some 130 MB, and half as much in the logs."""
GROWTH = 64 * 1024
"""Kilobytes that retention may take more than a process that finds nothing to do."""
AGE = timedelta(days=60)
PRUNE = """
from pathlib import Path
from agent_runtime.cli.entry import main
assert main() == 0
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""
"""What `wait` says of the memory of a child counts what its parent had when it was forked."""


class Talker:
    """An operator whose journal and logs are long."""

    name = "talker"

    def __init__(self) -> None:
        self.agent, _ = scripted(TEXT)

    async def execute(self, given: Any, context: OperatorContext) -> str:
        del given
        for number in range(STEPS):
            await context.step(str, TEXT, key=f"step-{number}")
        return (await self.agent.run("Talk.")).content


async def short(context: OperatorContext, given: int) -> int:
    return await context.step(abs, given)


def engine_of(where: str, folder: Path) -> Engine:
    if where == "sqlite":
        return create_engine(f"sqlite:///{folder / 'runs.db'}")
    return create_engine(make_url(where).set(drivername="postgresql+psycopg"))


def aged(value: Any) -> Any:
    """Return a moment of long ago, as the column has it."""
    if isinstance(value, datetime):
        return value - AGE
    return value - AGE // timedelta(microseconds=1)


def multiply(connection: Connection, job_id: str) -> None:
    """Write the rows of a job again for many others, which ended long ago."""
    meta = MetaData()
    meta.reflect(connection)
    tables = [
        meta.tables[name] for name in ("runtime_jobs", "runtime_events", "execution_logs", "llm_call_logs")
    ]
    rows = {
        table: [dict(row) for row in connection.execute(_of(table, job_id)).mappings()] for table in tables
    }
    for number in range(JOBS):
        name = f"{job_id}-{number}"
        for table, templates in rows.items():
            if table.name.endswith("_logs") and number % 2:
                continue
            copies = [_copy(table, row, job_id, name, place) for place, row in enumerate(templates)]
            connection.execute(table.insert(), copies)


def _of(table: Table, job_id: str) -> Any:
    column: Column[Any] = table.c.execution_id if table.name == "execution_logs" else table.c.job_id
    return select(table).where(column == job_id)


def _copy(table: Table, row: dict[str, Any], job_id: str, name: str, place: int) -> dict[str, Any]:
    copy = {
        key: value.replace(job_id, name) if isinstance(value, str) else value
        for key, value in row.items()
        if table.c[key].computed is None
    }
    if table.name == "runtime_events":
        del copy["id"]
        copy["commit_id"] = f"{name}-{place}"
    elif table.name.endswith("_logs"):
        copy["id"] = str(uuid5(NAMESPACE_OID, f"{name}-{table.name}-{place}"))
    for moment in ("completed_at", "start_time"):
        if copy.get(moment) is not None:
            copy[moment] = aged(copy[moment])
    return copy


def counted(engine: Engine, table: str, column: str) -> int:
    meta = MetaData()
    with engine.connect() as connection:
        meta.reflect(connection, only=[table])
        query = (
            select(func.count())
            .select_from(meta.tables[table])
            .where(meta.tables[table].c[column].is_not(None))
        )
        return int(connection.execute(query).scalar_one())


async def pruned(url: str, *arguments: str) -> int:
    """Run `prune`; return the most memory that it has taken, in kilobytes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PRUNE, "prune", "--db", url, *arguments, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return int(said.split()[-2])


async def executing(k: RuntimeKernel, until: asyncio.Future[Any]) -> int:
    """Execute jobs one after the other until something is done; return how many have ended well."""
    done = 0
    while not until.done():
        handle = await k.execute(ExecutionRequest(operator="short", input=-done))
        assert (await handle.result()).output == done
        done += 1
    return done


async def retention(where: str, url: str, folder: Path) -> None:
    """Let everything go that is old, while jobs are executed."""
    async with opened(where, folder) as storage:
        async with kernel(storage, operators={"talker": Talker(), "short": short}) as k:
            handle = await k.execute(ExecutionRequest(operator="talker"))
            await handle.result()
            logs = JournalLogs(storage)
            await update_logs(storage, logs)
            await logs.aclose()
            await storage.drop_cursor(logs.name)  # the rows below stand in no journal
            engine = engine_of(where, folder)
            with engine.begin() as connection:
                multiply(connection, handle.job_id)
            assert counted(engine, "runtime_events", "content") >= JOBS * STEPS
            usual = await pruned(url, "--ledger-older-than", "3000d")

            taken = {}
            for option in ("--content-older-than", "--older-than"):
                pruning = asyncio.ensure_future(pruned(url, option, "30d"))
                assert await executing(k, pruning) >= 3
                taken[option] = pruning.result() - usual
        assert max(taken.values()) <= GROWTH, taken
        assert [await storage.get_job(f"{handle.job_id}-{number}") for number in range(JOBS)] == [None] * JOBS
        assert await storage.get_job(handle.job_id) is not None
        assert counted(engine, "llm_call_logs", "id") > JOBS // 2
        assert counted(engine, "llm_call_logs", "response") == 1
        engine.dispose()


async def test_retention_of_many_rows_takes_little_memory_and_lets_others_write(tmp_path: Path) -> None:
    await retention("sqlite", str(tmp_path / "runs.db"), tmp_path)


async def test_so_it_does_on_postgres(database: str, tmp_path: Path) -> None:
    await retention(database, database, tmp_path)
