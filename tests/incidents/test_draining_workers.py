"""dbos-transact-py #804: an executor that drains goes on claiming. A worker that is told to stop claims nothing more."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, OperatorContext, RuntimeKernel
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import BOUND, QUICK, kernel, until

pytestmark = pytest.mark.timeout(BOUND * 3)

OPTIONS = replace(QUICK, drain_timeout=BOUND)
GATE: dict[str, asyncio.Event] = {}


async def long(context: OperatorContext, given: object) -> None:
    """Have a step that is in flight when the worker is stopped."""
    await context.step(_pass, name="long", effect="idempotent")


async def _pass() -> None:
    GATE["inside"].set()
    await GATE["open"].wait()


async def short(context: OperatorContext, given: object) -> None:
    """Be run by whoever claims it."""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    return str(tmp_path / "runs.db") if request.param == "sqlite" else request.getfixturevalue("database")


def worker(url: str, **options: Any) -> tuple[Any, RuntimeKernel]:
    storage = PostgresStorage(url) if url.startswith("postgres") else SQLiteStorage(url)
    return storage, kernel(storage, operators=[long, short], options=OPTIONS, **options)


async def test_a_draining_worker_claims_nothing(url: str) -> None:
    GATE.update(inside=asyncio.Event(), open=asyncio.Event())
    storages, kernels = zip(*(worker(url), worker(url, worker=False)), strict=True)
    draining, submitting = kernels
    await draining.start()
    busy = await draining.execute(ExecutionRequest(operator="long"))
    async with asyncio.timeout(BOUND):
        await GATE["inside"].wait()
    stopping = asyncio.ensure_future(draining.aclose())
    await until(lambda: _is_draining(draining))
    handles = [await submitting.execute(ExecutionRequest(operator="short")) for _ in range(5)]
    for handle in handles:  # neither told, nor found by the sweeps of those who are left
        await submitting._changes.sweep()
        assert (await handle.job()).fence == 0
    GATE["open"].set()
    await stopping
    await storages[0].aclose()
    assert {(await handle.job()).fence for handle in handles} == {0}
    other, successor = worker(url)
    async with successor:
        for handle in [*handles, busy]:
            await successor.handle(handle.job_id).result(timeout=BOUND)
    await submitting.aclose()
    for storage in (storages[1], other):
        await storage.aclose()


async def _is_draining(k: RuntimeKernel) -> bool:
    return k._worker._executor._draining
