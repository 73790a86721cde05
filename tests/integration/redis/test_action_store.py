"""`RedisActionStore`: what it keeps and for how long, what it refuses, and a commit whose answer gets lost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from agent_runtime import (
    ActionManager,
    ActionSpec,
    ActionStatus,
    InMemoryJobStore,
    RedisActionStore,
    RuntimeKernel,
    StorageError,
    UnknownAction,
)
from agent_runtime.errors import ConfigurationError, ContentTooLarge, InvalidInput
from agent_runtime.ports.commit import ActionChange, NewEvent, Signal, Timer
from agent_runtime.testing.clock import FakeClock
from agent_runtime.testing.examples import NOW, action, commit, job
from support.redis_clients import client_of, unique
from support.redis_proxy import RedisProxy

DAY = 86400


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with client_of(redis_url) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return unique("actions")


@pytest.fixture
def store(client: Redis, prefix: str) -> RedisActionStore:
    return RedisActionStore(client, prefix, default_ttl_seconds=DAY)


async def keys(client: Redis, prefix: str) -> set[str]:
    """Return what is stored, without the commits that are remembered for an hour."""
    found = {key.decode() async for key in client.scan_iter(match=f"{{{prefix}}}:*", count=1000)}
    return {key for key in found if not key.startswith(f"{{{prefix}}}:c:")}


async def test_ended_actions_are_deleted_after_their_time_and_pending_ones_never(
    client: Redis, store: RedisActionStore, prefix: str
) -> None:
    clock = FakeClock()
    manager = ActionManager(store, clock=clock)
    pending = await manager.require_action(ActionSpec(type="input", job_id="job-1", scope_id="a"))
    before = await keys(client, prefix)
    assert [await client.ttl(key) for key in before] == [-1] * len(before)
    for n in range(250):
        ended = await manager.require_action(ActionSpec(type="input", job_id="job-1", scope_id=f"s{n % 3}"))
        await manager.resolve(ended.resume_token or "", {"value": n})
    assert len(await store.list_actions(status=ActionStatus.RESOLVED, limit=1000)) == 250
    clock.move(seconds=DAY)
    for _ in range(3):
        passing = await manager.require_action(ActionSpec(type="input", job_id="job-1", scope_id="a"))
        await manager.cancel(passing.action_id)
    assert {one.action_id for one in await store.list_actions(status=ActionStatus.RESOLVED)} == set()
    with pytest.raises(UnknownAction):
        await manager.get(ended.action_id)
    with pytest.raises(UnknownAction):
        await manager.resolve(ended.resume_token or "", {"value": 1})
    clock.move(seconds=10 * DAY)
    for _ in range(2):
        await manager.require_action(ActionSpec(type="input", job_id="job-2", scope_id="b"))
    assert await manager.get(pending.action_id) == (await store.list_actions(job_id="job-1"))[0]
    left = {name.partition("}:")[2] for name in await keys(client, prefix)}
    assert {name for name in left if ":scope:s" in name} == set()
    for kind in ("a", "t"):
        assert len({name for name in left if name.startswith(f"{kind}:")}) == 3


async def test_a_commit_whose_answer_gets_lost_is_made_once(redis_url: str, prefix: str) -> None:
    async with RedisProxy(redis_url) as proxy, client_of(proxy.url) as client:
        store = RedisActionStore(client, prefix)
        asked, other = action(), action()
        await store.commit(commit(new_actions=[asked]))
        proxy.lose_answer_to = b"EVALSHA"
        answer = ActionChange(
            action_id=asked.action_id,
            status=ActionStatus.RESOLVED,
            resolution={"value": 1},
            resolved_by="ann",
        )
        await store.commit(commit(action_changes=[answer]))
        proxy.lose_answer_to = b"EVALSHA"
        await store.commit(commit(new_actions=[other]))
        assert proxy.lost == 2
        found = await store.get_action(asked.action_id)
        assert found is not None
        assert (found.resolved_by, found.resolution) == ("ann", {"value": 1})


async def test_only_the_hash_of_a_token_is_stored(
    client: Redis, store: RedisActionStore, prefix: str
) -> None:
    asked = await ActionManager(store).require_action(ActionSpec(type="input", timeout_seconds=60))
    token = (asked.resume_token or "-").encode()
    for key in await keys(client, prefix):
        kind = await client.type(key)
        stored = (
            str(await client.hgetall(key)).encode()
            if kind == b"hash"
            else await client.get(key)
            if kind == b"string"
            else b"".join(await client.zrange(key, 0, -1))
        )
        assert token not in key.encode() + stored


@pytest.mark.parametrize(
    "parts",
    [
        {"create": [(job(), [NewEvent("job.created")])]},
        {"signals": [Signal("s", "job-1", "action.resolved")]},
        {"set_timers": [Timer("job-1", "k", NOW, "timer.fired")]},
        {"job_id": "job-1", "fence": 1, "events": [NewEvent("custom.x")]},
    ],
    ids=["job", "signal", "timer", "events"],
)
async def test_what_belongs_to_jobs_is_refused_and_nothing_written(
    store: RedisActionStore, client: Redis, prefix: str, parts: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput, match="keeps actions only"):
        await store.commit(commit(new_actions=[action()], **parts))
    assert await keys(client, prefix) == set()


async def test_a_question_or_an_answer_that_is_too_long_is_refused(store: RedisActionStore) -> None:
    manager = ActionManager(store)
    with pytest.raises(ContentTooLarge):
        await manager.require_action(ActionSpec(type="input", payload={"text": "x" * 2_000_000}))
    asked = await manager.require_action(ActionSpec(type="input"))
    with pytest.raises(ContentTooLarge):
        await manager.resolve(asked.resume_token or "", {"value": "x" * 2_000_000})
    assert (await manager.get(asked.action_id)).is_pending


async def test_an_id_is_not_given_twice(store: RedisActionStore) -> None:
    asked = action()
    await store.commit(commit(new_actions=[asked]))
    with pytest.raises(StorageError, match="already"):
        await store.commit(commit(new_actions=[asked]))


def test_a_kernel_refuses_a_store_without_jobs(redis_url: str) -> None:
    from redis.asyncio import from_url

    store = RedisActionStore(from_url(redis_url))
    for options in ({}, {"job_store": InMemoryJobStore()}):
        with pytest.raises(ConfigurationError, match="keeps no jobs"):
            RuntimeKernel(action_store=store, **options)


async def test_two_stores_with_different_prefixes_see_nothing_of_each_other(
    client: Redis, store: RedisActionStore
) -> None:
    other = ActionManager(RedisActionStore(client, unique("actions")))
    asked = await ActionManager(store).require_action(ActionSpec(type="input"))
    with pytest.raises(UnknownAction):
        await other.resolve(asked.resume_token or "", {"value": 1})
    assert await other.list_pending() == []


async def test_a_question_that_expires_while_it_is_answered_ends_in_one_way(store: RedisActionStore) -> None:
    clock = FakeClock()
    managers = [
        ActionManager(store, clock=clock),
        ActionManager(store, clock=FakeClock(clock.now() + timedelta(hours=1))),
    ]
    for _ in range(20):
        asked = await managers[0].require_action(ActionSpec(type="input", timeout_seconds=60))
        answered, expired = await asyncio.gather(
            managers[0].resolve(asked.resume_token or "", {"value": 1}, "ann"),
            managers[1].expire_due(),
            return_exceptions=True,
        )
        found = await managers[0].get(asked.action_id)
        is_answered = not isinstance(answered, Exception)
        assert found.status is (ActionStatus.RESOLVED if is_answered else ActionStatus.EXPIRED)
        assert (found.resolution is not None) is is_answered
        assert not isinstance(expired, Exception)
