"""Many jobs that are due, and many whose end is awaited: what is looked at stays small."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent_runtime import ActionSpec, ExecutionRequest, JobFilter, JobStatus, OperatorContext, RuntimeEvent
from agent_runtime.ports.commit import NewEvent
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.examples import commit, job
from support.kernels import BOUND, QUICK, kernel, pending, until

pytestmark = pytest.mark.timeout(BOUND * 3)


async def quick(context: OperatorContext, given: object) -> None:
    """Nothing to do."""


async def asking(context: OperatorContext, given: object) -> None:
    """Wait for a person."""
    await context.action(ActionSpec(type="confirm"))


class Watched(MemoryStorage):
    """Counts the journals that are looked into."""

    looked = 0
    most_due = 0

    async def tail(self, job_id: str, limit: int) -> Sequence[RuntimeEvent]:
        self.looked += 1
        return await super().tail(job_id, limit)

    async def due_jobs(self, **options: object) -> Sequence[tuple[str, int]]:
        due = await super().due_jobs(**options)  # type: ignore[arg-type]  # passed on as they are
        self.most_due = max(self.most_due, len(due))
        return due


@pytest.mark.parametrize("places", [20, 3000])
async def test_a_backlog_is_worked_off_without_ever_being_taken_up_at_once(places: int) -> None:
    storage, number = Watched(), 1600
    created = [(job(operator="quick"), [NewEvent("job.created")]) for _ in range(number)]
    await storage.commit(commit(create=created))
    options = replace(QUICK, sweep_interval=3600.0, heartbeat_interval=0.2, max_concurrency=places)
    async with kernel(storage, operators=[quick], options=options) as k:

        async def all_ended() -> bool:
            return await k.jobs.count(JobFilter(status=frozenset({JobStatus.SUCCEEDED}))) == number

        async with asyncio.timeout(BOUND * 2.5):
            while not await all_ended():
                await asyncio.sleep(0.1)  # looking costs as much as some jobs do
    assert 0 < storage.most_due <= 1000


async def test_jobs_that_are_awaited_and_wait_cost_no_look_into_their_journals() -> None:
    storage = Watched()
    async with kernel(storage, operators=[asking]) as k:
        handles = [await k.execute(ExecutionRequest(operator="asking")) for _ in range(50)]
        results = [asyncio.ensure_future(handle.result(timeout=BOUND)) for handle in handles]
        waiting = JobFilter(status=frozenset({JobStatus.WAITING_ACTION}))

        async def all_wait() -> bool:
            return await k.jobs.count(waiting) == len(handles)

        await until(all_wait)
        looked = storage.looked
        await k._changes.sweep()
        assert storage.looked == looked
        for handle in handles:
            question = await pending(handle)
            await handle.resolve_action(question.action_id, {"confirmed": True})
        await asyncio.gather(*results)
