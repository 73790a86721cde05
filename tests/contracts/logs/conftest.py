"""The logs in each kind of database that they can stand in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_runtime.observability import LogStore
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def closed(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A storage that is not opened yet."""
    match request.param:
        case "memory":
            return MemoryStorage()
        case "sqlite":
            return SQLiteStorage(tmp_path / "runs.db", durability="process")
        case _:
            return PostgresStorage(request.getfixturevalue("database"))


@pytest.fixture
async def storage(closed: Storage) -> AsyncIterator[Storage]:
    opened = closed
    await opened.open()
    yield opened
    await opened.aclose()


@pytest.fixture
async def logs(storage: Storage) -> AsyncIterator[LogStore]:
    store = LogStore(storage)
    yield store
    await store.aclose()
