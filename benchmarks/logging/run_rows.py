"""Measure the rows of executions and model calls: what logging one costs its caller, how fast rows are written and made from journals, and
how long it takes to read what a million calls add up to; on SQLite and on a Postgres server of its own. Print it, or record it.
"""

import argparse
import asyncio
import os
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks" / "runtime"))

from postgres_server import bench_server  # noqa: E402
from sqlalchemy import create_engine, event  # noqa: E402

from agent_runtime import ExecutionRequest, RuntimeKernel, open_storage  # noqa: E402
from agent_runtime.observability import JournalLogs, LLMCallLogger, LogStore  # noqa: E402
from agent_runtime.observability.sql.database import database_of  # noqa: E402
from agent_runtime.observability.sql.ids import new_row  # noqa: E402
from agent_runtime.observability.sql.tables import llm_call_logs  # noqa: E402
from agent_runtime.observability.sql.writing import Change  # noqa: E402
from agent_runtime.storage.migrate import migrate_postgres  # noqa: E402
from llm_client import Agent, FunctionProvider, RequestSpec, ToolCall, Usage, tool  # noqa: E402

RECORD = ROOT / "docs" / "benchmarks" / "rows.md"
CALLS = 1_000_000
BATCH = 200
LOGGED = 500
JOBS = 500
LINE = "The planner looks at order 17 of 2026-11-21, which costs 12.50, and asks for the next step.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What was measured on one database."""

    caller: tuple[float, float]
    """Milliseconds that a call's beginning and end take from their caller: the median, and the 99th percentile."""
    beside: float
    """The same for each of a hundred callers at once, divided by their number."""
    written: float
    """Rows a second."""
    projected: float
    """Entries of journals a second."""
    reads: dict[str, float]
    """Milliseconds, the median of five."""
    memory: float
    """Megabytes that the process has grown by while the rows were written, read and deleted."""
    deleted: float
    """Rows a second."""


@tool(effect="idempotent")
async def count(number: int) -> int:
    """Count on."""
    return number + 1


def answer(spec: RequestSpec) -> str | ToolCall:
    counted = sum(message.role == "tool" for message in spec.messages)
    return LINE * 10 if counted == 2 else ToolCall(f"c{counted}", "count", {"number": counted})


async def caller(storage: Any) -> tuple[tuple[float, float], float]:
    """Return what one call takes from its caller, alone and with others."""
    logger = LLMCallLogger(storage)

    async def one() -> None:
        async with logger.log_llm_call("openai", "gpt-5.2", LINE * 40) as call:
            call.response = LINE * 40
            call.usage = Usage(input_tokens=900, output_tokens=900, requests=1)

    await one()
    times = []
    for _ in range(LOGGED):
        began = time.perf_counter()
        await one()
        times.append((time.perf_counter() - began) * 1e3)
    began = time.perf_counter()
    for _ in range(LOGGED // 100):
        await asyncio.gather(*(one() for _ in range(100)))
    beside = (time.perf_counter() - began) * 1e3 / LOGGED
    return (statistics.median(times), sorted(times)[int(LOGGED * 0.99)]), beside


async def projected(storage: Any) -> float:
    """Return how many entries a second become rows."""
    agent = Agent(provider=FunctionProvider(answer), tools=[count], system_message=LINE * 10)
    async with RuntimeKernel(storage=storage, agent=agent, dispatch="local") as kernel:
        turn = asyncio.Semaphore(50)

        async def job() -> None:
            async with turn:
                handle = await kernel.execute(ExecutionRequest(prompt=LINE * 5))
                await handle.result()

        await asyncio.gather(*(job() for _ in range(JOBS)))
    logs, end, position = JournalLogs(storage), await storage.feed_end(), 0
    began, number = time.perf_counter(), 0
    while position < end:
        entries = await storage.feed(after=position, upto=end)
        if not entries:
            break
        await logs.project(entries)
        position, number = entries[-1].position, number + len(entries)
    return number / (time.perf_counter() - began)


def call(chance: random.Random, at: datetime) -> Change:
    milliseconds = round(chance.lognormvariate(7, 1))
    values = {
        "start_time": at,
        "end_time": at + timedelta(milliseconds=milliseconds),
        "duration_ms": milliseconds,
        "first_token_ms": round(chance.lognormvariate(5, 1)),
        "status": "failed" if chance.random() < 0.05 else "completed",
        "scope_id": f"scope-{chance.randrange(4)}",
        "agent": f"agent-{chance.randrange(10)}",
        "provider": "openai",
        "model_id": f"model-{chance.randrange(5)}",
        "input_tokens": chance.randrange(5_000),
        "output_tokens": chance.randrange(500),
        "total_cost_units": chance.randrange(10**9),
        "prompt": LINE * 2,
        "response": LINE * 2,
    }
    return Change(llm_call_logs, new_row(), values)


async def filled(url: str, calls: int) -> float:
    """Write so many calls, over thirty days; return rows a second. Over an engine of its own, which leaves nobody else time between."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    if url.startswith("sqlite"):  # as a storage's own logs are written: safe when the process dies
        event.listen(
            engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = NORMAL")
        )
    database, chance, now = database_of(engine), random.Random(7), datetime.now(UTC)
    began = time.perf_counter()
    for first in range(0, calls, BATCH):
        at = now - timedelta(days=30) * (1 - first / calls)
        moments = [at + timedelta(seconds=chance.uniform(0, 60)) for _ in range(BATCH)]
        await database.write([call(chance, min(moment, now)) for moment in moments])
    written = calls / (time.perf_counter() - began)
    await database.aclose()
    engine.dispose()
    return written


async def timed(read: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        await read()
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


async def measured(url: str, calls: int) -> Rows:
    storage = open_storage(url)
    await storage.open()
    on_caller, beside = await caller(storage)
    made = await projected(storage)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    written = await filled(url, calls)
    logs, now = LogStore(storage), datetime.now(UTC)
    odd = {
        "start_date": now - timedelta(days=20, minutes=17),
        "end_date": now - timedelta(days=3, minutes=13),
    }
    reads = {
        "summary of 30 days": await timed(logs.summary),
        "summary of one scope": await timed(lambda: logs.summary(scope_id="scope-1")),
        "summary of a period that begins and ends within hours": await timed(lambda: logs.summary(**odd)),
        "cost by day and model": await timed(lambda: logs.usage("day", "model")),
        "percentiles": await timed(logs.latency),
        "percentiles by model": await timed(lambda: logs.latency(by="model")),
        "a page of 100 calls": await timed(lambda: logs.llm_calls(limit=100)),
    }
    began = time.perf_counter()
    gone = await logs.forget(before=now - timedelta(days=30 * 0.9))
    deleted = gone.llm_calls / (time.perf_counter() - began)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    await logs.aclose()
    await storage.aclose()
    return Rows(
        caller=on_caller,
        beside=beside,
        written=written,
        projected=made,
        reads=reads,
        memory=memory,
        deleted=deleted,
    )


def report(found: dict[str, Rows], calls: int, on: str) -> str:
    lines = ["| | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]

    def line(name: str, shown: Callable[[Rows], str]) -> None:
        lines.append(f"| {name} | " + " | ".join(map(shown, found.values())) + " |")

    line(
        "a call's beginning and end, for who logs it: median, 99th percentile (ms)",
        lambda r: f"{r.caller[0]:.1f}, {r.caller[1]:.1f}",
    )
    line("the same of a hundred at once, each (ms)", lambda r: f"{r.beside:.2f}")
    line("rows written a second, with what they add up to", lambda r: f"{r.written:,.0f}")
    line("entries of journals a second that become rows", lambda r: f"{r.projected:,.0f}")
    for name in next(iter(found.values())).reads:
        line(f"{name} (ms)", lambda r, name=name: f"{r.reads[name]:.0f}")
    line("rows deleted a second", lambda r: f"{r.deleted:,.0f}")
    line("memory that all this took (MB)", lambda r: f"{r.memory:.0f}")
    intro = (
        f"One run of `make bench` ({on}): {calls:,} model calls of 10 agents with 5 models in 4 scopes, over 30 days. Texts of a call that is logged by hand have 7 KB. Who logs waits until the row is\n"
        "written; wanted for a summary are at most 100 ms."
    )
    return "\n\n".join(["# Rows of executions and calls", intro, "\n".join(lines)]) + "\n"


async def everything(calls: int) -> dict[str, Rows]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        found = {"SQLite": await measured(f"sqlite:///{folder}/runs.db", calls)}
    with bench_server() as server, server.database() as environment:
        await migrate_postgres(environment["DATABASE_URL"])
        found["Postgres"] = await measured(environment["DATABASE_URL"], calls)
    return found


def main() -> None:
    """Measure, print, and write the page when asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help=f"write {RECORD.relative_to(ROOT)}")
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--rounds", type=int, default=1, help="for the other programs of `make bench`")
    parser.add_argument("--only", action="append", default=[], help="for the other programs of `make bench`")
    arguments = parser.parse_args()
    if arguments.only:
        return
    on = (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f} before"
    )
    page = report(asyncio.run(everything(arguments.calls)), arguments.calls, on)
    print(page)
    if arguments.record:
        RECORD.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
