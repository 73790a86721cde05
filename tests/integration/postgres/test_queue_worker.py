"""The queue's worker inside a dispatcher."""

import asyncio
from typing import Any

import procrastinate
import pytest

from agent_runtime.adapters.procrastinate import PostgresDispatcher
from support.kernels import BOUND

pytestmark = pytest.mark.timeout(BOUND * 2)


class Deaf:
    """A worker that loses the first cancellation, as procrastinate's does while its connection fails."""

    def __init__(self) -> None:
        self.runs = asyncio.Event()
        self.lost = 0
        self.ended = 0

    async def run(self, app: procrastinate.App, **options: Any) -> None:
        self.runs.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.lost += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.ended += 1


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Deaf:
    worker = Deaf()

    async def run(app: procrastinate.App, **options: Any) -> None:
        await worker.run(app, **options)

    monkeypatch.setattr(procrastinate.App, "run_worker_async", run)
    return worker


async def started(dsn: str) -> PostgresDispatcher:
    async def advance(job_id: str) -> None:
        raise AssertionError("there is no job")

    dispatcher = PostgresDispatcher(dsn)
    await dispatcher.start(advance)
    return dispatcher


async def test_a_dispatcher_stops_though_its_worker_loses_a_cancellation(database: str, deaf: Deaf) -> None:
    dispatcher = await started(database)
    async with asyncio.timeout(BOUND):
        await deaf.runs.wait()
        await dispatcher.stop(drain=0.0)
    assert (deaf.lost, deaf.ended) == (1, 1)


async def test_a_program_that_ends_without_stopping_it_ends(database: str, deaf: Deaf) -> None:
    """What `asyncio.run` does with the tasks that are left: cancel each once, and wait for all of them."""
    before = asyncio.all_tasks()
    dispatcher = await started(database)
    async with asyncio.timeout(BOUND):
        await deaf.runs.wait()
        left = {task for task in asyncio.all_tasks() - before if "queue" in task.get_name()}
        left |= {task for task in asyncio.all_tasks() if task.get_name() == "procrastinate worker"}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    assert (deaf.lost, deaf.ended) == (1, 1)
    await dispatcher.stop(drain=0.0)
