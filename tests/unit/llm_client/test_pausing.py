"""Durable waits stop clocks and give back places."""

import asyncio

import pytest

from llm_client import RunAborted, paused
from llm_client.pausing import Slots, TimeLimit

BOUND = 5.0


async def later(seconds: float) -> None:
    """Wait for a moment of the loop's clock, as a person who answers later would make us."""
    moment = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, moment.set)
    await asyncio.wait_for(moment.wait(), BOUND)


async def test_a_time_limit_ends_its_body() -> None:
    limit = TimeLimit(0.01)
    with pytest.raises(TimeoutError):
        async with limit:
            await asyncio.Event().wait()

    assert limit.expired


async def test_a_time_limit_of_none_never_ends() -> None:
    async with TimeLimit(None) as limit:
        await later(0.01)

    assert (limit.expired, limit.remaining()) == (False, None)


async def test_a_time_out_of_the_body_itself_is_told_apart() -> None:
    limit = TimeLimit(60)
    with pytest.raises(TimeoutError):
        async with limit:
            raise TimeoutError

    assert not limit.expired


async def test_a_pause_stops_the_clock() -> None:
    async with TimeLimit(0.1) as limit:
        async with paused():
            assert limit.deadline is None
            await later(0.2)
        remaining = limit.remaining()

    assert remaining is not None
    assert 0 < remaining <= 0.1


async def test_the_clock_goes_on_after_a_pause() -> None:
    limit = TimeLimit(0.1)

    async def pauses_and_hangs() -> None:
        async with limit:
            async with paused():
                await later(0.2)
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await pauses_and_hangs()

    assert limit.expired


async def test_all_enclosing_clocks_stop_also_for_a_task_started_inside() -> None:
    async def wait() -> None:
        async with paused():
            await later(0.2)

    async with TimeLimit(0.1) as outer, TimeLimit(0.1) as inner:
        await asyncio.create_task(wait())

    assert not outer.expired
    assert not inner.expired


async def test_overlapping_pauses_stop_the_clock_until_the_last_ends() -> None:
    release = asyncio.Event()

    async def short() -> None:
        async with paused():
            await asyncio.sleep(0)

    async def long() -> None:
        async with paused():
            await release.wait()

    async with TimeLimit(0.1) as limit:
        tasks = [asyncio.create_task(short()), asyncio.create_task(long())]
        await tasks[0]
        stopped = limit.deadline is None
        asyncio.get_running_loop().call_later(0.2, release.set)
        await tasks[1]
        running = limit.deadline is not None

    assert (stopped, running) == (True, True)


async def test_a_pause_that_fails_restarts_the_clock() -> None:
    async with TimeLimit(60) as limit:
        with pytest.raises(KeyError):
            async with paused():
                raise KeyError
        assert limit.deadline is not None


async def test_a_pause_in_a_task_that_outlives_the_body_does_no_harm() -> None:
    ended = asyncio.Event()
    started = asyncio.Event()

    async def straggler() -> str:
        async with paused():
            started.set()
            await ended.wait()
        return "fine"

    async with TimeLimit(60), Slots(1).occupied():
        task = asyncio.create_task(straggler())
        await started.wait()
    ended.set()

    assert await asyncio.wait_for(task, BOUND) == "fine"


async def test_places_are_bounded_and_served_in_order() -> None:
    slots = Slots(2)
    order: list[int] = []
    inside = most = 0

    async def work(number: int) -> None:
        nonlocal inside, most
        async with slots.occupied():
            order.append(number)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work(number) for number in range(20)))

    assert (most, order, slots.free) == (2, list(range(20)), 2)


async def test_a_pause_lends_its_place_and_takes_one_back() -> None:
    slots = Slots(1)
    trail: list[str] = []
    lent, go_on = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        async with slots.occupied():
            async with paused():
                lent.set()
                await go_on.wait()
            trail.append("back")

    async def borrows() -> None:
        async with slots.occupied():
            trail.append("borrowed")
            go_on.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            trail.append("returned")

    task = asyncio.create_task(waits())
    await lent.wait()
    await asyncio.wait_for(asyncio.gather(task, borrows()), BOUND)

    assert trail == ["borrowed", "returned", "back"]
    assert slots.free == 1


@pytest.mark.parametrize("clock_outside", [True, False])
async def test_waiting_for_the_place_again_counts_against_no_clock(clock_outside: bool) -> None:
    slots = Slots(1)
    lent, taken = asyncio.Event(), asyncio.Event()

    async def waits() -> bool:
        limit = TimeLimit(0.1)
        first, second = (limit, slots.occupied()) if clock_outside else (slots.occupied(), limit)
        async with first, second:
            async with paused():
                lent.set()
                await taken.wait()
            return limit.expired

    async def hogs() -> None:
        await lent.wait()
        async with slots.occupied():
            taken.set()
            await later(0.2)

    expired, _ = await asyncio.gather(waits(), hogs())

    assert expired is False


@pytest.mark.parametrize("ending", ["cancelled", "aborted", "cancelled while taking back"])
async def test_however_a_pause_ends_every_place_is_free_in_the_end(ending: str) -> None:
    slots = Slots(1)
    lent, go_on = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        async with slots.occupied(), TimeLimit(60), paused():
            lent.set()
            await go_on.wait()
            if ending == "aborted":
                raise RunAborted

    task = asyncio.create_task(waits())
    await lent.wait()
    async with slots.occupied():
        if ending != "cancelled":
            go_on.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if ending != "aborted":
            task.cancel()
        await asyncio.wait(
            (task,), timeout=BOUND
        )  # an aborted run must not wait for the place that is held here
        assert task.done()

    assert slots.free == 1
    assert task.cancelled() or isinstance(task.exception(), RunAborted)


async def test_a_waiter_that_is_cancelled_just_as_its_turn_comes_passes_it_on() -> None:
    slots = Slots(1)
    await slots.take()
    first = asyncio.create_task(slots.take())
    second = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    slots.give()
    first.cancel()
    await asyncio.wait_for(second, BOUND)
    slots.give()

    assert first.cancelled()
    assert slots.free == 1
