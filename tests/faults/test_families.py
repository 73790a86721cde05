"""Parents that end while somebody joins their families, with real transactions beside each other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from agent_runtime import ExecutionRequest, OperatorContext, RuntimeKernel
from agent_runtime.ports.commit import JobChange, NewEvent
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.examples import NOW, commit, job
from agent_runtime.values.job import TERMINAL, JobFilter, JobRecord, JobStatus
from support.kernels import BOUND, kernel, until

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 3)]

FAMILIES = 20
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


async def chain(context: OperatorContext, given: int) -> None:
    """Go on as a new job, for ever."""
    await context.step(int, given, name="link", effect="read")
    await context.continue_as_new(given + 1)


async def head(context: OperatorContext, given: int) -> None:
    """Wait for what never ends."""
    await context.child("chain", given)


async def grandhead(context: OperatorContext, given: int) -> None:
    """Have the chain one deeper."""
    await context.child("head", given)


@pytest.fixture
async def storages(database: str) -> AsyncIterator[tuple[Storage, Storage]]:
    first, second = PostgresStorage(database), PostgresStorage(database)
    await first.open()
    await second.open()
    yield first, second
    await first.aclose()
    await second.aclose()


async def claimed(storage: Storage, **values: Any) -> JobRecord:
    record = job(**values)
    await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
    claim = await storage.claim(record.job_id, owner="w1", at=NOW)
    assert claim is not None
    return claim.job


async def end(storage: Storage, owned: JobRecord, status: JobStatus, **parts: Any) -> None:
    change = JobChange(status=status, release=True, completed_at=NOW)
    await storage.commit(
        commit(
            job_id=owned.job_id,
            fence=owned.fence,
            depth=owned.depth,
            events=[NewEvent(f"job.{status}")],
            job=change,
            **parts,
        )
    )


@pytest.mark.parametrize("first", ["parent", "child"])
async def test_a_parent_ends_between_the_look_and_the_lock_of_a_child_that_goes_on(
    storages: tuple[Storage, Storage], database: str, first: str
) -> None:
    """Both ends stand before the same row, in either order: whichever comes second sees what the other has done."""
    one, other = storages
    parent = await claimed(one)
    child = await claimed(one, parent_job_id=parent.job_id, depth=1)
    successor = job(parent_job_id=parent.job_id, depth=1)
    ends = {
        "parent": lambda: end(one, parent, JobStatus.CANCELLED, cancel_children_of=parent.job_id),
        "child": lambda: end(
            other, child, JobStatus.SUCCEEDED, create=[(successor, [NewEvent("job.created")])]
        ),
    }
    holder, watcher = await asyncpg.connect(database), await asyncpg.connect(database)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("SELECT 1 FROM runtime_jobs WHERE job_id = $1 FOR UPDATE", child.job_id)

    async def stands(number: int) -> bool:
        return bool(await watcher.fetchval(WAITING) == number)

    tasks = []
    for number, who in enumerate([first, *(name for name in ends if name != first)], 1):
        tasks.append(asyncio.ensure_future(ends[who]()))
        await until(lambda number=number: stands(number))
    await transaction.commit()
    await asyncio.gather(*tasks)
    claim = await one.claim(successor.job_id, owner="w1", at=NOW)
    assert claim is not None
    assert [event.type for event in claim.events][-1] == "job.cancel_requested"
    await holder.close()
    await watcher.close()


@pytest.mark.parametrize("operator", ["head", "grandhead"])
async def test_no_chain_goes_on_after_its_parent_was_cancelled(database: str, operator: str) -> None:
    storages = PostgresStorage(database), PostgresStorage(database)
    operators = [chain, head, grandhead]
    async with (
        kernel(storages[0], operators=operators) as k,
        kernel(storages[1], operators=operators),
    ):
        handles = [await k.execute(ExecutionRequest(operator=operator, input=0)) for _ in range(FAMILIES)]
        links = JobFilter(operator="chain", status=frozenset({JobStatus.SUCCEEDED}))

        async def all_go_on() -> bool:
            return await k.jobs.count(links) > FAMILIES * 3

        await until(all_go_on)
        await asyncio.gather(*(handle.cancel() for handle in handles))
        await until(lambda: everything_has_ended(k))
    for storage in storages:
        await storage.aclose()


async def everything_has_ended(k: RuntimeKernel) -> bool:
    active = frozenset(JobStatus) - TERMINAL
    return await k.jobs.count(JobFilter(status=active)) == 0
