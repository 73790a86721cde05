"""A short, fixed slice of the soak: random programs, people, failing storages and deaths. `make soak` plays on and on."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_runtime.ports.clock import SystemClock
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.private_postgres import PrivatePostgres, private_postgres
from support.soak.crowds import CrowdStory
from support.soak.stories import PATIENCE, Story
from support.soak.virtual import LoopClock, run_in_virtual_time

pytestmark = [pytest.mark.fault, pytest.mark.timeout(PATIENCE * 2)]
STORIES = 25
"""In each test, so that a failure comes early and both cores have something to do."""


@pytest.mark.parametrize("first", range(1, 4 * STORIES, STORIES))
def test_no_promise_is_broken_in_memory(first: int) -> None:
    for seed in range(first, first + STORIES):
        said = run_in_virtual_time(Story(seed, MemoryStorage(), LoopClock()).play())
        assert not said, f"make soak SEED={seed} STORIES=1"


@pytest.mark.parametrize("seed", range(3001, 3007))
async def test_no_promise_is_broken_on_sqlite(seed: int, tmp_path: Path) -> None:
    storage = SQLiteStorage(tmp_path / "runs.db", durability="process")
    await storage.open()
    try:
        said = await Story(seed, storage, SystemClock()).play()
    finally:
        await asyncio.shield(storage.aclose())
    assert not said, f"make soak STORAGE=sqlite SEED={seed} STORIES=1"


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    with private_postgres() as server:
        yield server


@pytest.mark.xdist_group("random lives on postgres")
@pytest.mark.parametrize("seed", [2, 5])
async def test_no_promise_is_broken_by_workers_on_postgres(
    seed: int, server: PrivatePostgres, tmp_path: Path
) -> None:
    """Three processes that are killed, paused and drained, on a server that is cut off and crashes."""
    await asyncio.to_thread(server.postgres.execute, f"CREATE DATABASE story_{seed}")
    dsn = server.postgres.dsn(f"story_{seed}")
    await PostgresStorage(dsn).setup()
    story = CrowdStory(seed, server, dsn, tmp_path)
    try:
        said = await story.play()
    finally:
        await story.aclose()
    assert not said, (
        f"make soak STORAGE=postgres SEED={seed} STORIES=1; the workers said: {story.log[-4000:]}"
    )
