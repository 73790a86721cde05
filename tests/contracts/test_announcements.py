"""The contract of announcements, over Postgres and over Redis."""

from collections.abc import AsyncIterator

import pytest

from agent_runtime.storage.postgres.announcements import PostgresAnnouncements
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.redis import RedisAnnouncements
from agent_runtime.testing.announcements_contract import AnnouncementsContract, Pair
from support.redis_clients import client_of, unique


class TestPostgresAnnouncements(AnnouncementsContract):
    @pytest.fixture
    async def pair(self, postgres_dsn: str) -> AsyncIterator[Pair]:
        connections = [Connections(postgres_dsn), Connections(postgres_dsn)]
        for one in connections:
            await one.open()
        pair = PostgresAnnouncements(connections[0]), PostgresAnnouncements(connections[1])
        yield pair
        for announcements, one in zip(pair, connections, strict=True):
            await announcements.stop()
            await one.aclose()


class TestRedisAnnouncements(AnnouncementsContract):
    @pytest.fixture
    async def pair(self, redis_url: str) -> AsyncIterator[Pair]:
        channel = unique("changes[*]")
        pair = RedisAnnouncements(redis_url, channel=channel), RedisAnnouncements(redis_url, channel=channel)
        yield pair
        for announcements in pair:
            await announcements.stop()


class TestRedisAnnouncementsOfACallersClient(AnnouncementsContract):
    @pytest.fixture
    async def pair(self, redis_url: str) -> AsyncIterator[Pair]:
        channel = unique("changes")
        async with (
            client_of(redis_url, decode_responses=True) as one,
            client_of(redis_url, protocol=2) as two,
        ):
            pair = RedisAnnouncements(one, channel=channel), RedisAnnouncements(two, channel=channel)
            yield pair
            for announcements in pair:
                await announcements.stop()
            assert await one.ping()
