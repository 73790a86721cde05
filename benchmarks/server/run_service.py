"""Measure the service: requests a second to submit, get and list jobs, how long an event takes to a reader, and a thousand readers of a hundred jobs.

The service is a process of its own, with SQLite or Postgres behind it; who asks is another one. Print it, or record it.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks" / "runtime"))

from asking import Connection, rate  # noqa: E402
from postgres_server import bench_server  # noqa: E402

from agent_runtime import Role, RuntimeKernel  # noqa: E402
from agent_runtime.server import ServerConfig, create_app  # noqa: E402
from agent_runtime.server.running import serving  # noqa: E402
from agent_runtime.storage.migrate import migrate_postgres  # noqa: E402

RECORD = ROOT / "docs" / "benchmarks" / "service.md"
CONNECTIONS = 16
READERS, JOBS, EVENTS = 1_000, 100, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured on one database."""

    submit: float
    """Requests a second."""
    get: float
    list: float
    result: float
    """Jobs a second, from their submission to their result."""
    delivery: tuple[float, float]
    """Milliseconds from an entry's time to its reader: the median, and the 99th percentile; one reader."""
    crowd: tuple[float, float]
    """The same with a thousand readers of a hundred jobs."""
    crowd_events: float
    """Events a second that they were given, all together."""
    lost: int
    """Entries that one of them was not given."""


async def echo(context: Any, given: Any) -> Any:
    return given


async def tick(context: Any, given: Any) -> int:
    """Write entries, a moment apart."""
    await context.sleep(given["wait"])
    for number in range(given["events"]):
        await context.emit("custom.tick", {"number": number})
        await asyncio.sleep(given["pause"])
    return int(given["events"])


async def serve(storage: str) -> None:
    """Serve until told to stop; print the address and a key."""
    kernel = RuntimeKernel(storage=storage, operators={"echo": echo, "tick": tick})
    config = ServerConfig(
        requests_per_second=1e9, burst=1_000_000, max_streams=READERS * 2, max_streams_per_key=READERS * 2
    )
    async with serving(create_app(kernel, config)) as url:
        _, key = await kernel.keys.create(name="bench", role=Role.ADMIN, scope_id="bench")
        print(json.dumps([url, key]), flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def service(storage: str) -> AsyncIterator[tuple[str, str]]:
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", storage],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url, key = json.loads(await asyncio.to_thread(process.stdout.readline))
        yield url, key
    finally:
        process.stdin.close()
        process.wait(30)


class Crowd:
    """Readers of jobs, each on a connection of its own, with as little work for each as can be."""

    def __init__(self, url: str, key: str) -> None:
        self._host, self._port = url.removeprefix("http://").split(":")
        self._key = key
        self.delays: list[float] = []
        self.events = 0
        self.lost = 0

    async def read(self, job: str, wanted: int) -> None:
        reader, writer = await asyncio.open_connection(self._host, int(self._port))
        writer.write(
            f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {self._key}\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
        seen = 0
        while True:
            line = await reader.readline()
            if line.startswith(b"id: "):
                seen += 1
            elif line.startswith(b"data: {") and b'"custom.tick"' in line:
                now = time.time()
                told = json.loads(line[6:])
                at = datetime.fromisoformat(told["timestamp"]).timestamp()
                self.delays.append((now - at) * 1000)
                self.events += 1
            elif line.startswith(b"event: end") or not line:
                break
        writer.close()
        self.lost += wanted - seen


def quantiles(delays: list[float]) -> tuple[float, float]:
    ordered = sorted(delays)
    return statistics.median(ordered), ordered[int(len(ordered) * 0.99)]


async def delivered(
    client: Connection, url: str, key: str, readers: int, jobs: int, pause: float
) -> tuple[Crowd, float]:
    """Let readers read jobs that write entries, and return what came, and in how many seconds."""
    crowd = Crowd(url, key)
    given = {"events": EVENTS, "pause": pause, "wait": 3.0 if readers > 1 else 0.5}
    made = [
        (await client.ask("POST", "/v1/jobs", {"operator": "tick", "input": given}))[1]["job_id"]
        for _ in range(jobs)
    ]
    began = time.perf_counter()
    reading = [asyncio.ensure_future(crowd.read(made[number % jobs], 0)) for number in range(readers)]
    await asyncio.gather(*reading)
    seconds = time.perf_counter() - began - given["wait"]
    for job in made:
        _, told = await client.ask("GET", f"/v1/jobs/{job}")
        crowd.lost += told["last_seq"] * (readers // jobs)
    return crowd, seconds


async def measure(storage: str) -> Measured:
    async with service(storage) as (url, key):
        connections = [Connection(url, f"X-API-Key: {key}\r\n") for _ in range(CONNECTIONS)]

        async def submit(connection: Connection) -> str:
            status, job = await connection.ask("POST", "/v1/jobs", {"operator": "echo", "input": {"n": 1}})
            assert status == 202, job
            return str(job["job_id"])

        async def whole(connection: Connection) -> None:
            job = await submit(connection)
            status, _ = await connection.ask("GET", f"/v1/jobs/{job}/result?wait=30")
            assert status == 200

        job = await submit(connections[0])
        submitted = await rate(connections, submit)
        got = await rate(connections, lambda connection: connection.ask("GET", f"/v1/jobs/{job}"))
        listed = await rate(connections, lambda connection: connection.ask("GET", "/v1/jobs?limit=20"))
        results = await rate(connections, whole)
        alone, _ = await delivered(connections[0], url, key, 1, 1, 0.02)
        crowd, seconds = await delivered(connections[0], url, key, READERS, JOBS, 0.05)
    return Measured(
        submit=submitted,
        get=got,
        list=listed,
        result=results,
        delivery=quantiles(alone.delays),
        crowd=quantiles(crowd.delays),
        crowd_events=crowd.events / seconds,
        lost=crowd.lost,
    )


def page(found: dict[str, Measured]) -> str:
    names = list(found)
    rows: list[tuple[str, list[str]]] = [
        ("submit a job, requests/s", [f"{one.submit:,.0f}" for one in found.values()]),
        ("get a job, requests/s", [f"{one.get:,.0f}" for one in found.values()]),
        ("list 20 jobs, requests/s", [f"{one.list:,.0f}" for one in found.values()]),
        ("submit a job and wait for its result, jobs/s", [f"{one.result:,.0f}" for one in found.values()]),
        ("an entry to its one reader, ms: median, p99", [f"{a:.1f}, {b:.1f}" for a, b in (one.delivery for one in found.values())]),
        (f"an entry to {READERS:,} readers of {JOBS} jobs, ms: median, p99", [f"{a:,.0f}, {b:,.0f}" for a, b in (one.crowd for one in found.values())]),
        ("events/s that they were given", [f"{one.crowd_events:,.0f}" for one in found.values()]),
        ("entries that one of them was not given", [str(one.lost) for one in found.values()]),
    ]  # fmt: skip
    table = "\n".join(f"| {name} | {' | '.join(values)} |" for name, values in rows)
    return f"""# The service

Measured with `benchmarks/server/run_service.py --record` on {os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}. One process serves and executes; another one asks, on the same
machine, over {CONNECTIONS} connections. Both have the same cores, and Postgres too. An entry's way is from the time that stands in it to its reader.

| | {" | ".join(names)} |
|---|{"---:|" * len(names)}
{table}

A thousand readers follow {JOBS} jobs, ten each, while every job writes {EVENTS} entries, one each 50 ms or as fast as their commits allow: everything in one process. The slowest are those of the first moment, when a thousand connections
are made at once. Nothing is lost. [Others](service-peers.md) are measured beside it.
"""


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--serve")
    arguments = parser.parse_args()
    if arguments.serve:
        await serve(arguments.serve)
        return
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as folder:
        found["SQLite"] = await measure(f"sqlite:///{folder}/runs.db")
    with bench_server() as server, server.database() as environment:
        await migrate_postgres(environment["DATABASE_URL"])
        found["Postgres"] = await measure(environment["DATABASE_URL"])
    text = page(found)
    print(text)
    if arguments.record:
        RECORD.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
