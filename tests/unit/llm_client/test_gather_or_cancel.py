"""Coroutines side by side, as one."""

import asyncio

import pytest

from llm_client.background import gather_or_cancel


async def value(number: int) -> int:
    for _ in range(5 - number):
        await asyncio.sleep(0)
    return number


async def test_results_keep_their_order() -> None:
    assert await gather_or_cancel([value(number) for number in range(5)]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [ValueError("first"), asyncio.CancelledError()])
async def test_the_first_failure_surfaces_as_itself_when_all_others_have_ended(error: BaseException) -> None:
    ended: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("hang")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(type(error)):
        await gather_or_cancel([hang(), fail(), hang()])

    assert ended == ["hang", "hang"]


async def test_a_cancellation_from_outside_ends_all() -> None:
    started, ended = asyncio.Event(), []

    async def hang(number: int) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    task = asyncio.create_task(gather_or_cancel([hang(1), hang(2)]))
    await started.wait()
    task.cancel()
    await asyncio.wait((task,))

    assert task.cancelled()
    assert sorted(ended) == [1, 2]
