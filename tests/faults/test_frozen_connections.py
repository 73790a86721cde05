"""Connections to Postgres that are frozen: nothing arrives, nothing is refused, nobody says so.

Who is cancelled meanwhile is cancelled; a process that is told to stop stops; and what thaws later does no harm.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from agent_runtime.ports.journal import Worker
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.examples import NOW, commit, job
from agent_runtime.values.capacity import NO_CAPS
from agent_runtime.values.job import JobFilter
from support.kernels import BOUND
from support.tcp_proxy import FreezingProxy

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 3)]
WORKER = Worker(
    worker_id="w", queues=(), operators=(), started_at=NOW, heartbeat_at=NOW, info={"timeout": 7.0}
)
CALLS: dict[str, Callable[[PostgresStorage], Awaitable[Any]]] = {
    "get_job": lambda storage: storage.get_job("job"),
    "events": lambda storage: storage.events("job"),
    "list_jobs": lambda storage: storage.list_jobs(JobFilter()),
    "due_jobs": lambda storage: storage.due_jobs(caps=NO_CAPS),
    "commit": lambda storage: storage.commit(commit(create=[(job(), [])])),
    "claim": lambda storage: storage.claim("job", owner="w", at=NOW),
    "fold": lambda storage: storage.fold("job", fence=1, at=NOW),
    "register_worker": lambda storage: storage.register_worker(WORKER),
    "remove_worker": lambda storage: storage.remove_worker("w"),
    "expire_workers": lambda storage: storage.expire_workers(7.0),
    "acquire_executor": lambda storage: storage.acquire_executor(),
    "setup": lambda storage: storage.setup(),
    "prune": lambda storage: storage.prune(before=NOW),
}


@pytest.fixture
async def proxy(database: str) -> AsyncIterator[FreezingProxy]:
    async with FreezingProxy(database) as proxy:
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
