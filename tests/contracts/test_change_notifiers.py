"""The contract of change notifiers, over Postgres and over Redis."""

from collections.abc import AsyncIterator

import pytest

from agent_runtime.storage.postgres.change_notifier import PostgresChangeNotifier
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.redis import RedisChangeNotifier
from agent_runtime.testing.change_notifier_contract import ChangeNotifierContract, Pair
from support.redis_clients import client_of, unique


class TestPostgresChangeNotifier(ChangeNotifierContract):
    @pytest.fixture
    async def pair(self, postgres_dsn: str) -> AsyncIterator[Pair]:
        connections = [Connections(postgres_dsn), Connections(postgres_dsn)]
        for one in connections:
            await one.open()
        pair = PostgresChangeNotifier(connections[0]), PostgresChangeNotifier(connections[1])
        yield pair
        for notifier, one in zip(pair, connections, strict=True):
            await notifier.stop()
            await one.aclose()


class TestRedisChangeNotifier(ChangeNotifierContract):
    @pytest.fixture
    async def pair(self, redis_url: str) -> AsyncIterator[Pair]:
        channel = unique("changes[*]")
        pair = (
            RedisChangeNotifier(redis_url, channel=channel),
            RedisChangeNotifier(redis_url, channel=channel),
        )
        yield pair
        for notifier in pair:
            await notifier.stop()


class TestRedisChangeNotifierOfACallersClient(ChangeNotifierContract):
    @pytest.fixture
    async def pair(self, redis_url: str) -> AsyncIterator[Pair]:
        channel = unique("changes")
        async with (
            client_of(redis_url, decode_responses=True) as one,
            client_of(redis_url, protocol=2) as two,
        ):
            pair = RedisChangeNotifier(one, channel=channel), RedisChangeNotifier(two, channel=channel)
            yield pair
            for notifier in pair:
                await notifier.stop()
            assert await one.ping()
