"""The queue's worker inside a dispatcher."""

import asyncio
from typing import Any

import asyncpg
import procrastinate
import pytest

from agent_runtime.adapters.procrastinate import PostgresDispatcher
from agent_runtime.ports.commit import NewEvent
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.examples import NOW, commit, job
from support.kernels import BOUND, until

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


class SlowToHear(PostgresDispatcher):
    """Hears late what the database says of the first jobs it asks about: it is no longer true then."""

    def __init__(self, dsn: str, *, error: type[Exception] | None = None) -> None:
        super().__init__(dsn)
        self.answered, self.go_on = asyncio.Event(), asyncio.Event()
        self.error = error

    async def _due(self, job_ids: list[str]) -> list[dict[str, Any]]:
        found = await super()._due(job_ids)
        if not self.answered.is_set():
            self.answered.set()
            await self.go_on.wait()
            if self.error is not None:
                raise self.error("nobody expected this")
        return found


@pytest.mark.parametrize("error", [None, RuntimeError])
async def test_a_job_that_is_submitted_while_an_earlier_wake_of_it_is_looked_up_gets_its_entry(
    database: str, error: type[Exception] | None
) -> None:
    """The first look finds it owned; by the time that is heard of it is free, and submitted again."""
    storage = PostgresStorage(database)
    await storage.open()
    record = job()
    await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
    assert await storage.claim(record.job_id, owner="w1", at=NOW) is not None
    dispatcher = SlowToHear(database, error=error)
    await dispatcher.open()
    connection = await asyncpg.connect(database)
    try:
        dispatcher.submit(record.job_id)
        async with asyncio.timeout(BOUND):
            await dispatcher.answered.wait()
        assert await storage.free_job(record.job_id, fence=1)
        dispatcher.submit(record.job_id)
        dispatcher.go_on.set()
        count = "SELECT count(*) FROM procrastinate_jobs WHERE queueing_lock = $1"
        assert await until(lambda: connection.fetchval(count, record.job_id)) == 1
    finally:
        await connection.close()
        await dispatcher.stop(drain=0.0)
        await storage.aclose()
