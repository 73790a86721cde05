"""Connections to Postgres that are frozen: nothing arrives, nothing is refused, nobody says so.

Who is cancelled meanwhile is cancelled; a process that is told to stop stops; and what thaws later does no harm.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from agent_runtime import ExecutionRequest, RuntimeKernel
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.examples import NOW, commit, job
from agent_runtime.values.capacity import NO_CAPS
from agent_runtime.values.job import JobFilter
from support.kernels import BOUND, QUICK, status_becomes, types
from support.tcp_proxy import FreezingProxy
from support.worker_child import OPERATORS
from support.worker_pool import WorkerPool

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 3)]
WORKER = WorkerRecord(
    worker_id="w", queues=(), operators=(), started_at=NOW, heartbeat_at=NOW, info={"timeout": 7.0}
)
CALLS: dict[str, Callable[[PostgresStorage], Awaitable[Any]]] = {
    "get_job": lambda storage: storage.get_job("job"),
    "events": lambda storage: storage.events("job"),
    "list_jobs": lambda storage: storage.list_jobs(JobFilter()),
    "due_jobs": lambda storage: storage.due_jobs(caps=NO_CAPS),
    "commit": lambda storage: storage.commit(commit(create=[(job(), [])])),
    "claim": lambda storage: storage.claim("job", owner="w", at=NOW),
    "drain_signals": lambda storage: storage.drain_signals("job", fence=1, at=NOW),
    "register_worker": lambda storage: storage.register_worker(WORKER),
    "remove_worker": lambda storage: storage.remove_worker("w"),
    "expire_workers": lambda storage: storage.expire_workers(7.0),
    "acquire_executor": lambda storage: storage.acquire_executor(),
    "setup": lambda storage: storage.setup(),
    "prune": lambda storage: storage.prune(before=NOW),
}


@pytest.fixture
async def proxy(module_database: str) -> AsyncIterator[FreezingProxy]:
    async with FreezingProxy(module_database) as proxy:
        yield proxy
        proxy.thaw()


async def warmed(storage: PostgresStorage) -> None:
    """Open a storage, and have it use several connections."""
    await storage.open()
    await storage.commit(commit(create=[(job(), [])]))
    await asyncio.gather(*(storage.get_job("job") for _ in range(6)))


@pytest.fixture(params=["address", "pool"])
async def storage(proxy: FreezingProxy, request: pytest.FixtureRequest) -> AsyncIterator[PostgresStorage]:
    """A storage over an address, or over a pool of the caller's, whose statements have no time-out of their own."""
    if request.param == "address":
        storage = PostgresStorage(proxy.url)
        await warmed(storage)
        yield storage
        proxy.thaw()
        await storage.aclose()
        return
    async with asyncpg.create_pool(proxy.url, min_size=3, max_size=10) as pool:
        storage = PostgresStorage(pool)
        await warmed(storage)
        yield storage
        proxy.thaw()
        await storage.aclose()


@pytest.mark.parametrize("call", CALLS)
async def test_who_is_cancelled_while_nothing_arrives_is_cancelled(
    storage: PostgresStorage, proxy: FreezingProxy, call: str
) -> None:
    """And not answered a while later, by a second try on another connection, nor told of a connection that was lost."""
    proxy.freeze(new=False)
    asking = asyncio.ensure_future(CALLS[call](storage))
    await asyncio.wait_for(proxy.held.wait(), BOUND)
    asking.cancel()
    done, _ = await asyncio.wait((asking,), timeout=2.0)
    assert done
    assert asking.cancelled()


@pytest.mark.parametrize("call", CALLS)
async def test_who_waits_no_longer_than_he_wants_is_told_so(
    storage: PostgresStorage, proxy: FreezingProxy, call: str
) -> None:
    proxy.freeze(new=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await CALLS[call](storage)
    assert not proxy.held.is_set() or asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_storage_is_closed_although_nothing_arrives(
    storage: PostgresStorage, proxy: FreezingProxy
) -> None:
    proxy.freeze()
    async with asyncio.timeout(BOUND / 2):
        await storage.aclose()


@pytest.fixture
async def worker(proxy: FreezingProxy, tmp_path: Path) -> AsyncIterator[WorkerPool]:
    """A worker whose connections can be frozen."""
    pool = WorkerPool(proxy.url, tmp_path, size=1)
    await asyncio.to_thread(pool.__enter__)
    yield pool
    proxy.thaw()
    await asyncio.to_thread(pool.__exit__)


@asynccontextmanager
async def submitter(dsn: str) -> AsyncIterator[RuntimeKernel]:
    """A kernel that only submits and follows."""
    storage = PostgresStorage(dsn)
    async with RuntimeKernel(storage=storage, operators=OPERATORS, options=QUICK, worker=False) as k:
        yield k
    await storage.aclose()


async def test_a_worker_that_hears_nothing_any_more_stops_when_it_is_told_to(
    worker: WorkerPool, proxy: FreezingProxy, module_database: str
) -> None:
    """And runs nothing that it gets to hear of too late."""
    (process,) = worker.workers
    async with submitter(module_database) as k:
        slow = ExecutionRequest(operator="slow", input={"steps": 200, "seconds": 0.05})
        running = await k.execute(slow)
        await status_becomes(running, "running")
        proxy.freeze()
        waiting = [await k.execute(slow) for _ in range(3)]
        process.terminate()
        assert await asyncio.to_thread(process.wait, BOUND) == 0, worker.log()[-4000:]
        proxy.thaw()
        for handle in waiting:
            assert await types(handle) == ["job.created"]
        await asyncio.to_thread(worker.fill)  # another one finds all of it
        for handle in (running, *waiting):
            await handle.cancel()
            await status_becomes(handle, "cancelled")


async def test_a_worker_that_stops_while_its_server_is_silent_begins_nothing_when_that_speaks_again(
    worker: WorkerPool, proxy: FreezingProxy, module_database: str
) -> None:
    (process,) = worker.workers
    async with submitter(module_database) as k:
        proxy.freeze()
        late = await k.execute(ExecutionRequest(operator="slow", input={"steps": 1, "seconds": 0.0}))
        process.terminate()
        proxy.thaw()
        assert await asyncio.to_thread(process.wait, BOUND) == 0, worker.log()[-4000:]
        assert "step.started" not in await types(late)


APPLICATION = """
from agent_runtime import RuntimeKernel

async def nothing(context, given):
    return None

def kernel():
    import os
    return RuntimeKernel.create(storage=os.environ["AGENT_RUNTIME_STORAGE"], operators={"nothing": nothing})
"""


async def said(stream: asyncio.StreamReader | None, text: str) -> None:
    """Wait for a line that contains a text."""
    assert stream is not None
    async with asyncio.timeout(BOUND):
        while text.encode() not in (line := await stream.readline()):
            assert line, f"it ended without saying {text!r}"


async def test_a_second_sigterm_does_not_wait_for_a_silent_server(
    proxy: FreezingProxy, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent_runtime.cli", "worker", "--app", "shop:kernel",
        cwd=tmp_path, env={**os.environ, "AGENT_RUNTIME_STORAGE": proxy.url},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await said(process.stdout, "executes nothing")
        proxy.freeze()
        process.terminate()
        await said(process.stderr, "stopping")
        process.terminate()
        async with asyncio.timeout(BOUND):  # less than the first one alone would have had it wait
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
