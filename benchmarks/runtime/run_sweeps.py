"""How long a sweep and a submission take while many jobs wait: `python benchmarks/runtime/run_sweeps.py [--queued N] [--record]`.

Jobs of one scope, of a hundred and of ten thousand wait in memory, in SQLite and in Postgres. What is shown is the median and
the longest of several sweeps, with and without caps. In memory the event loop stands still as long; SQLite reads in a
thread, Postgres in the server.
"""

import argparse
import asyncio
import contextlib
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from postgres_server import ROOT, BenchServer, bench_server

PAGE = ROOT / "docs/benchmarks/sweeps.md"
SCOPES = (1, 100, 10_000)
TIMES = 7
BATCH = 2000
STORAGES = ("memory", "sqlite", "postgres")
INTRODUCTION = f"""# Sweeps

What a worker's sweep costs while {{queued:,}} jobs wait, and what a submission does. Written by `{{command}}` on {{machine}}. Each number is
the median of {TIMES}, and the longest in brackets, in milliseconds. In memory the event loop stands still for as long; SQLite
reads in a thread, Postgres in the server.

| | scopes | due jobs | due jobs under caps | jobs nobody lists | the shared queue's sweep |
|---|---|---|---|---|---|
"""
SUBMISSIONS = """
## Submissions

One submission to a scope, alone: without bounds, under the default `max_queued_per_scope` of 100,000, which is counted
outside of the commit and seldom, and under `max_queued`, which is counted in the commit, as the former was at first.

| | waiting | no bound | `max_queued_per_scope` | `max_queued` |
|---|---|---|---|---|
"""
WAITING = (0, 90_000)

CLOSING = """
Wanted are 50 ms. Before due jobs were looked for scope by scope, memory took 370 ms for one scope and 300 ms for a hundred, 487 and 1,119 ms
under caps, and 670 ms for the jobs that nobody lists; SQLite took 1.5 s and more under caps, Postgres up to 0.7 s. (Measured on two cores that
others used at the same time.)

Before they were looked for by operator and queue, the jobs that nobody lists took SQLite 0.5 to 1.4 s, and Postgres 0.1 s.

The sweep of the shared queue is what a worker does that finds an entry for each job: it asks for the due jobs, looks whether these and the next
2,000 have entries, moves up the first, and asks which queues it does not hear. Before, it looked at all that wait.
"""


async def fill(storage: Any, queued: int, scopes: int) -> None:
    """Store jobs that wait for a worker."""
    from agent_runtime.ports.commit import NewEvent
    from agent_runtime.ports.workers import WorkerRecord
    from agent_runtime.testing.examples import commit, job

    for first in range(0, queued, BATCH):
        made = [
            job(
                scope_id=f"scope-{number % scopes}",
                created_at=storage.clock.now(),
                updated_at=storage.clock.now(),
            )
            for number in range(first, min(queued, first + BATCH))
        ]
        await storage.commit(commit(create=[(one, [NewEvent("job.created")]) for one in made]))
    now = storage.clock.now()
    await storage.register_worker(
        WorkerRecord(worker_id="w", queues=(), operators=("op",), started_at=now, heartbeat_at=now)
    )


async def op(context: object, given: object) -> None:
    """Do nothing."""


async def milliseconds(call: Callable[[], Awaitable[object]], times: int = TIMES) -> str:
    """Return the median and the longest time of a call."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(took):.1f} ({max(took):.1f})"


async def measure(storage: Any, scopes: int) -> list[str]:
    """Return the columns of one line."""
    from agent_runtime.values.ability import Ability
    from agent_runtime.values.capacity import ScopeCaps

    able, caps = (
        Ability(operators=frozenset({"op"}), versions=("v1",)),
        ScopeCaps(default=2, scopes={"scope-0": 5}),
    )
    return [
        await milliseconds(lambda: storage.due_jobs(ability=able)),
        await milliseconds(lambda: storage.due_jobs(ability=able, caps=caps)),
        await milliseconds(lambda: storage.unlisted_jobs(0.0, at=storage.clock.now())),
    ]


ENTRIES = """
INSERT INTO procrastinate_jobs (queue_name, task_name, priority, queueing_lock, args, status)
SELECT 'q', 'agent_runtime.advance', 0, job_id, '{}', 'todo' FROM runtime_jobs
"""


async def measure_queue(storage: Any, dsn: str | None) -> str:
    """Return how long a sweep of the shared queue takes when each job has an entry."""
    if dsn is None:
        return "–"
    from agent_runtime.adapters.procrastinate import PostgresDispatcher

    await executed(dsn, ENTRIES, "ANALYZE")
    queue = PostgresDispatcher(dsn)
    await queue.open()

    async def sweep() -> None:
        await queue.sweep([due.job_id for due in await storage.due_jobs()])

    try:
        await sweep()  # moves up what has come without a turn
        return await milliseconds(sweep)
    finally:
        await queue.stop(drain=0.0)


async def measure_submissions(storage: Any) -> list[str]:
    """Return the columns of one line of the second table."""
    from agent_runtime import ExecutionRequest, KernelOptions, RuntimeKernel

    columns = []
    bounds = ({"max_queued_per_scope": None}, {}, {"max_queued_per_scope": None, "max_queued": 100_000})
    for bound in bounds:
        options = KernelOptions(**bound)
        async with RuntimeKernel(
            storage=storage, operators={"op": op}, worker=False, options=options
        ) as kernel:
            submit = partial(kernel.execute, ExecutionRequest(operator="op", scope_id="scope-0"))
            columns.append(await milliseconds(submit, times=10 * TIMES))
    return columns


@asynccontextmanager
async def opened(kind: str, folder: Path, server: BenchServer) -> AsyncIterator[tuple[Any, str | None]]:
    """Open a new storage."""
    from agent_runtime.storage.memory import MemoryStorage
    from agent_runtime.storage.postgres import PostgresStorage
    from agent_runtime.storage.sqlite import SQLiteStorage

    with server.database() if kind == "postgres" else contextlib.nullcontext({}) as database:
        dsn = database.get("DATABASE_URL")
        storage: Any = (
            PostgresStorage(dsn)
            if dsn
            else MemoryStorage()
            if kind == "memory"
            else SQLiteStorage(folder / "runs.db")
        )
        if dsn:
            await storage.setup()
        await storage.open()
        try:
            yield storage, dsn
        finally:
            await storage.aclose()


async def lines(queued: int, kinds: list[str], server: BenchServer) -> AsyncIterator[str]:
    """Yield the lines of the table."""
    for kind in kinds:
        for scopes in SCOPES:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                async with opened(kind, Path(folder), server) as (storage, dsn):
                    await fill(storage, queued, scopes)
                    await analyze(dsn)
                    columns = [*await measure(storage, scopes), await measure_queue(storage, dsn)]
                    yield " | ".join(("", kind, f"{scopes:,}", *columns, "")).strip()


async def submission_lines(kinds: list[str], server: BenchServer) -> AsyncIterator[str]:
    """Yield the lines of the second table."""
    for kind in kinds:
        for waiting in WAITING:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                async with opened(kind, Path(folder), server) as (storage, dsn):
                    await fill(storage, waiting, 1)
                    await analyze(dsn)
                    columns = await measure_submissions(storage)
                    yield " | ".join(("", kind, f"{waiting:,}", *columns, "")).strip()


async def analyze(dsn: str | None) -> None:
    """Have Postgres look at its tables, as it does by itself some time after they have been filled."""
    if dsn:
        await executed(dsn, "ANALYZE")


async def executed(dsn: str, *statements: str) -> None:
    """Execute statements."""
    import asyncpg

    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def main() -> None:
    """Measure, show, and write the page when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--storage", action="append", choices=STORAGES)
    parser.add_argument("--record", action="store_true", help="write docs/benchmarks/sweeps.md")
    arguments = parser.parse_args()
    page = INTRODUCTION.format(
        queued=arguments.queued,
        command="benchmarks/runtime/run_sweeps.py --record",
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    )
    kinds = arguments.storage or list(STORAGES)
    with bench_server() as server:
        for title, found in (
            ("", lines(arguments.queued, kinds, server)),
            (SUBMISSIONS, submission_lines(kinds, server)),
        ):
            page += title
            async for line in found:
                print(line, flush=True)
                page += line + "\n"
    if arguments.record:
        PAGE.write_text(page + CLOSING)


if __name__ == "__main__":
    asyncio.run(main())
