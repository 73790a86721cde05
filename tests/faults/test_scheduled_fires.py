"""Due times of schedules while processes die, stand still, and look after the same schedules: each fires once or is accounted for."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ExecutionRequest
from agent_runtime.ports.schedules import Fire
from agent_runtime.ports.storage import Storage
from agent_runtime.schedules.rules import ScheduleRules
from agent_runtime.schedules.timing import Timing, count_within
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.values.job import JobFilter
from support.kernels import BOUND, kernel, until

pytestmark = pytest.mark.timeout(BOUND * 5)

ROOT = Path(__file__).parents[2]
EVERY_SECOND = Timing(every=1.0)
ALL = ScheduleRules(catch_up="all", overlap="parallel", cap=500)


@contextmanager
def child(address: str, moment: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a process that executes, until the end of the block or the moment of its death."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.scheduling_child", address, moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def opened(address: str) -> Storage:
    """Return the storage of an address."""
    is_postgres = address.startswith("postgres")
    return PostgresStorage(address) if is_postgres else SQLiteStorage(address, durability="process")


async def put(address: str, names: list[str], **more: Any) -> None:
    """Make schedules, in a process that executes nothing."""
    storage = opened(address)
    async with kernel(storage, worker=False) as k:
        for name in names:
            request = ExecutionRequest(operator="beat", input=name)
            await k.schedules.put(name, request, EVERY_SECOND, **{"rules": ALL, **more})
    await storage.aclose()


async def stand(address: str, name: str, *, pause: bool = False) -> tuple[list[Fire], list[str]]:
    """Return the log of a schedule, the oldest first, and the due times of the jobs that were started for it."""
    storage = opened(address)
    async with kernel(storage, worker=False) as k:
        if pause:
            await k.schedules.pause(name)
        fires = await k.schedules.log(name, limit=1000)
        jobs = await k.jobs.list(JobFilter(operator="beat", session_id=f"schedule:{name}", limit=500))
    await storage.aclose()
    return list(reversed(fires)), [str(job.metadata["due_at"]) for job in jobs]


def check(fires: list[Fire], jobs: list[str]) -> None:
    """Every due time from the first to the last is in the log once, and each that has fired has one job."""
    assert not [fire for fire in fires if fire.outcome.is_open]
    assert fires
    every = count_within(EVERY_SECOND, fires[0].due_at, fires[-1].last_due_at + timedelta(microseconds=1))
    assert sum(fire.count for fire in fires) == every
    for one, following in itertools.pairwise(fires):
        assert one.last_due_at < following.due_at
    fired = [f"{fire.due_at:%Y-%m-%dT%H:%M:%S}Z" for fire in fires if fire.outcome == "fired"]
    assert Counter(jobs) == Counter(fired)
    assert set(Counter(jobs).values()) <= {1}


MOMENTS = [f"{when}:replace:{number}" for when in ("before", "after") for number in (1, 2, 3)] + [
    *("before:start:1", "after:start:1", "after:start:2")
]


@pytest.mark.parametrize(
    ("moment", "news"),
    [*((moment, None) for moment in MOMENTS), *((moment, "news") for moment in MOMENTS[1:5:2])],
)
async def test_a_process_dies_at_any_moment_and_nothing_fires_twice(
    tmp_path: Path, moment: str, news: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "runs.db")
    await put(address, ["beat"], check=news)
    with child(address, moment) as doomed:
        assert await asyncio.to_thread(doomed.wait, 30) == -signal.SIGKILL
    _let_go(address)
    with child(address) as other:
        assert other.stdout is not None
        await asyncio.to_thread(other.stdout.readline)

        async def has_gone_on() -> bool:
            fires, _ = await stand(address, "beat")
            return len(fires) > 3 and not any(fire.outcome.is_open for fire in fires[:3])

        await until(has_gone_on)
    await until(lambda: _is_quiet(address))
    check(*await stand(address, "beat"))


def _let_go(address: str) -> None:
    """Let the time pass for which a schedule is left to a process that has died."""
    import sqlite3

    with sqlite3.connect(address) as db:
        db.execute("UPDATE runtime_schedules SET look_at = min(look_at, ?)", (int(time.time() * 1e6),))


async def _is_quiet(address: str) -> bool:
    """Pause it, and have what is firing written by a process that executes."""
    fires, _ = await stand(address, "beat", pause=True)
    if not any(fire.outcome.is_open for fire in fires):
        return True
    _let_go(address)
    with child(address) as other:
        assert other.stdout is not None
        await asyncio.to_thread(other.stdout.readline)
        await asyncio.sleep(0.5)
    return False


async def test_three_workers_look_after_the_same_schedules_and_each_time_fires_once(database: str) -> None:
    names = [f"beat-{number}" for number in range(5)]
    await put(database, names)
    with child(database) as one, child(database) as two, child(database) as three:
        for process in (one, two, three):
            assert process.stdout is not None
            await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(4)
    for name in names:
        fires, jobs = await stand(database, name, pause=True)
        open_ones = [fire for fire in fires if fire.outcome.is_open]
        assert not open_ones
        check(fires, jobs)
        assert len(jobs) >= 3


async def test_a_process_that_stood_still_fires_nothing_of_what_another_has_fired(database: str) -> None:
    await put(database, ["beat"], rules=ScheduleRules(catch_up="last", overlap="parallel"))
    with child(database) as still, child(database) as lively:
        for process in (still, lively):
            assert process.stdout is not None
            await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(1.5)
        still.send_signal(signal.SIGSTOP)
        await asyncio.sleep(3)
        still.send_signal(signal.SIGCONT)
        await asyncio.sleep(2)
    fires, jobs = await stand(database, "beat", pause=True)
    check(fires, jobs)
    assert fires[-1].last_due_at > datetime.now(UTC) - timedelta(seconds=30)


async def test_all_processes_stand_still_for_a_while(tmp_path: Path) -> None:
    address = str(tmp_path / "runs.db")
    await put(address, ["beat"], rules=ScheduleRules(catch_up="last", overlap="parallel", grace=0.5))
    with child(address) as only:
        assert only.stdout is not None
        await asyncio.to_thread(only.stdout.readline)
        await asyncio.sleep(1.5)
        only.send_signal(signal.SIGSTOP)
        await asyncio.sleep(4)
        only.send_signal(signal.SIGCONT)
        await asyncio.sleep(1.5)
    fires, jobs = await stand(address, "beat", pause=True)
    check(fires, jobs)
    assert max(fire.count for fire in fires if fire.outcome == "coalesced") >= 2
