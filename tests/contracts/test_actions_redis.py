"""The contract of actions over Redis, whatever its client was told about decoding."""

from collections.abc import AsyncIterator

import pytest

from agent_runtime import RedisActionStore
from agent_runtime.testing.actions_contract import ActionsContract
from support.redis_clients import client_of, unique


class TestRedisActions(ActionsContract):
    @pytest.fixture
    async def storage(self, redis_url: str) -> AsyncIterator[RedisActionStore]:
        async with client_of(redis_url) as client:
            yield RedisActionStore(client, unique("actions"))


class TestRedisActionsOfADecodingClient(ActionsContract):
    @pytest.fixture
    async def storage(self, redis_url: str) -> AsyncIterator[RedisActionStore]:
        async with client_of(redis_url, decode_responses=True, protocol=2) as client:
            yield RedisActionStore(client, unique("actions"))
