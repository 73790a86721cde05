"""Redis killed, restarted, flushed and paused under those who use it: slower, never wrong."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from agent_runtime import ActionSpec, ExecutionRequest, OperatorContext, RedisAnnouncements, RuntimeKernel
from agent_runtime.storage.postgres import PostgresStorage
from support.kernels import BOUND, QUICK, pending, until
from support.redis_clients import PrivateRedis, private_redis
from support.services import Redis

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 3)]

LOOKING = replace(QUICK, sweep_interval=0.2, heartbeat_interval=0.2)


@pytest.fixture
def server(redis_server: Redis) -> Iterator[PrivateRedis]:
    with private_redis(redis_server) as server:
        yield server


async def ask(context: OperatorContext, given: object) -> str:
    answer = await context.action(ActionSpec(type="input"))
    return f"{(answer.resolution or {})['value']}"


@asynccontextmanager
async def pair_of(database: str, url: str) -> AsyncIterator[tuple[RuntimeKernel, RuntimeKernel]]:
    """Run a worker and a process that submits and follows."""
    storages = [PostgresStorage(database, announcements=RedisAnnouncements(url)) for _ in range(2)]
    worker = RuntimeKernel(storage=storages[0], operators=[ask], options=LOOKING)
    front = RuntimeKernel(storage=storages[1], operators=[ask], options=LOOKING, worker=False)
    async with worker, front:
        yield worker, front
    for storage in storages:
        await storage.aclose()


async def listening(kernel: RuntimeKernel, *, yes: bool = True) -> None:
    """Wait until a kernel hears others, or no longer does."""
    storage = kernel.storage
    assert isinstance(storage, PostgresStorage)
    await until(lambda: asyncio.sleep(0, storage._announcements.listening.is_set() is yes))


async def answered_from_afar(front: RuntimeKernel) -> list[str]:
    """Have a job asked, answered and followed to its end by a process that does not execute it."""
    handle = await front.execute(ExecutionRequest(operator="ask"))

    async def follow() -> list[str]:
        return [str(event.type) async for event in handle.events()]

    following = asyncio.ensure_future(follow())
    await handle.resolve_action((await pending(handle)).action_id, {"value": "yes"})
    assert (await handle.result(timeout=BOUND)).content == "yes"
    async with asyncio.timeout(BOUND):
        return await following


async def test_kernels_that_cannot_hear_each_other_find_everything_by_looking(database: str) -> None:
    async with pair_of(database, "redis://127.0.0.1:1/0") as (_, front):
        seen = await answered_from_afar(front)
    assert seen[-1] == "job.succeeded"
    assert seen.count("job.succeeded") == 1


async def test_kernels_go_on_while_redis_is_killed_and_comes_back_empty(
    database: str, server: PrivateRedis
) -> None:
    async with pair_of(database, server.url) as (worker, front):
        await listening(front)
        assert (await answered_from_afar(front))[-1] == "job.succeeded"
        await asyncio.to_thread(server.kill)
        await listening(front, yes=False)
        assert (await answered_from_afar(front))[-1] == "job.succeeded"
        await asyncio.to_thread(server.start)
        await listening(front)
        await listening(worker)
        await asyncio.to_thread(server.flush)
        assert (await answered_from_afar(front))[-1] == "job.succeeded"


async def test_kernels_go_on_while_redis_is_paused(database: str, server: PrivateRedis) -> None:
    async with pair_of(database, server.url) as (_, front):
        await listening(front)
        server.pause()
        try:
            assert (await answered_from_afar(front))[-1] == "job.succeeded"
        finally:
            server.resume()
        assert (await answered_from_afar(front))[-1] == "job.succeeded"
