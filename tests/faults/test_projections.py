"""Processes that keep a projection up die, stand still, and come back: it is handed everything, in order for each job."""

import asyncio
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent_runtime import ExecutionRequest, RuntimeKernel, open_storage
from support.kernels import BOUND, until
from support.projecting import workers
from support.projecting_child import OPTIONS, Written, work

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 6)]
JOBS, STEPS, DEATHS = 8, 3, 3


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path / 'runs.db'}"


def lines(path: Path) -> list[tuple[int, str, int, str]]:
    """Return what was written down, without the last line if its writer was killed in it."""
    text = path.read_text() if path.exists() else ""
    found = [line.split(" ") for line in text.splitlines()]
    return [(int(position), job_id, int(seq), type_) for position, job_id, seq, type_ in found]


def in_order(found: Sequence[tuple[int, str, int, str]], job_id: str) -> list[int]:
    """Return the places of a job's entries in the order in which they were written down first."""
    return list(dict.fromkeys(seq for _, one, seq, _ in found if one == job_id))


async def test_whoever_is_killed_or_stands_still_every_entry_is_handed_out_in_order(
    address: str, tmp_path: Path
) -> None:
    path = tmp_path / "written"
    chance = random.Random(7)
    count = 1 if address.startswith("sqlite") else 2
    storage = open_storage(address)
    await storage.open()
    async with RuntimeKernel(
        storage=storage, operators=[work], options=OPTIONS, dispatch="local", worker=False
    ) as k:
        handles = [await k.execute(ExecutionRequest(operator="work", input=STEPS)) for _ in range(JOBS)]
        for _ in range(DEATHS):
            async with workers(address, path, count) as children:
                await asyncio.sleep(chance.random() * 0.6)
                still = children[0]
                still.send_signal(signal.SIGSTOP)
                await asyncio.sleep(OPTIONS.worker_timeout * 1.5 if count > 1 else 0.01)
                still.send_signal(signal.SIGCONT)
                await asyncio.sleep(chance.random() * 0.2)
        async with workers(address, path, count):
            for handle in handles:
                await handle.result(timeout=BOUND * 2)

            async def all_written() -> bool:
                ended = {job_id for _, job_id, _, type_ in lines(path) if type_ == "job.succeeded"}
                return len(ended) == JOBS

            await until(all_written)

            async def all_in_the_trail() -> bool:
                return [head.number for head in await k.audit.heads()] == [JOBS]

            await until(all_in_the_trail)
        report = await k.audit.verify()
        assert (report.findings, report.jobs, report.trail) == ((), JOBS, JOBS)
        found = lines(path)
        for handle in handles:
            events = await storage.events(handle.job_id)
            assert in_order(found, handle.job_id) == [event.seq for event in events]
    await storage.aclose()


async def test_a_process_that_ends_well_hands_nothing_out_twice(address: str, tmp_path: Path) -> None:
    path = tmp_path / "written"
    for _ in range(2):
        projection = Written(str(path))
        async with RuntimeKernel(
            storage=address, operators=[work], projections=[projection], options=OPTIONS, dispatch="local"
        ) as k:
            handle = await k.execute(ExecutionRequest(operator="work", input=1))
            await handle.result()

            async def written(job_id: str = handle.job_id) -> bool:
                return any(one == job_id and type_ == "job.succeeded" for _, one, _, type_ in lines(path))

            await until(written)
    positions = [position for position, *_ in lines(path)]
    assert positions == sorted(set(positions))
