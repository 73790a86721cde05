"""The storage contract over Postgres, by an address of its own and over a caller's pool."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.storage_contract import StorageContract


class TestPostgresStorage(StorageContract):
    @pytest.fixture
    async def storage(self, database: str) -> AsyncIterator[PostgresStorage]:
        storage = PostgresStorage(database)
        await storage.open()
        yield storage
        await storage.aclose()


class TestPostgresStorageOverAPool(StorageContract):
    @pytest.fixture
    async def storage(self, database: str) -> AsyncIterator[PostgresStorage]:
        async with asyncpg.create_pool(database, min_size=1, max_size=4) as pool:
            storage = PostgresStorage(pool)
            await storage.open()
            yield storage
            await storage.aclose()
