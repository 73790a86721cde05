"""What others publish or store in a Redis that they can reach holds nobody up and is taken for nothing that it is not."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from agent_runtime import (
    ActionManager,
    ActionSpec,
    ActionType,
    InMemoryJobStore,
    JobManager,
    JobSpec,
    RedisActionStore,
    RedisChangeNotifier,
    RedisJobCache,
    RedisSignalChannel,
    StorageError,
)
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.ports.signals import MAX_SIGNAL, SignalMessage
from support.kernels import BOUND, until
from support.redis_clients import client_of, unique

pytestmark = pytest.mark.timeout(BOUND * 3)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with client_of(redis_url) as client:
        yield client


async def test_an_announcement_that_nobody_can_have_sent_is_not_read(client: Redis) -> None:
    channel = unique("changes")
    heard: list[object] = []
    notifier = RedisChangeNotifier(client, channel=channel)
    notifier.start(heard.append)
    await notifier.listening.wait()
    heard.clear()

    await client.publish(channel, "s-1 " + "gjob " * 20_000)
    await client.publish(channel, "s-1 gjob-1")
    await until(lambda: asyncio.sleep(0, len(heard) > 1))
    await notifier.stop()

    assert heard == [None, [RemoteChange("appended", "job-1")]]  # anything may have happened: it is looked at


async def test_a_signal_that_nobody_can_have_sent_is_not_read(client: Redis) -> None:
    prefix = unique("signals")
    channel = RedisSignalChannel(client, prefix)
    await channel.start()
    waiting = asyncio.create_task(channel.wait("act-1"))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    long = f'{{"action_id":"act-1","status":"expired","timestamp":"{at.isoformat()}","error":"{"x" * MAX_SIGNAL}"}}'

    await client.set(f"{prefix}:msg:act-1", long)
    await client.publish(f"{prefix}:act-1", long)
    await channel.signal("act-1", SignalMessage(action_id="act-1", status="resolved", timestamp=at))

    assert (await asyncio.wait_for(waiting, BOUND)).status == "resolved"
    await channel.stop()


async def test_an_entry_of_another_job_is_not_taken_for_the_one_that_is_asked_for(client: Redis) -> None:
    store, prefix = InMemoryJobStore(), unique("jobs")
    await store.storage.open()
    jobs = JobManager(store)
    mine, other = [await jobs.create(JobSpec(scope_id=scope)) for scope in ("mine", "other")]
    async with RedisJobCache(client, store, prefix) as cache:

        async def kept() -> bool:
            await cache.get(other.job_id)
            return bool(await client.exists(f"{{{prefix}}}:e:{other.job_id}"))

        await until(kept)
        await client.copy(f"{{{prefix}}}:e:{other.job_id}", f"{{{prefix}}}:e:{mine.job_id}", replace=True)

        found = await cache.get(mine.job_id)
        assert found is not None
        assert found.job_id == mine.job_id
        assert await cache.get(mine.job_id, scope_id="other") is None
    await store.storage.aclose()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("record", "{"),
        ("record", "[" * 100_000),
        ("record", "[]"),
        ("record", '{"action_id": 1}'),
        ("status", "allowed"),
        ("resolution", "yes"),
        ("resolved_at", "yesterday"),
        ("votes", "{}x"),
    ],
)
async def test_an_action_that_nobody_can_have_written_is_named(client: Redis, field: str, value: str) -> None:
    prefix = unique("actions")
    actions = ActionManager(RedisActionStore(client, prefix))
    asked, other = [
        await actions.require_action(ActionSpec(type=ActionType.INPUT, scope_id="mine")) for _ in range(2)
    ]
    key, beside = f"{{{prefix}}}:a:{asked.action_id}", f"{{{prefix}}}:a:{other.action_id}"

    await client.hset(key, field, value)
    with pytest.raises(StorageError, match=asked.action_id):
        await actions.get(asked.action_id)
    await client.copy(beside, key, replace=True)
    with pytest.raises(StorageError, match=asked.action_id):
        await actions.resolve_by_id(asked.action_id, {"value": 1})

    assert (await actions.resolve_by_id(other.action_id, {"value": 1})).status == "resolved"


async def test_a_token_that_nobody_can_have_written_is_refused(client: Redis) -> None:
    prefix = unique("actions")
    actions = ActionManager(RedisActionStore(client, prefix))
    asked = await actions.require_action(ActionSpec(type=ActionType.INPUT, approvers=["ann"]))
    (token,) = asked.resume_tokens.values()
    (key,) = [key async for key in client.scan_iter(f"{{{prefix}}}:t:*")]
    await client.hset(key, "approver", "ann, or whoever")

    with pytest.raises(StorageError, match="a token"):
        await actions.resolve(token, {"value": 1})
