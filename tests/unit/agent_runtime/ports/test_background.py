"""Not waiting for what does not obey, and shutdowns of which every step is taken."""

import asyncio

import pytest

from agent_runtime.ports.background import drained, promptly, stopped
from support.kernels import BOUND

FAR = 3600.0


class Steps:
    """Steps of a shutdown that remember what became of them."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def quick(self) -> None:
        self.taken.append("quick")

    async def slow(self) -> None:
        try:
            await asyncio.sleep(FAR)
        finally:
            self.taken.append("slow")

    async def failing(self) -> None:
        self.taken.append("failing")
        raise ValueError("no")


async def test_every_step_is_taken_when_one_has_used_up_the_time() -> None:
    steps = Steps()
    assert not await stopped(steps.slow, steps.slow, steps.quick, seconds=0.01)
    assert steps.taken == ["slow", "slow", "quick"]


async def test_every_step_is_taken_when_one_has_failed_and_its_error_is_told() -> None:
    steps = Steps()
    with pytest.raises(ValueError, match="no"):
        await stopped(steps.failing, steps.quick)
    assert steps.taken == ["failing", "quick"]


async def test_who_is_cancelled_takes_the_steps_that_are_left_without_waiting() -> None:
    steps = Steps()
    stopping = asyncio.ensure_future(stopped(steps.slow, steps.slow, steps.failing, steps.quick))
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait((stopping,))
    assert stopping.cancelled()
    assert steps.taken == ["slow", "slow", "failing", "quick"]


async def stubborn(released: asyncio.Event) -> None:
    """Ignore one cancellation, as a driver does that waits for its server."""
    try:
        await asyncio.sleep(FAR)
    except asyncio.CancelledError:
        await asyncio.sleep(FAR)
    finally:
        released.set()


async def test_who_is_cancelled_is_let_go_by_what_does_not_obey_and_that_ends_too() -> None:
    released = asyncio.Event()
    waiting = asyncio.ensure_future(promptly(stubborn(released), name="stubborn"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()
    async with asyncio.timeout(BOUND):
        await released.wait()


async def test_what_takes_too_long_is_left_behind() -> None:
    released = asyncio.Event()
    with pytest.raises(TimeoutError):
        await promptly(stubborn(released), seconds=0.01, name="stubborn")
    async with asyncio.timeout(BOUND):
        await released.wait()


async def test_tasks_are_cancelled_when_their_time_is_up_or_when_nobody_waits_for_them() -> None:
    first, second = (asyncio.ensure_future(asyncio.sleep(FAR)) for _ in range(2))
    await drained([first], seconds=0.01)
    assert first.cancelled()
    draining = asyncio.ensure_future(drained([second], seconds=FAR))
    await asyncio.sleep(0)
    draining.cancel()
    await asyncio.wait((draining, second))
    assert draining.cancelled()
    assert second.cancelled()
