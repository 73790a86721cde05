"""Turns on the event loop: work without a wait in it never holds the loop for longer than a slice."""

import asyncio
import itertools

from llm_client.turns import Turns, in_chunks


async def test_of_many_tasks_that_are_over_the_slice_one_goes_on_with_each_turn_of_the_loop() -> None:
    turns, order = Turns(slice=0.0, batch=1), list[object]()

    async def work(number: int) -> None:
        await turns.give()
        order.append(number)

    def tick() -> None:
        order.append("tick")
        if len(order) < 200:
            asyncio.get_running_loop().call_soon(tick)

    tasks = [asyncio.ensure_future(work(number)) for number in range(20)]
    asyncio.get_running_loop().call_soon(tick)
    await asyncio.gather(*tasks)
    assert [number for number in order if number != "tick"] == list(range(20))
    held = [one for one, following in itertools.pairwise(order) if one != "tick" and following != "tick"]
    assert held == []


async def test_within_the_slice_nobody_waits() -> None:
    turns = Turns(slice=1000.0)
    waits = turns.give()
    try:
        waits.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited")


async def test_a_task_that_is_cancelled_in_the_queue_does_not_keep_the_others_waiting() -> None:
    turns = Turns(slice=0.0, batch=1)
    await turns.give()
    tasks = [asyncio.ensure_future(turns.give()) for _ in range(5)]
    asyncio.get_running_loop().call_soon(lambda: [task.cancel() for task in tasks[:3]])
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks[3:]] == [False, False]


async def test_a_long_list_is_worked_on_in_parts() -> None:
    parts = [part async for part in in_chunks(list(range(1200)))]
    assert [len(part) for part in parts] == [500, 500, 200]
    assert [number for part in parts for number in part] == list(range(1200))
