"""A job with a long journal, or a large family, comes back without holding up everybody else in the process."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ActionSpec, ExecutionHandle, ExecutionRequest, ExecutionResult, OperatorContext
from agent_runtime.errors import ContentTooLarge
from agent_runtime.values.content import MAX_CONTENT_BYTES, MAX_VALUES_BYTES
from support.kernels import BOUND, journal, kernel, opened

pytestmark = pytest.mark.timeout(BOUND * 10)
PATIENCE = BOUND * 4
"""A slow machine writes thousands of steps one after the other."""
STEPS = 2000


async def give(number: int) -> int:
    return number


async def resumed(handle: ExecutionHandle) -> ExecutionResult:
    """Wait until a job has left the memory with a question, answer it, and return the result of the run that goes on."""
    async with asyncio.timeout(PATIENCE):
        while await handle.status() != "waiting_action":
            await asyncio.sleep(0.02)
    (question,) = await handle.get_pending_actions()
    await handle.resolve_action(question.action_id, {"confirmed": True})
    return await handle.result(timeout=PATIENCE)


class Ticks:
    """Counts the turns of the loop that others have had."""

    def __init__(self) -> None:
        self.count = 0
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


SEEN: list[int] = []


async def in_line(context: OperatorContext) -> None:
    for number in range(STEPS):
        await context.step(give, number, effect="pure")


async def side_by_side(context: OperatorContext) -> None:
    async def one(number: int) -> None:
        for _ in range(5):
            await context.step(give, number, effect="pure")

    await context.gather(*(one(number) for number in range(STEPS // 5)))


async def counted(context: OperatorContext, work: Callable[[OperatorContext], Awaitable[None]]) -> None:
    ticks = Ticks()
    try:
        await work(context)
    finally:
        ticks.task.cancel()
    SEEN.append(ticks.count)
    await context.action(ActionSpec(type="confirm"))


async def line(context: OperatorContext, given: object) -> None:
    await counted(context, in_line)


async def branches(context: OperatorContext, given: object) -> None:
    await counted(context, side_by_side)


@pytest.mark.parametrize("operator", [line, branches], ids=lambda function: function.__name__)
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_recalling_many_steps_lets_others_have_their_turns(
    kind: str, operator: Any, tmp_path: Path
) -> None:
    SEEN.clear()
    async with opened(kind, tmp_path) as storage, kernel(storage, operators=[operator]) as k:
        await resumed(await k.execute(ExecutionRequest(operator=operator.__name__)))
    assert len(SEEN) == 2
    assert SEEN[1] > 3


async def in_many_branches(context: OperatorContext) -> None:
    async def nothing() -> None:
        """Need no waiting."""

    await context.gather(*(nothing() for _ in range(10 * STEPS)))


async def wide(context: OperatorContext, given: object) -> None:
    await counted(context, in_many_branches)


async def test_many_branches_begin_with_turns_for_others_between_them() -> None:
    SEEN.clear()
    async with kernel(operators=[wide]) as k:
        await resumed(await k.execute(ExecutionRequest(operator="wide")))
    assert min(SEEN) > 8


async def many() -> list[dict[str, Any]]:
    return [{"id": number, "name": "something", "price": 1.5} for number in range(60_000)]


async def too_many() -> list[int]:
    return [1] * MAX_VALUES_BYTES


async def a_long_text() -> dict[str, str]:
    return {"picture": "x" * (2 * MAX_VALUES_BYTES)}


async def large(context: OperatorContext, given: object) -> int:
    ticks = Ticks()
    await asyncio.sleep(0)
    before = ticks.count
    found = await context.step(many, effect="pure")
    SEEN.append(ticks.count - before)
    ticks.task.cancel()
    await context.action(ActionSpec(type="confirm"))
    return len(found)


async def refused(context: OperatorContext, given: object) -> str:
    assert len((await context.step(a_long_text))["picture"]) == 2 * MAX_VALUES_BYTES
    try:
        await context.step(too_many)
    except ContentTooLarge as error:
        return str(error)
    return "kept"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_large_result_is_written_and_read_while_others_go_on(kind: str, tmp_path: Path) -> None:
    SEEN.clear()
    async with opened(kind, tmp_path) as storage, kernel(storage, operators=[large]) as k:
        handle = await k.execute(ExecutionRequest(operator="large"))
        assert (await resumed(handle)).output == 60_000
        (stored,) = [event.content for event in await journal(handle) if event.type == "step.completed"]
    assert stored is not None
    if kind != "memory":
        assert len(stored) < 1_500_000
    assert len(SEEN) == 2
    assert min(SEEN) > 10


async def test_content_over_the_bound_is_refused_with_one_sentence() -> None:
    async with kernel(operators=[refused]) as k:
        result = await (await k.execute(ExecutionRequest(operator="refused"))).result()
        assert "step 'too_many'" in result.content
        assert f"{MAX_VALUES_BYTES:,} per entry" in result.content
        with pytest.raises(ContentTooLarge, match="keep what is larger elsewhere"):
            await k.execute(ExecutionRequest(operator="refused", input="x" * MAX_CONTENT_BYTES))
