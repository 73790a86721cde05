"""Measure our service beside Agno's AgentOS and Aegra, an open server for LangGraph: requests a second, and what is left of jobs when the process dies.

Each has Postgres behind it, a new database on one server, and is a process of its own; who asks is another one. Print it, or record it.
"""

import argparse
import asyncio
import os
import platform
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = HERE / "peers"
sys.path += [str(PEERS), str(ROOT / "benchmarks" / "runtime")]

from asking import Connection, rate  # noqa: E402
from postgres_server import BenchServer, bench_server  # noqa: E402
from steps import STEPS  # noqa: E402

from agent_runtime.storage.migrate import migrate_postgres  # noqa: E402

RECORD = ROOT / "docs" / "benchmarks" / "service-peers.md"
ENVIRONMENT = ".venv-bench-services"
ROUNDS = 3
CONNECTIONS = 16
SUBMIT, GET, LIST = "submit a job, jobs/s", "get a job, requests/s", "list 20, requests/s"
RESULT = "submit a job and wait for its result, jobs/s"
KILLED = 20
"""Jobs under way when a process is killed."""
AEGRA = {
    "AEGRA_CONFIG": str(PEERS / "aegra.json"),
    "LOG_LEVEL": "WARNING",
    "SQLALCHEMY_POOL_SIZE": "20",
    "LANGGRAPH_MAX_POOL_SIZE": "20",
}
"""Settings of its own; with the two connections that are its default, it fails under this load."""
STARTS_WITHIN, ENDS_WITHIN = 60.0, 120.0


class Driver:
    """How one service is asked.

    Args:
        url: It.
    """

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url
        self.key = key

    def connection(self) -> Connection:
        """Return a new connection."""
        return Connection(self.url, f"X-API-Key: {self.key}\r\n" if self.key else "")

    async def submit(self, connection: Connection, operator: str, said: str) -> str:
        """Submit a job and return where it is found."""
        raise NotImplementedError

    async def get(self, connection: Connection, job: str) -> Mapping[str, Any]:
        """Return a job."""
        status, told = await connection.ask("GET", job)
        assert status == 200, told
        return dict(told)

    async def list(self, connection: Connection) -> None:
        """List the newest twenty jobs."""
        raise NotImplementedError

    async def result(self, connection: Connection, job: str) -> None:
        """Wait for the end of a job."""
        raise NotImplementedError

    def has_ended(self, job: Mapping[str, Any]) -> str | None:
        """Return how a job has ended: `well`, or in the service's words."""
        raise NotImplementedError


class Ours(Driver):
    async def submit(self, connection: Connection, operator: str, said: str) -> str:
        status, job = await connection.ask(
            "POST", "/v1/jobs", {"operator": operator, "input": {"prompt": said}}
        )
        assert status == 202, job
        return f"/v1/jobs/{job['job_id']}"

    async def list(self, connection: Connection) -> None:
        status, _ = await connection.ask("GET", "/v1/jobs?limit=20")
        assert status == 200

    async def result(self, connection: Connection, job: str) -> None:
        status, told = await connection.ask("GET", f"{job}/result?wait=30")
        assert status == 200, told

    def has_ended(self, job: Mapping[str, Any]) -> str | None:
        status = str(job["status"])
        return {"succeeded": "well", "failed": status, "blocked": status}.get(status)


class Agno(Driver):
    async def submit(self, connection: Connection, operator: str, said: str) -> str:
        session = secrets.token_hex(8)
        asked = {"message": said, "stream": "false", "background": "true", "session_id": session}
        status, run = await connection.ask("POST", f"/agents/{operator}/runs", asked, form=True)
        assert status == 202, run
        return f"/agents/{operator}/runs/{run['run_id']}?session_id={session}"

    async def list(self, connection: Connection) -> None:
        status, _ = await connection.ask("GET", "/queue/jobs?limit=20")
        assert status == 200

    async def result(self, connection: Connection, job: str) -> None:
        while self.has_ended(await self.get(connection, job)) is None:  # it cannot be waited for
            await asyncio.sleep(0.02)

    def has_ended(self, job: Mapping[str, Any]) -> str | None:
        status = str(job["status"]).lower()
        return {"completed": "well", "error": status, "cancelled": status}.get(status)


class Aegra(Driver):
    async def submit(self, connection: Connection, operator: str, said: str) -> str:
        status, thread = await connection.ask("POST", "/threads", {})
        assert status == 200, thread
        runs = f"/threads/{thread['thread_id']}/runs"
        status, run = await connection.ask("POST", runs, {"assistant_id": operator, "input": {"said": said}})
        assert status == 200, run
        return f"{runs}/{run['run_id']}"

    async def list(self, connection: Connection) -> None:
        status, _ = await connection.ask("POST", "/threads/search", {"limit": 20})
        assert status == 200

    async def result(self, connection: Connection, job: str) -> None:
        status, told = await connection.ask("GET", f"{job}/join")
        assert status == 200, told

    def has_ended(self, job: Mapping[str, Any]) -> str | None:
        status = str(job["status"])
        return {"success": "well", "error": status, "interrupted": status}.get(status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that is measured."""

    name: str
    driver: type[Driver]
    command: tuple[str, ...]
    is_ours: bool = False

    def start(self, port: int, environment: Mapping[str, str], log: Path) -> "subprocess.Popen[str]":
        """Start it in a process."""
        python = sys.executable if self.is_ours else str(ROOT / ENVIRONMENT / "bin" / "python")
        with log.open("a") as errors:
            return subprocess.Popen(
                [python, *(part.replace("PORT", str(port)) for part in self.command)],
                env={**os.environ, "NO_PROXY": "*", "PYTHONPATH": str(PEERS), **environment},
                cwd=PEERS,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.is_ours else errors,
                stderr=errors,
                text=True,
            )


SERVICES = (
    Service(name="ours", driver=Ours, command=("our_service.py", "PORT"), is_ours=True),
    Service(name="Agno 3.1", driver=Agno, command=("agno_service.py", "PORT")),
    Service(
        name="Aegra 0.6",
        driver=Aegra,
        command=("-m", "uvicorn", "aegra_api.main:app", "--port", "PORT", "--log-level", "warning", "--no-access-log"),
    ),
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Measured:
    """What was measured of one service."""

    rates: Mapping[str, float] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    """How jobs ended whose process was killed under way."""
    again: int = 0
    """Their steps that were taken more than once."""
    seconds: float = 0.0
    """From the new process's start to the last of them."""


class Running:
    """One service under measurement, which can be killed and started anew.

    Args:
        service: Which one.
        environment: Its database.
        folder: Where it may write what it says.
    """

    def __init__(self, service: Service, environment: Mapping[str, str], folder: Path) -> None:
        self._service = service
        self.steps = folder / f"{service.driver.__name__}.steps"
        self._environment = {**environment, "STEPS_FILE": str(self.steps)}
        self._log = folder / f"{service.driver.__name__}.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]

    async def start(self) -> Driver:
        """Start it, and return when it answers."""
        self._process = self._service.start(self._port, self._environment, self._log)
        key = ""
        if self._service.is_ours:
            assert self._process.stdout is not None
            key = (await asyncio.to_thread(self._process.stdout.readline)).strip()
        driver = self._service.driver(f"http://127.0.0.1:{self._port}", key)
        until = time.perf_counter() + STARTS_WITHIN
        while time.perf_counter() < until and self._process.poll() is None:
            try:
                await driver.list(driver.connection())
            except OSError:
                await asyncio.sleep(0.2)
            else:
                return driver
        raise SystemExit(f"{self._service.name} does not answer:\n{self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in good order."""
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()


async def measure(folder: Path) -> dict[str, Measured]:
    """Measure all services in turns, each time on a new database, and take medians: a machine is not the same for minutes."""
    found = {service.name: Measured() for service in SERVICES}
    rounds: dict[str, list[dict[str, float]]] = {service.name: [] for service in SERVICES}
    with bench_server() as server:
        for _ in range(ROUNDS):
            for service in SERVICES:
                async with running(service, server, folder) as under_test:
                    rounds[service.name].append(await asked(under_test))
        for service in SERVICES:
            async with running(service, server, folder) as under_test:
                await killed(under_test, found[service.name])
    for name, told in rounds.items():
        found[name].rates = {what: statistics.median(one[what] for one in told) for what in told[0]}
    return found


@asynccontextmanager
async def running(service: Service, server: BenchServer, folder: Path) -> AsyncIterator["Running"]:
    """Have a service ready to be started on a new database, and end it."""
    with server.database() as database:
        if service.is_ours:
            await migrate_postgres(database["DATABASE_URL"])
        under_test = Running(service, {**AEGRA, **database}, folder)
        try:
            yield under_test
        finally:
            under_test.stop()


async def asked(under_test: Running) -> dict[str, float]:
    """Ask a service as fast as it answers, and return how often a second it does."""
    driver = await under_test.start()
    connections = [driver.connection() for _ in range(CONNECTIONS)]

    async def submit(connection: Connection) -> str:
        return await driver.submit(connection, "echo", "hi")

    async def whole(connection: Connection) -> None:
        await driver.result(connection, await submit(connection))

    for connection in connections:  # everything is warm, and there are jobs to list
        await whole(connection)
        await whole(connection)
    job = await submit(connections[0])
    await driver.result(connections[0], job)
    told = {
        GET: await rate(connections, lambda connection: driver.get(connection, job)),
        LIST: await rate(connections, driver.list),
        RESULT: await rate(connections, whole),
        SUBMIT: await rate(connections, submit),
    }
    under_test.kill()  # what is still queued goes with the database
    return told


async def killed(under_test: Running, found: Measured) -> None:
    """Kill a service while jobs are under way, start it anew, and see what becomes of them."""
    driver, steps = await under_test.start(), under_test.steps
    connection = driver.connection()
    jobs = [await driver.submit(connection, "stepping", f"job-{number}") for number in range(KILLED)]
    await until_half(steps)
    under_test.kill()
    began = time.perf_counter()
    connection = (driver := await under_test.start()).connection()
    open_jobs = set(jobs)
    while open_jobs and time.perf_counter() - began < ENDS_WITHIN:
        for job in sorted(open_jobs):
            if (end := driver.has_ended(await driver.get(connection, job))) is not None:
                open_jobs.discard(job)
                found.ends[end] += 1
                found.seconds = time.perf_counter() - began
        await asyncio.sleep(0.5)
    if open_jobs:
        found.ends[f"not at all within {ENDS_WITHIN:.0f} s"] = len(open_jobs)
    taken = Counter(steps.read_text().splitlines())
    found.again = sum(times - 1 for times in taken.values())


async def until_half(steps: Path) -> None:
    """Wait until half of all steps were taken."""
    until = time.perf_counter() + ENDS_WITHIN
    while not steps.exists() or len(steps.read_text().splitlines()) < KILLED * STEPS // 2:
        assert time.perf_counter() < until, "the jobs take no steps"
        await asyncio.sleep(0.02)


def page(found: Mapping[str, Measured]) -> str:
    """Return the page of what was measured."""
    ours, *peers = found.values()
    names = " | ".join(found)

    def row(name: str, values: list[str]) -> str:
        return f"| {name} | {' | '.join(values)} |"

    def compared(name: str) -> str:
        mine = ours.rates[name]
        told = [f"{mine:,.0f}"]
        told += [f"{one.rates[name]:,.0f} (ours is {mine / one.rates[name]:.1f} times that)" for one in peers]
        return row(name, told)

    rows = [
        *map(compared, (SUBMIT, GET, LIST, RESULT)),
        row(f"{KILLED} jobs under way when the process is killed ended", [", ".join(f"{count} {end}" for end, count in one.ends.items()) for one in found.values()]),
        row(f"of their {KILLED * STEPS} steps taken again", [str(one.again) for one in found.values()]),
        row("seconds from the new start to the last end", [f"{one.seconds:.0f}" if one.ends["well"] or one.seconds else "–" for one in found.values()]),
    ]  # fmt: skip
    table = "\n".join(rows)
    return f"""# The service beside others

Measured with `benchmarks/server/run_peers.py --record` on {os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}. Every service is one process with Postgres behind it, on the same machine as who
asks, over {CONNECTIONS} connections: medians of {ROUNDS} rounds in turns. A job is an agent (of Aegra: a graph of one node) whose model answers at once.

| | {names} |
|---|{"---:|" * len(found)}
{table}

* Ours checks an API key for every request; the others ask for none here.
* Agno's AgentOS has its durable queue, three attempts, and leases as short as its rules for stopping permit comfortably (15 s). A run cannot be waited for over HTTP: it is asked for every 20 ms.
* A job of Aegra's is a thread and a run in it, two requests; runs are listed by thread, so threads are what is listed. Its runs are tasks of the process, without a queue. Its pools have
  twenty connections: with the two that are its default, requests fail here.
* A job that is killed has {STEPS} steps of half a second: tools that an agent calls, or nodes of a graph. It may be read again, so all of them may repeat a step that nobody knows the end of. The new process
  is started at once.
"""


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    subprocess.run(
        [ROOT / "scripts" / "venv", ROOT / ENVIRONMENT, "-r", PEERS / "requirements.txt"], check=True
    )
    with tempfile.TemporaryDirectory() as folder:
        found = await measure(Path(folder))
    text = page(found)
    print(text)
    if arguments.record:
        RECORD.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
