"""Several workers on Postgres that are killed, paused, stopped and told apart from the dead."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ExecutionHandle, ExecutionRequest, JobCancelled, RuntimeKernel
from agent_runtime.storage.postgres import PostgresStorage
from support.kernels import BOUND, journal, pending, status_becomes, types, until
from support.worker_child import OPERATORS, WORKER
from support.worker_pool import WorkerPool

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 3)]


@pytest.fixture
def pool(database: str, tmp_path: Path) -> Iterator[WorkerPool]:
    with WorkerPool(database, tmp_path, size=2) as pool:
        yield pool


@asynccontextmanager
async def submitter(dsn: str) -> AsyncIterator[RuntimeKernel]:
    """A kernel that only submits and follows."""
    storage = PostgresStorage(dsn)
    async with RuntimeKernel(storage=storage, operators=OPERATORS, options=WORKER, worker=False) as k:
        yield k
    await storage.aclose()


async def holding(handle: ExecutionHandle, world: Path) -> int:
    """Wait until a worker is inside the effect of `hold`, and return its process id."""

    async def begun() -> str:
        return world.read_text() if world.exists() else ""

    return int((await until(begun)).split()[-1])


def hold(tmp_path: Path, effect: str) -> tuple[ExecutionRequest, Path, Path]:
    """Return a request whose effect lasts as long as a gate exists, the gate, and the file that tells who had it."""
    gate, world = tmp_path / "gate", tmp_path / "held"
    gate.touch()
    request = ExecutionRequest(
        operator="hold", input={"gate": str(gate), "world": str(world), "effect": effect}
    )
    return request, gate, world


async def test_the_jobs_of_a_killed_worker_go_on_elsewhere(pool: WorkerPool) -> None:
    async with submitter(pool.dsn) as k:
        request = ExecutionRequest(operator="slow", input={"steps": 20, "seconds": 0.1})
        handles = [await k.execute(request) for _ in range(100)]
        await status_becomes(handles[-1], "running")
        pool.workers[0].kill()
        began = time.monotonic()
        outputs = [(await handle.result(timeout=BOUND)).output["pids"] for handle in handles]
        assert all(len(pids) == 20 for pids in outputs)
        moved = [pids for pids in outputs if len(set(pids)) == 2]
        assert moved, "the killed worker had no job"
        assert {pids[-1] for pids in moved} == {pool.workers[1].pid}
        assert time.monotonic() - began < BOUND
        for handle in handles:
            assert (await types(handle)).count("job.succeeded") == 1


async def test_a_paused_worker_that_wakes_cannot_write_one_byte(pool: WorkerPool, tmp_path: Path) -> None:
    request, gate, world = hold(tmp_path, "idempotent")
    async with submitter(pool.dsn) as k:
        handle = await k.execute(request)
        paused = await holding(handle, world)
        pool.find(paused).send_signal(signal.SIGSTOP)

        async def moved() -> bool:
            return len(world.read_text().split()) == 2

        await until(moved)
        gate.unlink()
        (other,) = {worker.pid for worker in pool.workers} - {paused}
        assert (await handle.result(timeout=BOUND)).content == f"held by {other}"
        before = await journal(handle)
        pool.find(paused).send_signal(signal.SIGCONT)

        async def registered_again() -> bool:
            return any(worker.info["pid"] == paused for worker in await k.storage.list_workers())

        await until(registered_again)
        following = await k.execute(ExecutionRequest(operator="slow", input={"steps": 1, "seconds": 0}))
        await following.result(timeout=BOUND)
        assert await journal(handle) == before
        assert len(world.read_text().split()) == 2


async def test_an_unsafe_effect_of_a_paused_worker_is_not_repeated(pool: WorkerPool, tmp_path: Path) -> None:
    request, gate, world = hold(tmp_path, "unsafe")
    async with submitter(pool.dsn) as k:
        handle = await k.execute(request)
        paused = await holding(handle, world)
        pool.find(paused).send_signal(signal.SIGSTOP)
        question = await pending(handle)
        assert question.type == "reconcile"
        gate.unlink()
        pool.find(paused).send_signal(signal.SIGCONT)
        await handle.resolve_action(question.action_id, {"outcome": "done", "result": "looked it up"})
        assert (await handle.result(timeout=BOUND)).content == "looked it up"
        assert world.read_text().split() == [str(paused)]


async def test_a_stopped_worker_leaves_its_jobs_to_others_at_once(pool: WorkerPool) -> None:
    async with submitter(pool.dsn) as k:
        request = ExecutionRequest(operator="slow", input={"steps": 30, "seconds": 0.05})
        handles = [await k.execute(request) for _ in range(20)]
        await status_becomes(handles[-1], "running")
        stopped = pool.workers[0]
        stopped.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(stopped.wait, BOUND) == 0
        for handle in handles:
            assert len((await handle.result(timeout=BOUND)).output["pids"]) == 30
        for handle in handles:  # released between two steps, so that no step was begun twice
            entries = await journal(handle)
            started = [event.operation_id for event in entries if event.type == "step.started"]
            assert len(started) == len(set(started)) == 30


async def test_a_worker_that_stops_is_not_taken_for_dead_while_its_last_step_ends(
    pool: WorkerPool, tmp_path: Path
) -> None:
    request, gate, world = hold(tmp_path, "idempotent")
    async with submitter(pool.dsn) as k:
        handle = await k.execute(request)
        pid = await holding(handle, world)

        async def last_beat() -> datetime:
            (worker,) = [worker for worker in await k.storage.list_workers() if worker.info["pid"] == pid]
            return worker.heartbeat_at

        pool.find(pid).terminate()
        told_at = await last_beat()

        async def long_ago() -> bool:
            return await last_beat() > told_at + timedelta(seconds=2 * WORKER.worker_timeout)

        await until(long_ago)
        gate.unlink()
        assert (await handle.result(timeout=BOUND)).content == f"held by {pid}"
        assert world.read_text().split() == [str(pid)]


async def test_two_branches_of_one_job_stay_with_one_worker_when_an_answer_comes(
    pool: WorkerPool, tmp_path: Path
) -> None:
    """The answer to one branch must not let a second worker take the job from under the other branch's effect."""
    gate, world = tmp_path / "gate", tmp_path / "held"
    gate.touch()
    given = {"gate": str(gate), "world": str(world)}
    async with submitter(pool.dsn) as k:
        handle = await k.execute(ExecutionRequest(operator="two_branches", input=given))
        await holding(handle, world)
        question = await pending(handle)
        await handle.resolve_action(question.action_id, {"approved": True})

        async def answered() -> bool:
            return "action.resolved" in await types(handle)

        await until(answered)
        gate.unlink()
        output: Any = (await handle.result(timeout=BOUND)).output
        assert output["approved"] is True
        assert len(world.read_text().split()) == 1
        assert (await types(handle)).count("job.resumed") == 0


async def test_a_job_is_cancelled_from_another_process(pool: WorkerPool, tmp_path: Path) -> None:
    request, _, world = hold(tmp_path, "read")
    async with submitter(pool.dsn) as k:
        handle = await k.execute(request)
        await holding(handle, world)
        await handle.cancel("from next door")
        with pytest.raises(JobCancelled, match="from next door"):
            await handle.result(timeout=BOUND)


async def test_a_reader_in_another_process_sees_every_event_in_order(pool: WorkerPool) -> None:
    async with submitter(pool.dsn) as k:
        handle = await k.execute(ExecutionRequest(operator="slow", input={"steps": 50, "seconds": 0}))
        async with asyncio.timeout(BOUND):
            seen = [event async for event in handle.events()]
        assert seen == await journal(handle)
        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
