"""dbos-transact-py #805: a run that is pending between two steps holds the slot of a queue of one.

A job that waits – for its child, a person, a time – holds no slot and no place of its scope, so that others run meanwhile.
"""

from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import ActionSpec, ExecutionRequest, OperatorContext
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import BOUND, QUICK, kernel, pending

pytestmark = pytest.mark.timeout(BOUND * 3)

ONE = replace(QUICK, max_concurrency=1, max_concurrency_per_scope=1)


async def parent(context: OperatorContext, given: int) -> int:
    """Have as many generations below as asked for: each waits for the next one."""
    if given == 0:
        return 0
    return 1 + (await context.child("parent", given - 1)).output_data["output"]


async def asking(context: OperatorContext, given: object) -> bool:
    """Wait for a person between two steps."""
    await context.step(int, name="before", effect="read")
    answered = await context.action(ActionSpec(type="confirm"))
    await context.step(int, name="after", effect="read")
    return bool((answered.resolution or {})["confirmed"])


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def storage(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    if request.param == "postgres":
        opened: Any = PostgresStorage(request.getfixturevalue("database"))
    else:
        opened = MemoryStorage() if request.param == "memory" else SQLiteStorage(tmp_path / "runs.db")
    yield opened
    await opened.aclose()


async def test_a_family_runs_in_a_single_place(storage: Any) -> None:
    async with kernel(storage, operators=[parent], options=ONE) as k:
        handle = await k.execute(ExecutionRequest(operator="parent", input=3))
        assert (await handle.result(timeout=BOUND)).output == 3


async def test_a_job_that_waits_for_a_person_lets_others_pass(storage: Any) -> None:
    async with kernel(storage, operators=[parent, asking], options=ONE) as k:
        waiting = await k.execute(ExecutionRequest(operator="asking"))
        question = await pending(waiting)
        for _ in range(3):
            passing = await k.execute(ExecutionRequest(operator="parent", input=0))
            assert (await passing.result(timeout=BOUND)).output == 0
        await waiting.resolve_action(question.action_id, {"confirmed": True})
        assert (await waiting.result(timeout=BOUND)).output is True
