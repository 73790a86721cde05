"""The contract of signal channels, over memory and over Redis."""

from collections.abc import AsyncIterator

import pytest

from agent_runtime import InMemorySignalChannel, RedisSignalChannel
from agent_runtime.testing.clock import FakeClock
from agent_runtime.testing.signals_contract import Ends, SignalChannelContract, message
from support.redis_clients import client_of, unique


class TestInMemorySignalChannel(SignalChannelContract):
    @pytest.fixture
    async def ends(self) -> AsyncIterator[Ends]:
        channel = InMemorySignalChannel()
        yield channel, channel
        await channel.stop()


@pytest.fixture(params=[{}, {"decode_responses": True}, {"protocol": 2}], ids=["plain", "text", "resp2"])
async def redis_ends(
    redis_url: str, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[RedisSignalChannel, RedisSignalChannel]]:
    prefix = unique("signals?[*]")
    async with client_of(redis_url, **request.param) as one, client_of(redis_url) as two:
        ends = RedisSignalChannel(one, prefix), RedisSignalChannel(two, prefix)
        yield ends
        for end in ends:
            await end.stop()
        assert await one.ping()


class TestRedisSignalChannel(SignalChannelContract):
    @pytest.fixture
    def ends(self, redis_ends: Ends) -> Ends:
        return redis_ends


async def test_a_signal_in_memory_is_forgotten_after_its_time() -> None:
    clock = FakeClock()
    channel = InMemorySignalChannel(message_ttl_seconds=60, clock=clock)
    await channel.signal("a", message("a"))
    clock.move(seconds=59)
    assert (await channel.wait("a", timeout=1)).action_id == "a"
    clock.move(seconds=1)
    with pytest.raises(TimeoutError):
        await channel.wait("a", timeout=0.01)


async def test_a_signal_in_redis_is_forgotten_after_its_time(redis_url: str) -> None:
    prefix = unique("signals")
    async with client_of(redis_url) as client:
        await RedisSignalChannel(client, prefix, message_ttl_seconds=90).signal("a", message("a"))
        assert 80 < await client.ttl(f"{prefix}:msg:a") <= 90


async def test_a_signal_goes_to_its_action_and_to_its_job(redis_url: str) -> None:
    prefix = unique("signals")
    async with client_of(redis_url) as client, client.pubsub() as ear:
        await ear.subscribe(f"{prefix}:act-1", f"{prefix}:job:job-1")
        await RedisSignalChannel(client, prefix).signal("act-1", message("act-1"), "job-1")
        heard = set()
        while len(heard) < 2:
            found = await ear.get_message(ignore_subscribe_messages=True, timeout=5)
            if found is not None:
                heard.add(found["channel"].decode().removeprefix(prefix))
    assert heard == {":act-1", ":job:job-1"}


async def test_what_is_no_signal_is_ignored(
    redis_ends: tuple[RedisSignalChannel, RedisSignalChannel],
) -> None:
    here, there = redis_ends
    await here.start()
    for text in ("", "[]", "{", '{"action_id": ["x"]}', '{"action_id": "act-1", "status": "resolved"}'):
        await there._server.client.publish(f"{there._prefix}:act-1", text)
    await there.signal("act-1", message("act-1", status="expired"))
    assert (await here.wait("act-1", timeout=5)).status == "expired"


async def test_a_manager_signals_that_an_action_has_ended_but_not_the_answer(redis_url: str) -> None:
    from agent_runtime import ActionManager, ActionSpec, InMemoryActionStore

    prefix = unique("signals")
    async with client_of(redis_url) as client:
        manager = ActionManager(InMemoryActionStore(), signal_channel=RedisSignalChannel(client, prefix))
        action = await manager.require_action(ActionSpec(type="input"))
        await manager.resolve(action.resume_token or "", {"value": "private"}, "ann")
        said = await client.get(f"{prefix}:msg:{action.action_id}")
    assert said is not None
    assert b"private" not in said
    assert (action.resume_token or "-").encode() not in said
    assert action.token_hash.encode() not in said
