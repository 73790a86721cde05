"""Redis killed, restarted, flushed and paused under those who use it: slower, never wrong."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from agent_runtime import (
    ActionAlreadyResolved,
    ActionManager,
    ActionRecord,
    ActionSpec,
    ExecutionRequest,
    InMemoryActionStore,
    InMemoryJobStore,
    JobManager,
    JobSpec,
    OperatorContext,
    RedisActionStore,
    RedisChangeNotifier,
    RedisJobCache,
    RedisSignalChannel,
    RuntimeKernel,
    StorageError,
)
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.redis.subscriber import Subscriber
from agent_runtime.testing.signals_contract import message
from support.kernels import BOUND, QUICK, pending, until
from support.redis_clients import PrivateRedis, client_of, private_redis
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
    storages = [PostgresStorage(database, notifier=RedisChangeNotifier(url)) for _ in range(2)]
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
    await until(lambda: asyncio.sleep(0, storage._notifier.listening.is_set() is yes))


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


# -- signals -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def channel(server: PrivateRedis) -> AsyncIterator[RedisSignalChannel]:
    async with client_of(server.url) as client:
        channel = RedisSignalChannel(client)
        yield channel
        await channel.stop()


async def test_a_signal_sent_while_the_connection_was_cut_is_found_when_it_is_back(
    server: PrivateRedis, channel: RedisSignalChannel
) -> None:
    await channel.start()
    for n in range(10):
        waiting = asyncio.ensure_future(channel.wait(f"act-{n}", timeout=BOUND))
        await asyncio.sleep(0)
        await asyncio.to_thread(server.cut, "pubsub")
        await channel.signal(f"act-{n}", message(f"act-{n}"))
        assert (await waiting).action_id == f"act-{n}"


async def test_who_waits_survives_a_server_that_is_killed_and_comes_back_empty(
    server: PrivateRedis, channel: RedisSignalChannel
) -> None:
    await channel.start()
    waiting = [asyncio.ensure_future(channel.wait(f"act-{n}", timeout=BOUND)) for n in range(10)]
    await asyncio.sleep(0)
    await server.restart()

    async def sent(n: int) -> bool:
        try:
            await channel.signal(f"act-{n}", message(f"act-{n}"))
        except StorageError:
            return False
        return True

    for n in range(10):
        await until(lambda n=n: sent(n))
    assert [one.action_id for one in await asyncio.gather(*waiting)] == [f"act-{n}" for n in range(10)]


async def test_a_channel_without_a_server_says_so_when_started_and_never_when_waited_on() -> None:
    async with client_of("redis://127.0.0.1:1/0") as client:
        channel = RedisSignalChannel(client)
        with pytest.raises(StorageError, match="cannot be reached"):
            await channel.start()
        with pytest.raises(TimeoutError):
            await channel.wait("act-1", timeout=0.2)
        with pytest.raises(StorageError, match="cannot be reached"):
            await channel.signal("act-1", message("act-1"))
        await channel.stop()


async def test_a_server_that_falls_silent_is_given_up_and_listened_to_again(server: PrivateRedis) -> None:
    subscribed: list[None] = []
    async with client_of(server.url) as client:
        subscriber = Subscriber(
            client, "p:*", heard=str, subscribed=lambda: subscribed.append(None), alive_seconds=0.05
        )
        subscriber.start()
        await until(lambda: asyncio.sleep(0, subscriber.listening.is_set()))
        server.pause()
        await until(lambda: asyncio.sleep(0, not subscriber.listening.is_set()))
        server.resume()
        await until(lambda: asyncio.sleep(0, subscriber.listening.is_set()))
        await subscriber.stop()
    assert len(subscribed) == 2


@pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 2}])
async def test_a_server_with_nothing_to_say_is_asked_and_kept(
    server: PrivateRedis, options: dict[str, object]
) -> None:
    subscribed: list[None] = []
    async with client_of(server.url, **options) as client, client_of(server.url) as other:
        subscriber = Subscriber(
            client, "p:*", heard=str, subscribed=lambda: subscribed.append(None), alive_seconds=0.02
        )
        subscriber.start()

        async def asked_often() -> bool:
            return int((await other.info("commandstats"))["cmdstat_ping"]["calls"]) > 10

        await until(asked_often)
        assert subscriber.listening.is_set()
        await subscriber.stop()
    assert len(subscribed) == 1


async def answered_through(channel: RedisSignalChannel) -> ActionRecord:
    """Ask, answer and wait with managers that share a store and a channel."""
    store = InMemoryActionStore()
    asking, answering = (ActionManager(store, signal_channel=channel) for _ in range(2))
    asked = await asking.require_action(ActionSpec(type="input"))
    waiting = asyncio.ensure_future(asking.wait_for_resolution(asked.action_id, timeout=BOUND))
    await asyncio.sleep(0)
    await answering.resolve(asked.resume_token or "", {"value": 1}, "ann")
    return await waiting


async def test_managers_answer_and_wait_without_redis_and_after_it_was_flushed(
    server: PrivateRedis, channel: RedisSignalChannel
) -> None:
    await channel.start()
    server.pause()
    try:
        assert (await answered_through(channel)).resolved_by == "ann"
    finally:
        server.resume()
    await asyncio.to_thread(server.flush)
    assert (await answered_through(channel)).resolved_by == "ann"
    await asyncio.to_thread(server.kill)
    assert (await answered_through(channel)).resolved_by == "ann"
    await asyncio.to_thread(server.start)
    assert (await answered_through(channel)).resolved_by == "ann"


# -- the cache of jobs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["pause", "kill", "flush", "cut"])
async def test_the_cache_is_never_older_than_the_last_commit_whatever_happens_to_redis(
    server: PrivateRedis, fault: str
) -> None:
    store = InMemoryJobStore()
    manager = JobManager(store)
    made = await manager.create(JobSpec())
    await manager.start(made.job_id)
    async with client_of(server.url) as client, RedisJobCache(client, store) as cache:

        async def hit() -> bool:
            before = cache.hits
            assert await cache.get(made.job_id) == await manager.get(made.job_id)
            return cache.hits > before

        await until(hit)
        for n in range(1, 4):
            match fault:
                case "pause":
                    server.pause()
                case "kill":
                    await asyncio.to_thread(server.kill)
                case "flush":
                    await asyncio.to_thread(server.flush)
                case "cut":
                    await asyncio.to_thread(server.cut, "normal")
            changed = await manager.update_progress(made.job_id, n / 10)
            assert await cache.get(made.job_id) == changed
            if fault == "pause":
                server.resume()
            elif fault == "kill":
                await asyncio.to_thread(server.start)
            assert await cache.get(made.job_id) == changed
            await until(hit)


async def test_a_change_that_comes_while_an_entry_is_being_deleted_is_deleted_too(
    server: PrivateRedis,
) -> None:
    store = InMemoryJobStore()
    manager = JobManager(store)
    made = await manager.create(JobSpec())
    await manager.start(made.job_id)
    async with client_of(server.url) as client, RedisJobCache(client, store) as cache:

        async def hit() -> bool:
            before = cache.hits
            await cache.get(made.job_id)
            return cache.hits > before

        async def deletions() -> int:
            return int((await client.info("commandstats"))["cmdstat_del"]["calls"])

        await until(hit)
        before = await deletions()
        places = cache._invalidations._server._places
        idle = places._value
        server.pause()
        await manager.update_progress(made.job_id, 0.1)
        await until(lambda: asyncio.sleep(0, places._value < idle))
        await manager.update_progress(made.job_id, 0.2)
        server.resume()
        await until(hit)
        assert await cache.get(made.job_id) == await manager.get(made.job_id)
        deleted_twice_and_filled_once = 3
        assert await deletions() == before + deleted_twice_and_filled_once


# -- the store of actions ----------------------------------------------------------------------------------------------


async def test_two_hundred_resolvers_have_one_winner_while_their_connections_are_cut(
    server: PrivateRedis,
) -> None:
    async with client_of(server.url) as client:
        manager = ActionManager(RedisActionStore(client))
        for _ in range(5):
            asked = await manager.require_action(ActionSpec(type="input"))
            resolving = [
                asyncio.ensure_future(manager.resolve(asked.resume_token or "", {"value": n}, f"p{n}"))
                for n in range(200)
            ]
            for _ in range(3):
                await asyncio.to_thread(server.cut, "normal")
            outcomes = await asyncio.gather(*resolving, return_exceptions=True)
            winners = [outcome for outcome in outcomes if isinstance(outcome, ActionRecord)]
            losers = [outcome for outcome in outcomes if isinstance(outcome, ActionAlreadyResolved)]
            unread = [outcome for outcome in outcomes if isinstance(outcome, StorageError)]
            assert len(winners) + len(losers) + len(unread) == 200
            assert len(winners) <= 1
            kept = await manager.get(asked.action_id)
            assert kept.resolution is not None
            assert kept.resolved_by == f"p{kept.resolution['value']}"
            if winners:
                assert winners[0].resolved_by == kept.resolved_by
            else:
                assert isinstance(outcomes[kept.resolution["value"]], StorageError)


async def test_a_store_whose_server_does_not_answer_says_so_in_time(server: PrivateRedis) -> None:
    async with client_of(server.url) as client:
        manager = ActionManager(RedisActionStore(client))
        asked = await manager.require_action(ActionSpec(type="input"))
        server.pause()
        try:
            with pytest.raises(StorageError, match="cannot be reached"):
                await manager.get(asked.action_id)
        finally:
            server.resume()
        assert (await manager.resolve(asked.resume_token or "", {"value": 1})).resolution == {"value": 1}
