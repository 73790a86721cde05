"""Two releases of an application on one database: workers of the old one leave while those of the new one work."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_runtime import ExecutionRequest, RuntimeKernel
from agent_runtime.storage.postgres import PostgresStorage
from support.kernels import BOUND, pending, status_becomes, types, until
from support.rolling_child import OPERATORS, OPTIONS
from support.worker_pool import WorkerPool

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 4)]

JOBS = 60


class Release(WorkerPool):
    """Workers of one release."""

    module = "support.rolling_child"


@asynccontextmanager
async def submitter(dsn: str) -> AsyncIterator[RuntimeKernel]:
    """A kernel of the new release that only submits and follows."""
    storage = PostgresStorage(dsn)
    async with RuntimeKernel(storage=storage, operators=OPERATORS["2"], options=OPTIONS, worker=False) as k:
        yield k
    await storage.aclose()


def release(monkeypatch: pytest.MonkeyPatch, dsn: str, folder: Path, name: str, *, size: int) -> Release:
    """Return workers of a release, to be entered while the environment says which."""
    monkeypatch.setenv("RELEASE", name)
    (folder / name).mkdir()
    return Release(dsn, folder / name, size=size)


async def leave(workers: Release) -> None:
    """Stop workers as a deploy does."""
    for worker in workers.workers:
        worker.send_signal(signal.SIGTERM)
    for worker in workers.workers:
        assert await asyncio.to_thread(worker.wait, BOUND) == 0


async def test_jobs_of_a_new_operator_are_run_by_those_who_know_it(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with submitter(database) as k:
        with release(monkeypatch, database, tmp_path, "1", size=2) as old:
            early = [await k.execute(ExecutionRequest(operator="fresh", input=n)) for n in range(JOBS)]
            usual = await k.execute(ExecutionRequest(operator="plain", input=1))
            assert (await usual.result(timeout=BOUND)).output == 1
            with release(monkeypatch, database, tmp_path, "2", size=1):
                late = [await k.execute(ExecutionRequest(operator="fresh", input=n)) for n in range(JOBS)]
                await leave(old)
                for handle in early + late:
                    await handle.result(timeout=BOUND, wait_blocked=True)
        for handle in late:
            assert "job.blocked" not in await types(handle)


async def test_a_job_that_nobody_knows_for_long_is_blocked_and_freed_by_who_knows_it(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with submitter(database) as k:
        queued = await k.execute(ExecutionRequest(operator="fresh", input=1, queue="a queue of its own"))
        with release(monkeypatch, database, tmp_path, "1", size=1):
            await status_becomes(queued, "blocked")
            doomed = await k.execute(ExecutionRequest(operator="fresh", input=1))
            await doomed.cancel()
            await status_becomes(doomed, "cancelled")
        with release(monkeypatch, database, tmp_path, "2", size=1):
            assert (await queued.result(timeout=BOUND, wait_blocked=True)).output == 1


@pytest.mark.parametrize("named", [True, False])
async def test_a_job_begun_by_the_new_release_ends_there_whoever_takes_it_meanwhile(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    if named:
        monkeypatch.setenv("NAMED", "1")
    async with submitter(database) as k:
        with release(monkeypatch, database, tmp_path, "2", size=1) as new:
            handles = [await k.execute(ExecutionRequest(operator="changing", input=n)) for n in range(6)]
            for handle in handles:
                await status_becomes(handle, "waiting_action")
            with release(monkeypatch, database, tmp_path, "1", size=1) as old:
                await leave(new)
                for handle in handles:
                    question = await pending(handle)
                    await handle.resolve_action(question.action_id, {"confirmed": True})
                for handle in handles:
                    await status_becomes(handle, "blocked")
                    assert (await handle.job()).error_code == "NONDETERMINISM"
                monkeypatch.setenv("RELEASE", "2")
                new.fill()
                await leave(old)
                for handle in handles:
                    assert (await handle.result(timeout=BOUND, wait_blocked=True)).content == "2"


async def test_the_last_worker_of_an_application_leaves_its_jobs_queued(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with submitter(database) as k:
        with release(monkeypatch, database, tmp_path, "1", size=1) as old:
            await leave(old)
        handle = await k.execute(ExecutionRequest(operator="fresh", input=1))

        async def nobody() -> bool:
            return not await k.storage.list_workers()

        await until(nobody)
        assert await handle.status() == "queued"
