"""The storage contract, over every back end that needs no server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.testing.storage_contract import StorageContract


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    async def storage(self) -> MemoryStorage:
        return MemoryStorage()


class TestSQLiteStorage(StorageContract):
    @pytest.fixture
    async def storage(self, tmp_path: Path) -> AsyncIterator[SQLiteStorage]:
        storage = SQLiteStorage(tmp_path / "runs.db")
        await storage.open()
        yield storage
        await storage.aclose()
