"""Waiters, timers and questions between two hands: nobody waits for ever, nothing fires late or never."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ActionSpec, ExecutionRequest, JobCancelled, OperatorContext
from agent_runtime.ports.commit import ActionChange, Commit
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import commit_of
from agent_runtime.values.action import ActionStatus
from support.hooked_storage import HookedStorage
from support.kernels import BOUND, QUICK, kernel, opened, status_becomes
from support.slow_storage import SlowStorage
from support.soak.virtual import LoopClock, run_in_virtual_time

pytestmark = pytest.mark.timeout(BOUND * 3)
NO_SWEEP = replace(QUICK, sweep_interval=3600.0, heartbeat_interval=3600.0, worker_timeout=7200.0)
"""For schedules in which a later look at the tables would hide that nobody was told."""


async def test_a_reader_who_sees_the_end_first_does_not_leave_the_others_waiting() -> None:
    """The end is on disk but not announced; a second waiter reads it and goes; the first one must still be told."""
    storage = SlowStorage(commit_of("job.succeeded"))

    async def operator(context: OperatorContext, given: object) -> str:
        await asked.wait()
        return "done"

    asked = asyncio.Event()
    async with kernel(storage, operators=[operator], options=NO_SWEEP) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        first = asyncio.create_task(handle.result())
        await asyncio.sleep(0)
        asked.set()
        async with asyncio.timeout(BOUND):
            await storage.written.wait()
            assert (await k.handle(handle.job_id).result()).content == "done"
            storage.release.set()
            assert (await first).content == "done"


class SlowLooking(MemoryStorage):
    """Answers late when asked for the next timer: what is set meanwhile is not in the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = False
        self.looked, self.release = asyncio.Event(), asyncio.Event()

    async def next_timer(self) -> datetime | None:
        moment = await super().next_timer()
        if self.slow and not self.looked.is_set():
            self.looked.set()
            await self.release.wait()
        return moment


async def test_a_timer_set_while_the_next_one_is_looked_for_is_not_overlooked() -> None:
    """The last known timer has fired, the table is being read, a later timer is set: it is in neither."""

    async def operator(context: OperatorContext, seconds: float) -> str:
        await context.sleep(seconds)
        return "woke"

    storage = SlowLooking()
    async with kernel(storage, operators=[operator], options=NO_SWEEP) as k:
        first = await k.execute(ExecutionRequest(operator="operator", input=0.05))
        await status_becomes(first, "sleeping")
        storage.slow = True
        async with asyncio.timeout(BOUND):
            await storage.looked.wait()
            second = await k.execute(ExecutionRequest(operator="operator", input=0.05))
            await status_becomes(second, "sleeping")
            storage.release.set()
            assert (await second.result()).content == "woke"


async def test_a_question_that_gets_a_vote_while_it_expires_expires_all_the_same() -> None:
    """The expiry has read no vote, a vote is written, the expiry is refused: it must not be given up."""
    storage = MemoryStorage()

    async def vote() -> None:
        (action,) = await storage.list_actions()
        cast = ({"by": "ann", "resolution": {"approved": True}},)
        change = ActionChange(action_id=action.action_id, status=ActionStatus.PENDING, votes=cast)
        await storage.commit(Commit(commit_id=new_commit_id(), at=action.created_at, action_changes=[change]))

    async def operator(context: OperatorContext, given: object) -> str:
        await context.action(
            ActionSpec(type="approval", timeout_seconds=0.05, approvers=["ann", "bob"], quorum=2)
        )
        return "answered"

    def expiring(commit: Commit) -> bool:
        return any(change.status is ActionStatus.EXPIRED for change in commit.action_changes)

    hooked = HookedStorage(storage, expiring, vote)
    async with kernel(hooked, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        with pytest.raises(Exception, match="expired before anybody answered"):
            await handle.result(timeout=BOUND)
        assert hooked.called


async def test_a_timer_that_cannot_be_fired_does_not_keep_the_others_from_firing() -> None:
    class Poisoned(MemoryStorage):
        async def get_action(self, action_id: str, *, scope_id: str | None = None) -> Any:
            raise RuntimeError("this row cannot be read")

    async def operator(context: OperatorContext, given: object) -> str:
        await context.open_action(ActionSpec(type="input", timeout_seconds=0.01))
        await context.sleep(0.05)
        return "woke"

    async with kernel(Poisoned(), operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await handle.result(timeout=BOUND)).content == "woke"


def test_a_timer_that_cannot_be_fired_is_not_tried_again_all_the_time() -> None:
    async def main() -> None:
        tries = []

        class Poisoned(MemoryStorage):
            async def get_action(self, action_id: str, *, scope_id: str | None = None) -> Any:
                tries.append(action_id)
                raise RuntimeError("this row cannot be read")

        async def operator(context: OperatorContext, given: object) -> None:
            await context.open_action(ActionSpec(type="input", timeout_seconds=0.01))
            await context.sleep(10)

        async with kernel(Poisoned(), operators=[operator], clock=LoopClock()) as k:
            handle = await k.execute(ExecutionRequest(operator="operator"))
            await handle.result(timeout=BOUND)
        assert 2 <= len(tries) <= 100

    run_in_virtual_time(main())


async def test_a_job_that_is_cancelled_while_it_continues_as_new_does_not_go_on() -> None:
    """The request to stop waits as a signal when the job hands over to its successor: it must not be dropped."""
    storage = MemoryStorage()
    canceller = kernel(storage, worker=False)

    async def endless(context: OperatorContext, given: int) -> None:
        if given:
            await context.action(ActionSpec(type="input"))
        context.continue_as_new(given + 1)

    async def cancel_it() -> None:
        (job,) = await canceller.jobs.list()
        await canceller.handle(job.job_id).cancel()

    hooked = HookedStorage(storage, commit_of("job.succeeded"), cancel_it)
    async with kernel(hooked, operators=[endless]) as k:
        handle = await k.execute(ExecutionRequest(operator="endless", input=0))
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
        assert hooked.called


async def test_cancelling_a_job_that_has_continued_as_new_stops_its_successor() -> None:
    async def endless(context: OperatorContext, given: int) -> None:
        if given:
            await context.action(ActionSpec(type="input"))
        context.continue_as_new(given + 1)

    async with kernel(operators=[endless]) as k:
        handle = await k.execute(ExecutionRequest(operator="endless", input=0))
        await status_becomes(handle, "waiting_action")
        assert (await handle.job()).job_id != handle.job_id
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)


@dataclass
class World:
    """What an effect has done, and when it may end; of one test, for an operator at the top of the module."""

    ran: int = 0
    inside: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)


WORLDS: list[World] = []


async def effect() -> int:
    world = WORLDS[-1]
    world.ran += 1
    world.inside.set()
    await world.release.wait()
    return world.ran


async def one_effect(context: OperatorContext, given: object) -> Any:
    return await context.step(effect, effect="idempotent")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_second_kernel_on_one_storage_takes_nothing_from_the_first(kind: str, tmp_path: Path) -> None:
    """A second kernel starts on the same storage object: the first one's jobs are in flight, not left behind."""
    world = World()
    WORLDS.append(world)
    async with opened(kind, tmp_path) as storage, kernel(storage, operators=[one_effect]) as first:
        handle = await first.execute(ExecutionRequest(operator="one_effect"))
        async with asyncio.timeout(BOUND):
            await world.inside.wait()
            async with kernel(storage, operators=[one_effect]):
                assert await storage.due_jobs() == []
                world.release.set()
                assert (await handle.result()).output == 1
    assert world.ran == 1
