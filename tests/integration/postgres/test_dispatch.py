"""Several kernels on one database: what one scope may take, and who executes what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from agent_runtime import ExecutionRequest, JobCancelled, PostgresStorage, QueueFull, RuntimeKernel
from support.gated import Gated
from support.kernels import BOUND, QUICK, pending, status_becomes, until
from support.operators import ask

pytestmark = pytest.mark.timeout(BOUND * 3)

UNSWEPT = replace(QUICK, sweep_interval=600.0)
"""Nothing is found by looking: whoever was turned away must be told."""


@asynccontextmanager
async def workers(dsn: str, *each: dict[str, Any]) -> AsyncIterator[list[tuple[RuntimeKernel, Gated]]]:
    """Run a kernel for each set of options, each with a storage and a gated operator of its own."""
    async with AsyncExitStack() as stack:
        started = []
        for options in each:
            storage = PostgresStorage(dsn)
            stack.push_async_callback(storage.aclose)
            gated = Gated()
            settings = replace(UNSWEPT, **{key: value for key, value in options.items() if key != "worker"})
            k = RuntimeKernel(
                storage=storage,
                operators=[gated, ask],
                options=settings,
                worker=options.get("worker", True),
            )
            await stack.enter_async_context(k)
            started.append((k, gated))
        yield started


async def most_owned(dsn: str, scope_id: str, done: asyncio.Event) -> int:
    """Return the most jobs of a scope that had an owner at any moment that was looked at."""
    connection = await asyncpg.connect(dsn)
    most = 0
    while not done.is_set():
        owned = await connection.fetchval(
            "SELECT count(*) FROM runtime_jobs WHERE owner IS NOT NULL AND scope_id = $1", scope_id
        )
        most = max(most, owned)
        await asyncio.sleep(0.002)
    await connection.close()
    return most


async def test_two_workers_together_keep_to_a_scopes_cap_and_finish_everything(database: str) -> None:
    caps = {"max_concurrency_per_scope": 3}
    async with workers(database, caps, caps, {**caps, "worker": False}) as started:
        done = asyncio.Event()
        watching = asyncio.ensure_future(most_owned(database, "noisy", done))
        for _, gated in started:
            gated.everyone.set()
        handles = [
            await k.execute(ExecutionRequest(operator="gated", input=n, scope_id="noisy"))
            for n in range(20)
            for k, _ in started
        ]
        for handle in handles:
            await handle.result(timeout=BOUND)
        done.set()
        assert 1 <= await watching <= 3
        assert sum(len(gated.order) for _, gated in started) == 60


async def test_a_noisy_scope_does_not_take_the_places_of_others(database: str) -> None:
    async with workers(database, {"max_concurrency": 4, "scope_concurrency": {"noisy": 1}}) as ((k, gated),):
        noisy = [
            await k.execute(ExecutionRequest(operator="gated", input=n, scope_id="noisy", priority=9))
            for n in range(10)
        ]
        quiet = await k.execute(ExecutionRequest(operator="gated", input="quiet", scope_id="quiet"))
        gated.let_go("quiet")
        await quiet.result(timeout=BOUND)
        assert gated.order.count("quiet") == 1
        assert len(gated.order) == 2
        gated.everyone.set()
        for handle in noisy:
            await handle.result(timeout=BOUND)
        assert [who for who in gated.order if who != "quiet"] == list(range(10))


async def test_the_place_a_job_leaves_is_given_to_a_job_that_another_worker_has_to_execute(
    database: str,
) -> None:
    cap = {"scope_concurrency": {"s": 1}}
    async with workers(database, {**cap, "queues": ("a",)}, {**cap, "queues": ("b",)}) as (first, second):
        (ka, in_a), (_, in_b) = first, second
        one = await ka.execute(ExecutionRequest(operator="gated", input=1, scope_id="s", queue="a"))
        await status_becomes(one, "running")
        two = await ka.execute(ExecutionRequest(operator="gated", input=2, scope_id="s", queue="b"))
        in_b.everyone.set()
        assert await two.status() == "queued"
        in_a.everyone.set()
        await two.result(timeout=BOUND)
        assert (in_a.order, in_b.order) == ([1], [2])


async def test_a_worker_executes_only_its_queues_even_what_it_submits_itself(database: str) -> None:
    async with workers(database, {"queues": ("a",)}, {"queues": ("b",)}) as ((ka, in_a), (_, in_b)):
        for gated in (in_a, in_b):
            gated.everyone.set()
        for queue in ("a", "b"):
            handle = await ka.execute(ExecutionRequest(operator="gated", input=queue, queue=queue))
            await handle.result(timeout=BOUND)
        assert (in_a.order, in_b.order) == (["a"], ["b"])


async def test_a_cancelled_job_of_a_held_scope_ends_although_it_has_no_place(database: str) -> None:
    options = {"scope_concurrency": {"held": 0}}
    async with workers(database, options, {**options, "worker": False}) as ((_, gated), (k, _)):
        handle = await k.execute(ExecutionRequest(operator="gated", input=1, scope_id="held"))
        await handle.cancel("not needed")
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
        assert gated.order == []


async def test_a_woken_job_keeps_its_priority_on_its_way_through_the_queue(database: str) -> None:
    async with workers(database, {"max_concurrency": 1}, {"worker": False}) as ((_, gated), (k, _)):
        askers = {}
        for priority in (0, 5):
            handle = await k.execute(ExecutionRequest(operator="ask", priority=priority))
            askers[priority] = (handle, await pending(handle))
            await status_becomes(handle, "waiting_action")
        blocker = await k.execute(ExecutionRequest(operator="gated", input="blocker"))
        await status_becomes(blocker, "running")
        for handle, question in askers.values():
            await handle.resolve_action(question.action_id, {"value": 1})
        connection = await asyncpg.connect(database)

        async def entries() -> Any:
            rows = await connection.fetch(
                "SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo' ORDER BY priority DESC, id"
            )
            return len(rows) == 2 and [row[0] for row in rows]

        assert await until(entries) == [askers[priority][0].job_id for priority in (5, 0)]
        await connection.close()
        gated.everyone.set()
        for handle, _ in askers.values():
            await handle.result(timeout=BOUND)


async def test_submitters_in_several_processes_keep_to_one_bound(database: str) -> None:
    options = {"max_queued": 7, "max_queued_per_scope": 5, "worker": False}
    async with workers(database, options, options, options) as started:
        attempts = [
            k.execute(ExecutionRequest(operator="gated", scope_id=scope))
            for k, _ in started
            for scope in ("a", "b") * 4
        ]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {type(error) for error in refused} == {QueueFull}
        assert len(outcomes) - len(refused) == await started[0][0].jobs.count() == 7
