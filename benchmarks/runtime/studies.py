"""What several processes do on one Postgres: how fast jobs start, are taken over and wake, and what more workers bring.

Called as `python studies.py STUDY` in an empty folder, with `DATABASE_URL` and, for Postgres, `POSTMASTER` (its process) in
the environment; answers with one line of JSON. Workers are processes of their own, `study_worker.py`; this one submits.
"""

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from postgres_server import Load, load, processor_seconds

HERE = Path(__file__).parent
PATIENCE_SECONDS = 300.0
PARKING_SECONDS = 900.0
STARTS = 300
HELD_JOBS = 100
SUSPENDED_JOBS = int(os.environ.get("STUDY_SUSPENDED", "100000"))
WOKEN_JOBS = 200
SCALED_JOBS, SCALED_STEPS, SCALED_IN_FLIGHT = 1_500, 10, 200
PAUSE_SECONDS = 0.02
"""Between two jobs that are timed: each finds its worker idle."""
TIMER_PAUSE_SECONDS = 0.05
"""Between two timers; nobody waits for one before the next falls due, so this bounds what the worker has to do."""
Study = Callable[[str], Awaitable[dict[str, float]]]


class Worker:
    """A worker process.

    Args:
        url: Its storage.
        options: Fields of `KernelOptions` in which it differs from production.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, HERE / "study_worker.py", Path.cwd()],
            env={**os.environ, "DATABASE_URL": url, "STUDY_OPTIONS": json.dumps(options)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit("a worker did not start")
        self.pid = self._process.pid

    def notes(self) -> list[dict[str, Any]]:
        """Return what its operators have seen."""
        path = Path(f"notes-{self.pid}")
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def resident_mb(self) -> float:
        """Return the memory it holds."""
        with Path(f"/proc/{self.pid}/status").open(encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Let it end."""
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def workers(url: str, count: int, **options: Any) -> Iterator[list[Worker]]:
    """Run a number of workers."""
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            started.append(Worker(url, **options))
            stack.callback(started[-1].stop)
        yield started


@asynccontextmanager
async def submitter(url: str) -> AsyncIterator[Any]:
    """Run a kernel that submits and executes nothing."""
    from study_worker import OPERATORS

    from agent_runtime import RuntimeKernel

    async with RuntimeKernel(storage=url, operators=OPERATORS, worker=False) as kernel:
        yield kernel


async def migrate(url: str) -> None:
    """Make the tables."""
    from agent_runtime import open_storage

    storage = open_storage(url)
    if storage.is_shared:
        await storage.setup()  # type: ignore[attr-defined]  # Postgres has it
    await storage.aclose()


async def until(condition: Callable[[], bool], *, pause: float = 0.01) -> None:
    """Wait for a condition, with a bound."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(pause)


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return the middle, the 99th percentile and the highest, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3, "max_ms": max(seconds) * 1e3}


async def start(url: str) -> dict[str, float]:
    """From just before a job is submitted to the first line of its code, in an idle worker of another process."""
    from agent_runtime import ExecutionRequest

    delays = []
    with workers(url, 1):
        async with submitter(url) as kernel:
            for number in range(STARTS + 20):
                await asyncio.sleep(PAUSE_SECONDS * (0.5 + random.random()))
                before = time.time()
                begun = (await (await kernel.execute(ExecutionRequest(operator="begin"))).result()).output
                if number >= 20:
                    delays.append(float(begun) - before)
    return percentiles(delays)


async def takeover(url: str) -> dict[str, float]:
    """From the SIGKILL of a worker that holds jobs until all of them run in another one."""
    from agent_runtime import ExecutionRequest

    with workers(url, 1) as (victim,):
        async with submitter(url) as kernel:
            for number in range(HELD_JOBS):
                await kernel.execute(ExecutionRequest(operator="hold", input=number))
            await until(lambda: len(victim.notes()) == HELD_JOBS)
            heir = Worker(url)
            try:
                killed_at = time.time()
                victim.kill()
                await until(lambda: len({note["number"] for note in heir.notes()}) == HELD_JOBS)
                times = [note["at"] - killed_at for note in heir.notes()]
            finally:
                heir.kill()
    return {"first_s": min(times), "last_s": max(times)}


async def suspended(url: str) -> dict[str, float]:
    """Suspend jobs, half of them until a moment and half until an answer; then wake some of each, one by one."""
    from agent_runtime import ExecutionRequest, JobFilter, JobStatus

    waiting = frozenset({JobStatus.WAITING_ACTION, JobStatus.SLEEPING})
    far = time.time() + 86_400
    with workers(url, 1, suspend_after=0.0) as (worker,):
        async with submitter(url) as kernel:
            slots = asyncio.Semaphore(100)
            ids: list[str] = []

            async def submit(number: int) -> None:
                async with slots:
                    request = (
                        ExecutionRequest(operator="answered")
                        if number % 2
                        else ExecutionRequest(operator="asleep", input=far)
                    )
                    job = await kernel.execute(request)
                if number % 2:
                    ids.append(job.job_id)

            async def park(first: int, last: int) -> float:
                for start_at in range(first, last, 2_000):
                    await asyncio.gather(*map(submit, range(start_at, min(start_at + 2_000, last))))
                async with asyncio.timeout(PARKING_SECONDS):
                    while await kernel.jobs.count(JobFilter(status=waiting)) < last:
                        await asyncio.sleep(0.5)
                return worker.resident_mb()

            first = await park(0, SUSPENDED_JOBS // 10)
            before = time.perf_counter()
            last = await park(SUSPENDED_JOBS // 10, SUSPENDED_JOBS)
            pace = SUSPENDED_JOBS * 0.9 / (time.perf_counter() - before)
            answers = await _wake_by_answers(kernel, worker, ids)
            moments = await _wake_by_time(kernel, worker)
    return {
        "jobs": SUSPENDED_JOBS,
        "parked_per_s": pace,
        "first_tenth_mb": first,
        "all_mb": last,
        **{f"answer_{name}": value for name, value in answers.items()},
        **{f"timer_{name}": value for name, value in moments.items()},
    }


async def _wake_by_answers(kernel: Any, worker: Worker, ids: list[str]) -> dict[str, float]:
    known = len(worker.notes())
    for job_id in random.sample(ids, WOKEN_JOBS):
        (action,) = await kernel.handle(job_id).get_pending_actions()
        await asyncio.sleep(PAUSE_SECONDS)
        await kernel.actions.resolve_by_id(action.action_id, {"value": time.time()})
    await until(lambda: len(worker.notes()) == known + WOKEN_JOBS)
    return percentiles([note["woken"] for note in worker.notes()[known:]])


async def _wake_by_time(kernel: Any, worker: Worker) -> dict[str, float]:
    from agent_runtime import ExecutionRequest

    known = len(worker.notes())
    begin = time.time() + 3.0  # they are suspended by then
    for number in range(WOKEN_JOBS):
        await kernel.execute(ExecutionRequest(operator="asleep", input=begin + number * TIMER_PAUSE_SECONDS))
    await until(lambda: len(worker.notes()) == known + WOKEN_JOBS)
    return percentiles([note["woken"] for note in worker.notes()[known:]])


async def scale(url: str, count: int) -> dict[str, float]:
    """Run jobs that a submitting process keeps coming through the queue, with a number of workers."""
    import asyncpg

    from agent_runtime import ExecutionRequest

    postmaster = int(os.environ["POSTMASTER"])
    connection = await asyncpg.connect(url)
    with workers(url, count) as running:
        async with submitter(url) as kernel:
            slots = asyncio.Semaphore(SCALED_IN_FLIGHT)

            async def one() -> None:
                async with slots:
                    request = ExecutionRequest(operator="steps", input=SCALED_STEPS)
                    await (await kernel.execute(request)).result()

            await asyncio.gather(*(one() for _ in range(20 * count)))
            pids = [worker.pid for worker in running]
            before, busy, own = await _settled(connection, postmaster), processor_seconds(*pids), os.times()
            clock = time.perf_counter()
            await asyncio.gather(*(one() for _ in range(SCALED_JOBS)))
            seconds = time.perf_counter() - clock
            done, busy, now = await load(connection, postmaster), processor_seconds(*pids) - busy, os.times()
    settled = (await _settled(connection, postmaster)).since(before)
    await connection.close()
    total = SCALED_JOBS * SCALED_STEPS
    return {
        "workers": count,
        "steps_per_s": total / seconds,
        "server_cores": done.since(before).cpu_seconds / seconds,
        "worker_cores": busy / seconds,
        "submitter_cores": (now.user + now.system - own.user - own.system) / seconds,
        "transactions_per_step": settled.transactions / total,
        "wal_bytes_per_step": done.since(before).log_bytes / total,
        "connections": done.connections,
    }


async def _settled(connection: Any, postmaster: int) -> Load:
    """Read the load when sessions have had time to report theirs, which they do once a second."""
    await asyncio.sleep(1.5)
    return await load(connection, postmaster)


STUDIES: dict[str, Study] = {
    "start": start,
    "takeover": takeover,
    "suspended": suspended,
    **{f"scale-{count}": (lambda url, count=count: scale(url, count)) for count in (1, 2, 4)},
}


async def main(study: str) -> None:
    """Run one study and print what it found."""
    url = os.environ["DATABASE_URL"]
    await migrate(url)
    print(json.dumps(await STUDIES[study](url)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
