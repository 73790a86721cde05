"""Tasks that are kept and end, loops that outlive what fails, waits that grow, and shutdowns of which every step is taken."""

import asyncio
import contextlib
import gc
import logging
from contextvars import ContextVar

import pytest

from llm_client.background import (
    BackgroundLoop,
    Backoff,
    begin,
    drained,
    ended,
    in_background,
    leave,
    promptly,
    stopped,
)
from support.soak.virtual import run_in_virtual_time

BOUND = 20.0
FAR = 3600.0
logger = logging.getLogger(__name__)
whose: ContextVar[str] = ContextVar("whose", default="nobody's")


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


async def test_a_task_in_the_background_is_kept_and_works_for_nobody() -> None:
    heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.sleep(0)
        heard.set_result(whose.get())

    whose.set("a job's")
    in_background(work(), name="work")
    assert await asyncio.wait_for(heard, BOUND) == "nobody's"


async def died() -> None:
    raise ValueError("out of luck")


async def test_a_task_in_the_background_that_dies_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    task = in_background(died(), name="taking chances")
    await asyncio.wait((task,))
    await asyncio.sleep(0)
    assert "taking chances has died" in caplog.text
    assert "out of luck" in caplog.text
    await ended(task)


async def test_an_error_in_the_place_of_a_cancellation_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    async def driver() -> None:
        try:
            await asyncio.sleep(FAR)
        except asyncio.CancelledError:
            raise ValueError("no answer") from None

    task = in_background(driver(), name="asking")
    await asyncio.sleep(0)
    await ended(task)
    assert "asking failed while it was being ended: no answer" in caplog.text


async def test_the_caller_of_a_task_takes_what_it_gives_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ValueError, match="out of luck"):
        await begin(died())
    assert caplog.text == ""


async def test_who_leaves_a_task_does_not_wait_for_it() -> None:
    released = asyncio.Event()
    task = begin(stubborn(released))
    await asyncio.sleep(0)
    leave(task)
    assert not task.done()
    async with asyncio.timeout(BOUND):
        await released.wait()


async def test_ending_nothing_and_what_has_ended_returns_at_once() -> None:
    task = begin(asyncio.sleep(0))
    await task
    await ended(None, task)
    await drained([])


def loop_of(took: list[float], *, backoff: Backoff | None, failing: int = 0) -> BackgroundLoop:
    """Return a loop whose step remembers when it was taken, and fails so many times before it works."""

    async def step() -> None:
        took.append(asyncio.get_running_loop().time())
        if len(took) <= failing:
            raise ConnectionError("server at 10.0.0.1 is away")

    return BackgroundLoop(step, name="stepping", logger=logger, failures=(OSError,), backoff=backoff)


async def until(took: list[float], steps: int) -> None:
    async with asyncio.timeout(FAR):
        while len(took) < steps:
            await asyncio.sleep(0.01)


def test_a_loop_takes_its_step_when_it_is_woken_and_once_for_many_wake_ups() -> None:
    async def main() -> None:
        took: list[float] = []
        loop = loop_of(took, backoff=None)
        loop.start()
        await asyncio.sleep(10)
        assert took == []
        loop.wake()
        loop.wake()
        await asyncio.sleep(10)
        assert took == pytest.approx([10])
        await loop.stop()
        await loop.stop()
        assert not loop.is_running

    run_in_virtual_time(main())


def test_a_loop_that_is_woken_during_its_step_takes_it_once_more() -> None:
    async def main() -> None:
        took: list[int] = []

        async def step() -> None:
            took.append(len(took))
            if len(took) == 1:
                loop.wake()

        loop = BackgroundLoop(step, name="stepping", logger=logger)
        loop.start(after=0)
        await asyncio.sleep(1)
        assert took == [0, 1]
        await loop.stop()

    run_in_virtual_time(main())


def test_a_loop_takes_its_step_again_after_the_time_it_says() -> None:
    async def main() -> None:
        took: list[float] = []

        async def step() -> float:
            took.append(asyncio.get_running_loop().time())
            return 5.0

        loop = BackgroundLoop(step, name="stepping", logger=logger)
        loop.start(after=2.0)
        await asyncio.sleep(13)
        assert took == pytest.approx([2, 7, 12])
        loop.wake()
        await asyncio.sleep(0.5)
        assert took == pytest.approx([2, 7, 12, 13])
        await loop.stop()

    run_in_virtual_time(main())


def test_a_failing_step_is_taken_again_after_ever_longer_waits_and_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        took: list[float] = []
        loop = loop_of(took, backoff=Backoff(1.0, 4.0, chance=lambda: 0.5), failing=4)
        loop.start(after=0)
        await until(took, 5)
        assert took == pytest.approx([0, 1, 3, 7, 11])
        await loop.stop()

    run_in_virtual_time(main())
    assert caplog.text.count("stepping does not work now") == 1
    assert "ConnectionError" in caplog.text
    assert "10.0.0.1" not in caplog.text


def test_what_stays_away_is_told_of_once_a_minute_by_all_who_need_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        loops = [loop_of([], backoff=Backoff(1.0, 1.0, chance=lambda: 0.5), failing=150) for _ in range(3)]
        for loop in loops:
            loop.start(after=0)
        await asyncio.sleep(130)
        for loop in loops:
            await loop.stop()

    run_in_virtual_time(main())
    assert caplog.text.count("does not work now") == 3


def test_wake_ups_do_not_hurry_a_loop_that_waits_after_a_failure() -> None:
    async def main() -> None:
        took: list[float] = []
        loop = loop_of(took, backoff=Backoff(8.0, 8.0, chance=lambda: 0.5), failing=1)
        loop.start(after=0)
        await asyncio.sleep(1)
        loop.wake()
        await until(took, 2)
        assert took == pytest.approx([0, 8])
        await loop.stop()

    run_in_virtual_time(main())


def test_a_loop_without_a_backoff_waits_for_the_next_wake_up() -> None:
    async def main() -> None:
        took: list[float] = []
        loop = loop_of(took, backoff=None, failing=1)
        loop.start(after=0)
        await asyncio.sleep(100)
        assert took == [0]
        loop.wake()
        await until(took, 2)
        await loop.stop()

    run_in_virtual_time(main())


def test_a_loop_that_finishes_takes_a_last_step_and_can_be_started_again() -> None:
    async def main() -> None:
        took: list[float] = []
        loop = loop_of(took, backoff=Backoff(1.0, 1.0), failing=1)
        for steps in (1, 2):
            loop.start()
            await loop.finish()
            assert len(took) == steps
            assert not loop.is_running

    run_in_virtual_time(main())


def test_a_loop_whose_step_swallows_the_cancellation_takes_no_other_one() -> None:
    async def main() -> None:
        took: list[float] = []

        async def step() -> float:
            took.append(asyncio.get_running_loop().time())
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(FAR)
            return 0.0

        loop = BackgroundLoop(step, name="stepping", logger=logger)
        loop.start(after=0)
        await asyncio.sleep(1)
        await loop.stop()
        assert took == [0]

    run_in_virtual_time(main())


def test_waits_double_up_to_the_longest_and_begin_anew_when_it_works() -> None:
    backoff = Backoff(1.0, 3.0, chance=lambda: 0.5)
    assert [backoff.next() for _ in range(4)] == [1, 2, 3, 3]
    backoff.reset()
    assert backoff.next() == 1


@pytest.mark.parametrize(("chance", "waits"), [(0.0, [0.8, 1.6]), (1.0, [1.2, 2.4])])
def test_chance_stretches_and_shortens_waits_by_a_fifth(chance: float, waits: list[float]) -> None:
    backoff = Backoff(1.0, 60.0, chance=lambda: chance)
    assert [backoff.next() for _ in range(2)] == pytest.approx(waits)
