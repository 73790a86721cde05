"""What jobs are called: their operations, their chance, and what the jobs of one chain share."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    BudgetExceededError,
    BudgetSpec,
    ChildFailed,
    ExecutionRequest,
    JobCancelled,
    OperatorContext,
)
from agent_runtime.ports.commit import Commit, NewEvent
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.testing.clock import FakeClock
from agent_runtime.values.job import JobFilter
from support.kernels import BOUND, QUICK, kernel, status_becomes, until
from support.operators import identity

pytestmark = pytest.mark.timeout(BOUND * 3)


async def chance(context: OperatorContext, given: Any) -> Any:
    return [str(context.uuid()), context.random().random()]


async def test_chance_comes_from_the_jobs_seed_and_the_place() -> None:
    async with kernel(operators=[chance]) as k:
        handle = await k.execute(ExecutionRequest(operator="chance"))
        drawn = (await handle.result()).output
        job = await handle.job()
        assert len({job.seed, job.job_id}) == 2
        twin = job.job_id + "twin"
        again = replace(
            job,
            job_id=twin,
            origin=twin,
            chain_id=twin,
            status=type(job.status).QUEUED,
            completed_at=None,
            fence=0,
            last_seq=0,
        )
        created = NewEvent("job.created", None, {"operator": "chance"})
        await k.storage.commit(
            Commit(commit_id=new_commit_id(), at=k.clock.now(), create=[(again, [created])])
        )
        assert (await k.handle(twin).result()).output == drawn
        other = await k.execute(ExecutionRequest(operator="chance"))
        assert (await other.result()).output != drawn


async def keys(context: OperatorContext, given: Any) -> Any:
    """Continue as new until the last round."""
    await context.step(identity, given["round"], effect="read")
    if given["round"] < given["rounds"]:
        context.continue_as_new({**given, "round": given["round"] + 1})
    if given.get("fails"):
        raise ValueError("the last round failed")
    if given.get("waits"):
        await context.sleep(3600)
    return [given["round"], context.job_id]


async def test_links_of_a_chain_have_names_of_their_own_and_share_the_chain() -> None:
    async with kernel(operators=[keys]) as k:
        handle = await k.execute(ExecutionRequest(operator="keys", input={"round": 1, "rounds": 3}))
        await handle.result()
        links = await k.jobs.list(JobFilter(chain_id=handle.job_id))
        assert len(links) == 3
        assert {link.origin for link in links} == {link.job_id for link in links}
        assert len({link.seed for link in links}) == 3
        last = await handle.job()
        operations = {
            event.operation_id for event in await k.storage.events(last.job_id) if event.operation_id
        }
        assert operations == {f"{last.job_id}:1"}


async def test_a_pruned_first_link_leads_to_the_living_one() -> None:
    """By its key and by old handles, for the result, the status and cancelling."""
    async with kernel(operators=[keys], options=QUICK) as k:
        given = {"round": 1, "rounds": 3, "waits": True}
        request = ExecutionRequest(operator="keys", input=given, idempotency_key="k")
        handle = await k.execute(request)
        await status_becomes(handle, "sleeping")
        living = await handle.job()
        assert living.job_id != handle.job_id
        assert await k.storage.prune(before=k.clock.now() + timedelta(days=1)) == 2
        again = await k.execute(request)
        assert again.job_id == living.job_id
        old = k.handle(handle.job_id, scope_id="default")
        assert await old.status() == "sleeping"
        waiting = asyncio.ensure_future(k.handle(handle.job_id).result())
        await old.cancel("enough")
        with pytest.raises(JobCancelled):
            await handle.result()
        with pytest.raises(JobCancelled):
            await waiting


async def test_a_chain_shares_its_budget_and_its_running_time() -> None:
    """A limit on running time holds for all links together, as every other limit of the run does."""

    clock = FakeClock()

    async def busy(context: OperatorContext, given: int) -> Any:
        await context.step(work, effect="read")
        context.continue_as_new(given + 1)

    async def work() -> None:
        clock.move(seconds=3)

    async with kernel(operators=[busy], clock=clock) as k:
        handle = await k.execute(
            ExecutionRequest(operator="busy", input=1, budgets=BudgetSpec(max_runtime_seconds=10))
        )
        with pytest.raises(BudgetExceededError, match="max_runtime_seconds"):
            await handle.result(timeout=BOUND)
        links = await k.jobs.list(JobFilter(chain_id=handle.job_id))
        assert len(links) == 5
        assert all(link.budgets == BudgetSpec(max_runtime_seconds=10) for link in links)


async def test_a_child_gets_what_its_parent_has_left_of_its_running_time() -> None:
    clock = FakeClock()

    async def parent(context: OperatorContext, given: Any) -> Any:
        await context.step(work, 7)
        with pytest.raises(ChildFailed) as failed:
            await context.child("child")
        return failed.value.error_code

    async def child(context: OperatorContext, given: Any) -> Any:
        await context.action(ActionSpec(type="input"))  # answered when the parent is no longer in memory
        await context.step(work, 4)
        await context.child("grandchild")

    async def grandchild(context: OperatorContext, given: Any) -> Any:
        await context.step(work, 1)

    async def work(seconds: int) -> None:
        clock.move(seconds=seconds)

    async with kernel(operators=[parent, child, grandchild], clock=clock) as k:
        budgets = BudgetSpec(max_runtime_seconds=10)
        handle = await k.execute(ExecutionRequest(operator="parent", budgets=budgets))
        await status_becomes(handle, "waiting")
        (question,) = await until(k.actions.list_pending)
        await k.actions.resolve_by_id(question.action_id, {"value": 1}, resolved_by="ann")
        assert (await handle.result(timeout=BOUND)).output == "CHILD_FAILED"
        ended = await k.jobs.list(JobFilter(operator="grandchild"))
        assert [(job.status, job.error_code) for job in ended] == [("failed", "BUDGET_EXCEEDED")]
