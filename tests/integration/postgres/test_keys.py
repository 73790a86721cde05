"""API keys as several processes have them: one revokes, the others soon know."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from agent_runtime import ApiKeyManager, Role
from agent_runtime.errors import InvalidTransition
from agent_runtime.storage.postgres import PostgresStorage
from support.kernels import BOUND, until

pytestmark = pytest.mark.timeout(BOUND * 3)

REVOKE = """
import asyncio, sys
from agent_runtime import ApiKeyManager, open_storage

async def main():
    storage = open_storage(sys.argv[1])
    await storage.open()
    await ApiKeyManager(storage).revoke(sys.argv[2])
    await storage.aclose()

asyncio.run(main())
"""


@asynccontextmanager
async def opened(database: str) -> AsyncIterator[PostgresStorage]:
    storage = PostgresStorage(database)
    await storage.open()
    yield storage
    await storage.aclose()


async def test_a_key_that_another_process_revokes_opens_nothing_soon(database: str) -> None:
    async with opened(database) as storage:
        keys = ApiKeyManager(storage)
        key, text = await keys.create(name="ci", role=Role.VIEWER, scope_id="a")
        assert await keys.authenticate(text) is not None
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", REVOKE, database, key.key_id)
        assert await process.wait() == 0

        async def is_refused() -> bool:
            return await keys.authenticate(text) is None

        await until(is_refused)


async def test_many_processes_rotate_a_key_once(database: str) -> None:
    async with opened(database) as first, opened(database) as second:
        managers = [ApiKeyManager(first), ApiKeyManager(second)]
        key, _ = await managers[0].create(name="ci", role=Role.VIEWER, scope_id="a")
        rotations = [
            managers[n % 2].rotate(key.key_id, overlap=timedelta(hours=1), by=str(n)) for n in range(8)
        ]
        done = await asyncio.gather(*rotations, return_exceptions=True)
        assert sum(isinstance(one, InvalidTransition) for one in done) == 7
        assert len(await managers[1].list()) == 2
        assert [entry.kind for entry in await first.trail("a")] == ["key.created", "key.rotated"]
