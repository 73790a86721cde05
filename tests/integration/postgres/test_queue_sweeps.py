"""The sweep of the shared queue: it costs what it finds, and comes to every job in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from agent_runtime import JobFilter, JobStatus, OperatorContext
from agent_runtime.adapters.heard_queues import MAX_QUEUES
from agent_runtime.adapters.procrastinate import LOOKED_AT, PostgresDispatcher
from agent_runtime.ports.commit import NewEvent
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.examples import commit, job
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps
from support.kernels import BOUND, kernel

pytestmark = pytest.mark.timeout(BOUND * 6)


async def quick(context: OperatorContext, given: object) -> None:
    """Nothing to do."""


class Queue:
    """A storage with a shared queue that executes nothing."""

    def __init__(self, storage: PostgresStorage, dispatcher: PostgresDispatcher, connection: Any, caps: ScopeCaps) -> None:  # fmt: skip
        self.storage = storage
        self.dispatcher = dispatcher
        self.connection = connection
        self.caps = caps

    async def fill(self, number: int, **values: Any) -> list[str]:
        """Store jobs that wait and have no entry; return their ids in order."""
        made = [job(**{"scope_id": "loud", "operator": "op", **values}) for _ in range(number)]
        await self.storage.commit(commit(create=[(one, [NewEvent("job.created")]) for one in made]))
        return sorted(one.job_id for one in made)

    async def sweep(self, limit: int = 100) -> int:
        """Sweep as a worker does; return how many entries there are."""
        first = await self.storage.due_jobs(limit=limit, caps=self.caps)
        await self.dispatcher.sweep([one.job_id for one in first])
        return len(await self.entries())

    async def entries(self) -> list[str]:
        """Return the jobs that have an entry, in the order in which those are fetched."""
        found = await self.connection.fetch("SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo' ORDER BY priority DESC, id")  # fmt: skip
        return [job_id for (job_id,) in found]


@asynccontextmanager
async def opened(dsn: str, caps: ScopeCaps = NO_CAPS) -> AsyncIterator[Queue]:
    storage, dispatcher = PostgresStorage(dsn), PostgresDispatcher(dsn, caps=caps)
    await storage.open()
    await dispatcher.open()
    connection = await asyncpg.connect(dsn)
    try:
        yield Queue(storage, dispatcher, connection, caps)
    finally:
        await connection.close()
        await dispatcher.stop(drain=0.0)
        await storage.aclose()


async def test_a_sweep_makes_a_bounded_number_of_entries_and_later_ones_the_rest(database: str) -> None:
    async with opened(database) as queue:
        waiting = await queue.fill(LOOKED_AT + 300)
        assert await queue.sweep() == LOOKED_AT
        assert await queue.sweep() == len(waiting)
        assert await queue.entries() == waiting  # the last of them share one turn, and come in order


async def test_a_lost_entry_is_made_anew_however_many_jobs_wait_ahead(database: str) -> None:
    async with opened(database) as queue:
        waiting = await queue.fill(LOOKED_AT + 300)
        while await queue.sweep() < len(waiting):
            pass
        await queue.connection.execute("DELETE FROM procrastinate_jobs WHERE queueing_lock = $1", waiting[-1])
        for _ in range(2):  # a round
            await queue.sweep()
        assert set(await queue.entries()) == set(waiting)


async def test_jobs_in_more_queues_than_a_worker_listens_to_are_all_executed(database: str) -> None:
    """Whoever submits a job names its queue; a worker that serves all listens to some of very many at a time."""
    number = 2 * MAX_QUEUES + 20
    storage = PostgresStorage(database)
    await storage.open()
    made = [job(operator="quick", queue=f"q{each}", status=JobStatus.QUEUED) for each in range(number)]
    await storage.commit(commit(create=[(one, [NewEvent("job.created")]) for one in made]))
    async with kernel(storage, operators=[quick]) as k, asyncio.timeout(BOUND * 5):
        while await k.jobs.count(JobFilter(status=frozenset({JobStatus.SUCCEEDED}))) < number:
            await asyncio.sleep(0.1)
    await storage.aclose()


async def test_the_first_jobs_of_another_scope_have_entries_at_once(database: str) -> None:
    async with opened(database) as queue:
        await queue.fill(LOOKED_AT + 300, operator="a")
        (quiet,) = await queue.fill(1, scope_id="quiet", operator="b")
        await queue.sweep()
        assert quiet in (await queue.entries())[:2]


async def test_under_a_cap_only_jobs_with_a_place_have_entries(database: str) -> None:
    async with opened(database, ScopeCaps(default=2)) as queue:
        waiting = await queue.fill(40)
        for _ in range(3):
            await queue.sweep()
        assert await queue.entries() == waiting[:2]


async def test_the_queues_statements_are_not_compiled(database: str) -> None:
    """The first sweep of a connection would take seconds for it."""
    async with opened(database) as queue:
        assert await queue.dispatcher._query("SHOW jit") == [{"jit": "off"}]
