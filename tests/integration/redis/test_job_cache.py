"""`RedisJobCache`: what is read is never older than what the reader can know of, whoever writes and whatever is lost."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from agent_runtime import (
    BudgetSpec,
    ExecutionRequest,
    InMemoryJobStore,
    JobManager,
    JobRecord,
    JobSpec,
    JobStatus,
    OperatorContext,
    PolicyRef,
    PostgresJobStore,
    RedisJobCache,
    RuntimeKernel,
)
from agent_runtime.ports.journal import Listener
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.examples import NOW, commit, job
from support.kernels import BOUND, QUICK, until
from support.redis_clients import client_of, unique


class CountingStorage(MemoryStorage):
    """Counts how often a job is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        self.reads += 1
        return await super().get_job(job_id, scope_id=scope_id)


class SlowDeafView:
    """A store as another process has it that hears of no changes; what it reads, it hands out when the gate opens."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self.storage: Any = self
        self.read = asyncio.Event()
        self.gate = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        found = await self._inner.get_job(job_id, scope_id=scope_id)
        self.read.set()
        await self.gate.wait()
        return found

    def listen(self, listener: Listener) -> None:
        """Hear nothing."""

    def unlisten(self, listener: Listener) -> None:
        """Hear nothing."""


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with client_of(redis_url) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return unique("jobs")


@pytest.fixture
def storage() -> CountingStorage:
    return CountingStorage()


@pytest.fixture
def manager(storage: CountingStorage) -> JobManager:
    return JobManager(InMemoryJobStore(storage))


@pytest.fixture
async def cache(client: Redis, storage: CountingStorage, prefix: str) -> AsyncIterator[RedisJobCache]:
    async with RedisJobCache(client, InMemoryJobStore(storage), prefix) as cache:
        await settled(cache)
        yield cache


async def settled(cache: RedisJobCache) -> None:
    """Wait until everything that was heard of has reached Redis."""
    await until(
        lambda: asyncio.sleep(0, not cache._invalidations._jobs and not cache._invalidations._everything)
    )


async def test_a_record_comes_back_as_it_was_and_is_read_once(
    cache: RedisJobCache, storage: CountingStorage
) -> None:
    record = job(
        scope_id="tenant", deadline=NOW + timedelta(hours=1), budgets=BudgetSpec(max_cost=Decimal("0.1")),
        policy_ref=PolicyRef(name="p", version="1"), metadata={"ü": [1, None, "\x00"]}, tags={"a": "b"}, priority=3,
    )  # fmt: skip
    await storage.commit(commit(create=[(record, [])]))
    for _ in range(5):
        assert await cache.get(record.job_id, scope_id="tenant") == record
    assert (storage.reads, cache.hits, cache.misses) == (1, 4, 1)
    assert await cache.get("job-none") is None


async def test_another_scopes_job_is_hidden_however_it_is_read(
    cache: RedisJobCache, manager: JobManager
) -> None:
    made = await manager.create(JobSpec(scope_id="a"))
    for _ in range(3):
        assert await cache.get(made.job_id, scope_id="b") is None
        assert await cache.get(made.job_id, scope_id="a") == made
    assert cache.hits > 0


async def test_who_writes_reads_what_was_written(cache: RedisJobCache, manager: JobManager) -> None:
    made = await manager.create(JobSpec())
    assert (await cache.get(made.job_id)) == made
    running = await manager.start(made.job_id)
    assert (await cache.get(made.job_id)) == running
    for n in range(1, 20):
        changed = await manager.update_progress(made.job_id, n / 20)
        assert (await cache.get(made.job_id)) == changed
    done = await manager.complete(made.job_id)
    await settled(cache)
    hits = cache.hits
    assert [await cache.get(made.job_id) for _ in range(3)] == [done] * 3
    assert cache.hits == hits + 2


async def test_what_was_read_before_a_change_is_not_kept_after_it(
    cache: RedisJobCache, storage: CountingStorage, manager: JobManager, client: Redis, prefix: str
) -> None:
    """A process that hears nothing misses and reads; a commit is made and its invalidation done; then it fills."""
    made = await manager.create(JobSpec())
    view = SlowDeafView(storage)
    async with RedisJobCache(client, view, prefix) as other:
        await settled(other)
        reading = asyncio.ensure_future(other.get(made.job_id))
        await view.read.wait()
        running = await manager.start(made.job_id)
        await settled(cache)
        view.gate.set()
        assert (await reading) == made
        assert await other.get(made.job_id) == running
        assert await other.get(made.job_id) == running
        assert (other.hits, other.misses) == (1, 2)


async def test_an_older_record_never_replaces_a_newer_one(
    cache: RedisJobCache, client: Redis, manager: JobManager
) -> None:
    """Were a lease to survive where it must not, the fence and the place in the journal would still decide."""
    made = await manager.create(JobSpec())
    running = await manager.start(made.job_id)
    await settled(cache)
    old_look = await cache._look(made.job_id)
    assert old_look.epoch
    await cache._fill(running, old_look)
    lease = cache._invalidations.entry_keys(made.job_id)[1]
    await client.set(lease, old_look.token)
    await cache._fill(made, old_look)
    assert await cache.get(made.job_id) == running
    assert cache.hits == 1


async def test_a_reader_that_was_paused_beyond_its_lease_writes_nothing(
    cache: RedisJobCache, client: Redis, manager: JobManager
) -> None:
    made = await manager.create(JobSpec())
    await settled(cache)
    look = await cache._look(made.job_id)
    entry, lease = cache._invalidations.entry_keys(made.job_id)
    assert await client.pttl(lease) > 0
    await client.delete(lease)
    await cache._fill(made, look)
    assert not await client.exists(entry)


async def test_only_one_of_many_who_miss_at_once_fills(cache: RedisJobCache, manager: JobManager) -> None:
    made = await manager.create(JobSpec())
    await settled(cache)
    looks = await asyncio.gather(*(cache._look(made.job_id) for _ in range(50)))
    assert len([look for look in looks if look.epoch]) == 1


async def test_readers_and_writers_at_random_never_go_back_in_time(
    cache: RedisJobCache, manager: JobManager
) -> None:
    made = await manager.create(JobSpec())
    await manager.start(made.job_id)
    chance = random.Random(7)
    newest = 0
    done = False

    async def write() -> None:
        nonlocal newest, done
        for n in range(150):
            newest = (await manager.update_progress(made.job_id, n / 150)).last_seq
            if chance.random() < 0.3:
                await settled(cache)
            for _ in range(chance.choice([0, 0, 1, 5])):
                await cache.get(made.job_id)
        done = True

    async def read() -> None:
        while not done:
            known = newest
            found = await cache.get(made.job_id)
            assert found is not None
            assert found.last_seq >= known
            await asyncio.sleep(0)

    await asyncio.gather(write(), *(read() for _ in range(8)))
    assert cache.hits > 0


async def test_entries_are_kept_for_their_time_and_long_ones_not_at_all(
    client: Redis, manager: JobManager, storage: CountingStorage, prefix: str
) -> None:
    made = await manager.create(JobSpec())
    long = await manager.create(JobSpec(metadata={"text": "x" * 300_000}))
    async with RedisJobCache(client, InMemoryJobStore(storage), prefix, ttl_seconds=90) as cache:
        await settled(cache)
        await cache.warm([made.job_id, long.job_id])
        assert 80 < await client.ttl(cache._invalidations.entry_keys(made.job_id)[0]) <= 90
        assert not await client.exists(cache._invalidations.entry_keys(long.job_id)[0])
        assert await cache.get(long.job_id) == long


async def test_an_entry_that_cannot_be_read_is_replaced(
    cache: RedisJobCache, client: Redis, manager: JobManager
) -> None:
    made = await manager.create(JobSpec())
    await settled(cache)
    await cache.get(made.job_id)
    await client.hset(cache._invalidations.entry_keys(made.job_id)[0], "record", '{"job_id": 1}')
    assert await cache.get(made.job_id) == made
    await settled(cache)
    hits = cache.hits
    assert [await cache.get(made.job_id) for _ in range(2)] == [made, made]
    assert cache.hits == hits + 1


async def test_what_was_cached_before_anybody_listened_is_not_trusted(
    client: Redis, storage: CountingStorage, manager: JobManager, prefix: str
) -> None:
    made = await manager.create(JobSpec())
    async with RedisJobCache(client, InMemoryJobStore(storage), prefix) as cache:
        await settled(cache)
        assert await cache.get(made.job_id) == made
    running = await manager.start(made.job_id)
    async with RedisJobCache(client, InMemoryJobStore(storage), prefix) as cache:
        assert await cache.get(made.job_id) == running
        await settled(cache)
        assert await cache.get(made.job_id) == running


async def test_a_change_that_is_no_commit_is_invalidated_by_hand(
    cache: RedisJobCache, storage: CountingStorage
) -> None:
    record = job()
    await storage.commit(commit(create=[(record, [])]))
    await storage.claim(record.job_id, owner="w1", at=NOW)
    await settled(cache)
    assert (await cache.get(record.job_id)) is not None
    await storage.free_job(record.job_id, fence=1)
    await cache.invalidate(record.job_id)
    found = await cache.get(record.job_id)
    assert found is not None
    assert found.owner is None


async def greet(context: OperatorContext, given: str) -> str:
    return str(await context.step(str.upper, given, name="shout", effect="idempotent"))


async def test_commits_of_a_kernel_in_another_process_reach_the_cache(
    database: str, client: Redis, prefix: str
) -> None:
    front = PostgresStorage(database)
    await front.open()
    worker = PostgresStorage(database)
    async with (
        RuntimeKernel(storage=worker, operators=[greet], options=QUICK) as kernel,
        RedisJobCache(client, PostgresJobStore(front), prefix) as cache,
    ):
        await until(lambda: asyncio.sleep(0, front._notifier.listening.is_set()))
        for _ in range(5):
            handle = await kernel.execute(ExecutionRequest(operator="greet", input="hello"))
            assert await cache.get(handle.job_id) is not None
            await handle.result(timeout=BOUND)

            async def ended(job_id: str = handle.job_id) -> bool:
                found = await cache.get(job_id)
                return found is not None and found.status is JobStatus.SUCCEEDED

            await until(ended)
            assert await cache.get(handle.job_id) == await handle.job()
    await front.aclose()
    await worker.aclose()
