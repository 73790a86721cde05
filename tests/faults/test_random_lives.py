"""A short, fixed slice of the soak: random programs, people, failing storages and deaths. `make soak` plays on and on."""

import asyncio
from pathlib import Path

import pytest

from agent_runtime.ports.clock import SystemClock
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import BOUND
from support.soak.stories import Story
from support.soak.virtual import LoopClock, run_in_virtual_time

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 6)]
STORIES = 25
"""In each test, so that a failure comes early and both cores have something to do."""


@pytest.mark.parametrize("first", range(1, 12 * STORIES, STORIES))
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
