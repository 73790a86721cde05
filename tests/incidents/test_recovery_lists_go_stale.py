"""dbos-transact-py #742: recovery acted on a list of workflows that was stale by then, and ran what was queued: twice, and past
the limit of its queue.

Here a list only says whom to look at. The claim decides, in one transaction with what the job is by then, whether there
is anything to do and whether its scope has a slot.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, OperatorContext, RuntimeKernel
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import BOUND, QUICK, types

pytestmark = pytest.mark.timeout(BOUND * 3)


class _Stale:
    """Names every job that was ever due whenever it is asked, as due and as left behind by a dead worker."""

    is_durable = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.listed: dict[str, int] = {}
        self.times = 0

    async def due_jobs(self, **asked: Any) -> list[tuple[str, int]]:
        self.times += 1
        self.listed.update(await super().due_jobs(**asked))  # type: ignore[misc]
        return list(self.listed.items())

    async def expire_workers(self, older_than: float) -> list[str]:
        self.times += 1
        self.listed.update(await super().due_jobs())  # type: ignore[misc]
        await super().expire_workers(older_than)  # type: ignore[misc]
        return list(self.listed)


class StaleMemory(_Stale, MemoryStorage): ...  # type: ignore[misc]


class StaleSQLite(_Stale, SQLiteStorage): ...  # type: ignore[misc]


class StalePostgres(_Stale, PostgresStorage): ...  # type: ignore[misc]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def stale(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "memory":
        return StaleMemory()
    if request.param == "sqlite":
        return StaleSQLite(tmp_path / "runs.db", durability="process")
    return StalePostgres(request.getfixturevalue("database"))


@pytest.fixture
async def storage(stale: Any) -> AsyncIterator[Any]:
    await stale.open()
    yield stale
    await stale.aclose()


async def test_nothing_runs_twice_or_past_its_limit_because_a_list_is_stale(storage: Any) -> None:
    running, most = 0, 0
    runs: list[str] = []

    async def effect(name: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        runs.append(name)
        await asyncio.sleep(0.05)
        running -= 1

    async def pays(context: OperatorContext, given: str) -> str:
        await context.step(effect, given, name="pay", effect="unsafe")
        return given

    options = replace(
        QUICK, max_concurrency_per_scope=2, sweep_interval=0.05, heartbeat_interval=0.05, worker_timeout=5.0
    )
    async with RuntimeKernel(storage=storage, operators=[pays], options=options) as k:
        names = [f"job{number}" for number in range(12)]
        handles = [await k.execute(ExecutionRequest(operator="pays", input=name)) for name in names]
        for handle, name in zip(handles, names, strict=True):
            assert (await handle.result(timeout=BOUND)).output == name
        seen = storage.times
        async with asyncio.timeout(BOUND):
            while storage.times < seen + 5:  # lists of what has ended long ago
                await asyncio.sleep(0.01)
        assert sorted(runs) == sorted(names)
        assert most <= 2
        for handle in handles:
            assert (await types(handle)).count("job.started") == 1
