"""Plain functions in threads: a bounded number at a time, however many are asked for at once."""

import asyncio
import threading

import pytest

from llm_client.tools.threads import MAX_THREADS, call_in_thread

BOUND = 30.0


async def test_of_many_functions_at_once_a_bounded_number_runs_and_all_end() -> None:
    running, most, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == MAX_THREADS:
                full.set()
        assert full.wait(BOUND)
        with lock:
            running -= 1
        return number

    async with asyncio.timeout(BOUND):
        numbers = await asyncio.gather(
            *(call_in_thread(work, {"number": number}, "work") for number in range(MAX_THREADS * 3))
        )
    assert numbers == list(range(MAX_THREADS * 3))
    assert most == MAX_THREADS


async def test_a_function_that_waits_for_another_one_does_not_queue_behind_itself() -> None:
    loop = asyncio.get_running_loop()
    inside = threading.Barrier(MAX_THREADS)

    def outer() -> str:
        inside.wait(BOUND)
        inner = asyncio.run_coroutine_threadsafe(call_in_thread(lambda: "inner", {}, "inner"), loop)
        return str(inner.result(BOUND))

    async with asyncio.timeout(BOUND):
        said = await asyncio.gather(*(call_in_thread(outer, {}, "outer") for _ in range(MAX_THREADS)))
    assert said == ["inner"] * MAX_THREADS


async def test_a_function_nobody_waits_for_any_more_gives_its_place_to_the_next() -> None:
    release = threading.Event()
    hanging = [asyncio.ensure_future(call_in_thread(release.wait, {}, "hangs")) for _ in range(MAX_THREADS)]
    await asyncio.sleep(0)
    following = asyncio.ensure_future(call_in_thread(lambda: "through", {}, "next"))
    await asyncio.sleep(0)
    assert not following.done()
    hanging[0].cancel()
    try:
        async with asyncio.timeout(BOUND):
            assert await following == "through"
            with pytest.raises(asyncio.CancelledError):
                await hanging[0]
    finally:
        release.set()
        await asyncio.gather(*hanging[1:])
