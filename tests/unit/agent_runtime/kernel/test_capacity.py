"""How much runs and waits at once: caps of scopes, bounds of the queue, and who comes first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    ExecutionRequest,
    JobCancelled,
    JobFilter,
    JobStatus,
    JobTimedOut,
    OperatorContext,
    PolicyEngine,
    QueueFull,
    RuntimeKernel,
)
from agent_runtime.testing.examples import NOW, commit, job, pairs
from support.gated import Gated
from support.kernels import BOUND, QUICK, kernel, opened, pending, status_becomes, until
from support.operators import ask

pytestmark = [
    pytest.mark.timeout(BOUND * 3),
    pytest.mark.parametrize("kind", ["memory", "sqlite"]),
]

UNSWEPT = replace(QUICK, sweep_interval=600.0)
"""Nothing is found by looking: whoever was turned away must be told."""


@asynccontextmanager
async def running(
    kind: str, folder: Path, *operators: Any, policy_engine: PolicyEngine | None = None, **options: Any
) -> AsyncIterator[tuple[RuntimeKernel, Gated]]:
    """Run a kernel with a gated operator and some options."""
    gated = Gated()
    async with (
        opened(kind, folder) as storage,
        kernel(
            storage,
            operators=[gated, *operators],
            options=replace(UNSWEPT, **options),
            policy_engine=policy_engine,
        ) as k,
    ):
        yield k, gated


def request(who: Any, **values: Any) -> ExecutionRequest:
    """Return a request for a gated job."""
    return ExecutionRequest(operator="gated", input=who, **values)


async def inside(gated: Gated, number: int) -> None:
    """Wait until so many jobs have come in."""

    async def came() -> bool:
        return len(gated.order) >= number

    await until(came)


async def parent(context: OperatorContext, given: int) -> list[str]:
    results = await context.gather(*(context.child("gated", f"child {n}") for n in range(given)))
    return [result.content for result in results]


# -- caps ----------------------------------------------------------------------------------------------------------


async def test_a_noisy_scope_leaves_room_for_others_and_finishes_all_its_jobs(
    kind: str, tmp_path: Path
) -> None:
    async with running(kind, tmp_path, max_concurrency=4, max_concurrency_per_scope=2) as (k, gated):
        noisy = [await k.execute(request(n, scope_id="noisy")) for n in range(20)]
        quiet = await k.execute(request("quiet", scope_id="quiet"))
        await inside(gated, 3)
        assert sorted(gated.order, key=str) == [0, 1, "quiet"]
        gated.let_go("quiet")
        await quiet.result(timeout=BOUND)
        gated.everyone.set()
        for handle in noisy:
            await handle.result(timeout=BOUND)
        assert gated.most == 3  # two of the noisy scope, one of the quiet one


async def test_places_go_to_the_most_urgent_and_then_to_the_oldest(kind: str, tmp_path: Path) -> None:
    async with running(kind, tmp_path, scope_concurrency={"a": 1}) as (k, gated):
        handles = {"first": await k.execute(request("first", scope_id="a"))}
        await inside(gated, 1)
        for who, priority in {"old": 0, "late": 0, "urgent": 5}.items():
            handles[who] = await k.execute(request(who, scope_id="a", priority=priority))
        for number, who in enumerate(["first", "urgent", "old", "late"], 1):
            await inside(gated, number)
            assert gated.order[-1] == who
            gated.let_go(who)
            await handles[who].result(timeout=BOUND)


async def test_a_suspended_job_holds_no_place_and_needs_one_when_it_wakes(kind: str, tmp_path: Path) -> None:
    async with running(kind, tmp_path, ask, max_concurrency_per_scope=1) as (k, gated):
        asker = await k.execute(ExecutionRequest(operator="ask"))
        question = await pending(asker)
        await status_becomes(asker, "waiting_action")
        other = await k.execute(request("other"))
        await inside(gated, 1)
        await asker.resolve_action(question.action_id, {"value": 7})
        assert pairs(await k.storage.due_jobs()) == [(asker.job_id, 0)]
        assert await asker.status() == "waiting_action"
        gated.everyone.set()
        await other.result(timeout=BOUND)
        assert (await asker.result(timeout=BOUND)).output == 7


async def test_a_family_of_jobs_gets_through_a_cap_of_one(kind: str, tmp_path: Path) -> None:
    async with running(kind, tmp_path, parent, max_concurrency_per_scope=1) as (k, gated):
        gated.everyone.set()
        handle = await k.execute(ExecutionRequest(operator="parent", input=3))
        assert (await handle.result(timeout=BOUND)).output == ["child 0", "child 1", "child 2"]
        assert gated.most == 1


async def test_a_job_of_a_held_scope_can_be_cancelled_and_run_out_of_time(kind: str, tmp_path: Path) -> None:
    async with running(kind, tmp_path, scope_concurrency={"held": 0}) as (k, gated):
        cancelled = await k.execute(request("x", scope_id="held"))
        late = await k.execute(request("y", scope_id="held", deadline_seconds=0.05))
        await cancelled.cancel("not needed")
        with pytest.raises(JobCancelled):
            await cancelled.result(timeout=BOUND)
        with pytest.raises(JobTimedOut):
            await late.result(timeout=BOUND)
        assert gated.order == []


async def test_a_cap_that_was_lifted_lets_the_waiting_jobs_through(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as storage:
        async with kernel(
            storage, operators=[Gated()], options=replace(UNSWEPT, scope_concurrency={"held": 0})
        ) as k:
            handle = await k.execute(request("x", scope_id="held"))
        gated = Gated()
        gated.everyone.set()
        async with kernel(storage, operators=[gated], options=UNSWEPT) as k:
            await k.handle(handle.job_id).result(timeout=BOUND)


async def test_a_place_whose_announcement_was_lost_is_found_by_the_sweep(kind: str, tmp_path: Path) -> None:
    async with running(kind, tmp_path, scope_concurrency={"a": 1}, sweep_interval=0.1) as (k, gated):
        elsewhere = job(scope_id="a", operator="gated", status=JobStatus.RUNNING, owner="somebody")
        await k.storage.commit(commit(create=[(elsewhere, [])]))
        waiting = await k.execute(request("x", scope_id="a"))
        assert await k.storage.next_jobs("a", cap=1) == []
        await k.storage.remove_worker("somebody")
        gated.everyone.set()
        await waiting.result(timeout=BOUND)


# -- priorities ----------------------------------------------------------------------------------------------------


async def test_a_woken_job_keeps_its_priority(kind: str, tmp_path: Path) -> None:
    async with running(kind, tmp_path, ask_and_stand, max_concurrency=1) as (k, gated):
        askers = {}
        for who, priority in (("low", 0), ("high", 5)):
            handle = await k.execute(ExecutionRequest(operator="ask_and_stand", input=who, priority=priority))
            askers[who] = (handle, await pending(handle))
            await status_becomes(handle, "waiting_action")
        blocker = await k.execute(request("blocker"))
        await inside(gated, 1)
        for handle, question in askers.values():  # the less urgent one is answered first
            await handle.resolve_action(question.action_id, {"value": 1})
        late = await k.execute(request("late", priority=3))
        second = await k.execute(request("second", priority=10))

        async def all_wait_here() -> bool:
            waiting = k._worker._dispatcher._queued
            return {late.job_id, second.job_id, *(one.job_id for one, _ in askers.values())} <= waiting

        await until(all_wait_here)  # the wake-ups have been looked up
        gated.let_go("blocker")
        await inside(gated, 2)
        gated.everyone.set()
        for handle in (blocker, second, late, *(handle for handle, _ in askers.values())):
            await handle.result(timeout=BOUND)
        ended = [(job.completed_at or NOW, job.job_id) for job in await k.jobs.list(JobFilter())]
        ends = [job_id for _, job_id in sorted(ended)][2:]
        assert ends == [askers["high"][0].job_id, late.job_id, askers["low"][0].job_id]


async def ask_and_stand(context: OperatorContext, given: str) -> Any:
    return await ask(context, given)


# -- bounds --------------------------------------------------------------------------------------------------------


async def test_a_full_queue_refuses_jobs_and_takes_them_again_when_there_is_room(
    kind: str, tmp_path: Path
) -> None:
    async with running(kind, tmp_path, max_concurrency=1, max_queued=2) as (k, gated):
        first = await k.execute(request("first"))
        await inside(gated, 1)
        waiting = [await k.execute(request(n)) for n in range(2)]
        before = await k.jobs.count()
        with pytest.raises(QueueFull, match="2 or more jobs wait for a worker") as refused:
            await k.execute(request("too many"))
        assert refused.value.retry_after > 0
        assert await k.jobs.count() == before
        gated.let_go("first")
        await first.result(timeout=BOUND)
        await inside(gated, 2)
        waiting.append(await k.execute(request("again")))
        gated.everyone.set()
        for handle in waiting:
            await handle.result(timeout=BOUND)


async def test_one_scopes_full_queue_is_not_anothers(kind: str, tmp_path: Path) -> None:
    async with running(kind, tmp_path, scope_concurrency={"a": 0, "b": 0}, max_queued_per_scope=1) as (k, _):
        await k.execute(request("x", scope_id="a"))
        with pytest.raises(QueueFull) as refused:
            await k.execute(request("y", scope_id="a"))
        assert refused.value.scope_id == "a"
        await k.execute(request("z", scope_id="b"))


async def test_a_repeated_request_is_never_refused(kind: str, tmp_path: Path) -> None:
    async with running(kind, tmp_path, scope_concurrency={"default": 0}, max_queued=1) as (k, _):
        first = await k.execute(request("x", idempotency_key="k"))
        again = await k.execute(request("x", idempotency_key="k"))
        assert again.job_id == first.job_id


async def test_children_and_wakes_are_never_refused(kind: str, tmp_path: Path) -> None:
    async with running(kind, tmp_path, parent, ask, max_concurrency=1, max_queued=1) as (k, gated):
        asker = await k.execute(ExecutionRequest(operator="ask"))
        question = await pending(asker)
        await status_becomes(asker, "waiting_action")
        family = await k.execute(ExecutionRequest(operator="parent", input=4))
        await inside(gated, 1)
        with pytest.raises(QueueFull):
            await k.execute(request("too many"))
        await asker.resolve_action(question.action_id, {"value": 1})
        gated.everyone.set()
        assert len((await family.result(timeout=BOUND)).output) == 4
        assert (await asker.result(timeout=BOUND)).output == 1


async def test_a_job_that_needs_a_yes_first_does_not_wait_for_a_worker(kind: str, tmp_path: Path) -> None:
    rules = {"rules": [{"name": "r", "job": "gated", "decision": "require_approval"}]}
    options: dict[str, Any] = {
        "policy_engine": PolicyEngine.from_dict(rules),
        "scope_concurrency": {"default": 0},
        "max_queued": 1,
    }
    async with running(kind, tmp_path, ask, **options) as (k, _):
        await k.execute(ExecutionRequest(operator="ask"))
        with pytest.raises(QueueFull):
            await k.execute(ExecutionRequest(operator="ask"))
        asking = await k.execute(request("x"))
        assert await asking.status() == "waiting_action"
        await asking.resolve_action(
            (await pending(asking)).action_id, {"approved": True}
        )  # a wake, never refused
