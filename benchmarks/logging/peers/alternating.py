"""What every log of the comparison does. Each file beside this one calls `main` with its own way to ask, with the log and without.

Both are done in one process, in turns of some calls, so that what else the machine does meets both. The answer is one line of JSON.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

Ask = Callable[[str], Awaitable[object]]
LINE = "The planner looks at order 17 of 2026-11-21, which costs 12.50, and asks for the next step.\n"
SIZES = {"1 KB": 1_000, "32 KB": 32_000}
TURNS = 6


async def nothing(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """How a call is made."""

    plain: Ask
    logged: Ask
    begin: Callable[[bool], Awaitable[object]] = nothing
    """Is told before each turn whether its calls are logged."""
    settle: Callable[[], Awaitable[object]] = nothing
    """Returns when all that was logged has left, or is written."""
    in_turn: int = 50


Connect = Callable[[str], AbstractAsyncContextManager[Calls]]


async def turn(calls: Calls, text: str, *, logged: bool, apart: bool) -> tuple[list[float], float]:
    """Ask some times; return how long each call took, and the processor time of them all with what is done in the background.

    Apart, the log has caught up before each call, as it has where a model takes its time to answer. Else its work meets the next calls.
    """
    await calls.begin(logged)
    ask, times = calls.logged if logged else calls.plain, []
    busy = time.process_time()
    for _ in range(calls.in_turn):
        began = time.perf_counter()
        await ask(text)
        times.append((time.perf_counter() - began) * 1e6)
        if apart:
            await calls.settle()
    await calls.settle()
    return times, (time.process_time() - busy) * 1e6


async def measure(connect: Connect, url: str, size: int) -> dict[str, float]:
    """Return what the log adds to a call, in µs."""
    text = (LINE * (size // len(LINE) + 1))[:size]
    took: dict[tuple[bool, bool], list[float]] = {}
    busy = {False: 0.0, True: 0.0}
    async with connect(url) as calls:
        for logged in (False, True):  # what is made once is made
            await turn(calls, text, logged=logged, apart=False)
        for number in range(2 * TURNS):
            logged = number % 4 in (1, 2)  # neither always comes first
            for apart in (True, False):
                times, processor = await turn(calls, text, logged=logged, apart=apart)
                took.setdefault((logged, apart), []).extend(times)
                busy[logged] += 0.0 if apart else processor
    medians = {key: statistics.median(times) for key, times in took.items()}
    return {
        "call": medians[False, True],
        "apart": medians[True, True] - medians[False, True],
        "in a row": medians[True, False] - medians[False, False],
        "processor": (busy[True] - busy[False]) / len(took[True, False]),
    }


def main(connect: Connect) -> None:
    """Measure the size that the command line names: `url size`."""
    print(json.dumps(asyncio.run(measure(connect, sys.argv[1], SIZES[sys.argv[2]]))))
