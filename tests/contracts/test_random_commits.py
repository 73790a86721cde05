"""The rule book, played at random: every storage answers every commit alike, and has the same state after it.

`COMMITS=100000 pytest tests/contracts/test_random_commits.py` plays so many; CI plays a fiftieth. `SEED=…` begins
elsewhere.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.random_commits import Chance, World

COMMITS = int(os.environ.get("COMMITS", "2000"))
SEED = int(os.environ.get("SEED", "1"))
STEPS = 40
"""In each world; then all is empty again."""
TABLES = ("action_tokens", "actions", "budget_counters", "budgets", "events", "inboxes", "jobs", "ledger", "messages",
          "policies", "receivers", "signals", "timers", "waits")  # fmt: skip
EMPTY = [f"DELETE FROM runtime_{table}" for table in TABLES]
pytestmark = pytest.mark.timeout(600 + COMMITS)


def empty_file(path: Path) -> None:
    """Delete all rows."""
    with closing(sqlite3.connect(path, timeout=60)) as db, db:
        for statement in EMPTY:
            db.execute(statement)


async def test_all_storages_answer_random_commits_alike(database: str, tmp_path: Path) -> None:
    path, played, told = tmp_path / "runs.db", 0, set()
    sqlite, postgres = SQLiteStorage(path, durability="process"), PostgresStorage(database)
    connection = await asyncpg.connect(database)
    await sqlite.open()
    await postgres.open()
    try:
        for seed in range(SEED, SEED + COMMITS):
            await asyncio.to_thread(empty_file, path)
            await connection.execute(";".join(EMPTY))
            world = World([MemoryStorage(), sqlite, postgres], Chance(Random(seed)))
            try:
                for _ in range(STEPS):
                    await world.step()
                await world.verify()
            except AssertionError as difference:
                raise AssertionError(f"SEED={seed}: {difference}") from None
            played += world.commits
            told |= world.told.keys()
            if played >= COMMITS:
                break
    finally:
        await connection.close()
        await sqlite.aclose()
        await postgres.aclose()
    assert played < 1000 or told >= {
        "made",
        "DuplicateJob",
        "FenceLost",
        "AlreadySettled",
        "BudgetRejected",
        "UnknownAction",
    }


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chance=st.randoms(use_true_random=False))
def test_sqlite_answers_the_commits_that_hypothesis_makes_as_memory_does(
    chance: Random, new_file: Callable[[], Path]
) -> None:
    async def play() -> None:
        sqlite = SQLiteStorage(new_file(), durability="process")
        await sqlite.open()
        try:
            world = World([MemoryStorage(), sqlite], Chance(chance))
            for _ in range(8):
                await world.step()
            await world.verify()
        finally:
            await sqlite.aclose()

    asyncio.run(play())


@pytest.fixture
def new_file(tmp_path: Path) -> Callable[[], Path]:
    """Name one new file after the other."""
    names = iter(range(100_000))
    return lambda: tmp_path / f"{next(names)}.db"
