"""What every client of the comparison does. Each file in `clients/` calls `main` with its own way to ask.

A client is an async function that takes the server's address and returns its `Calls`. Every case runs in a process of
its own; the answer is one line of JSON.
"""

import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Message = dict[str, str]
Ask = Callable[[list[Message]], Awaitable[object]]

SMALL: list[Message] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "How is the weather?"},
]
HISTORY: list[Message] = [
    SMALL[0],
    *(
        {
            "role": "assistant" if turn % 2 else "user",
            "content": f"Turn {turn}: " + "some words of a talk " * 28,
        }
        for turn in range(41)
    ),
]
"""42 messages, 25 KB."""
WARM_UP, CALLS, STREAMS, IN_FLIGHT, CONCURRENT_CALLS = 30, 300, 15, 100, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """How a client asks for a whole answer and for a stream, and how it is closed."""

    ask: Ask
    stream: Ask
    """Reads a whole stream and returns how many pieces of text came."""
    close: Callable[[], Awaitable[object]]


Connect = Callable[[str], Awaitable[Calls]]


async def sequential(calls: Calls, messages: list[Message]) -> dict[str, float]:
    """Ask again and again; microseconds of wall clock and of CPU per call."""
    for _ in range(WARM_UP):
        await calls.ask(messages)
    times: list[float] = []
    cpu = time.process_time()
    for _ in range(CALLS):
        start = time.perf_counter()
        await calls.ask(messages)
        times.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    return {"value": statistics.median(times) * 1e6, "cpu": cpu / CALLS * 1e6}


async def streaming(calls: Calls) -> dict[str, float]:
    """Read streams of a thousand chunks; milliseconds per stream."""
    times: list[float] = []
    cpu = time.process_time()
    for _ in range(STREAMS):
        start = time.perf_counter()
        pieces = await calls.stream(SMALL)
        times.append(time.perf_counter() - start)
        if pieces != 1000:
            raise SystemExit(f"{pieces} pieces instead of 1000")
    cpu = time.process_time() - cpu
    return {"value": statistics.median(times) * 1e3, "cpu": cpu / STREAMS * 1e3}


async def concurrent(calls: Calls) -> dict[str, float]:
    """Ask a thousand times, a hundred at a time; microseconds per call."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with slots:
            await calls.ask(SMALL)

    await asyncio.gather(*(one() for _ in range(2 * IN_FLIGHT)))
    cpu, start = time.process_time(), time.perf_counter()
    await asyncio.gather(*(one() for _ in range(CONCURRENT_CALLS)))
    seconds = time.perf_counter() - start
    return {
        "value": seconds / CONCURRENT_CALLS * 1e6,
        "cpu": (time.process_time() - cpu) / CONCURRENT_CALLS * 1e6,
    }


async def run(case: str, connect: Connect, url: str) -> dict[str, float]:
    """Run one case."""
    calls = await connect(url)
    try:
        if case == "small":
            return await sequential(calls, SMALL)
        if case == "history":
            return await sequential(calls, HISTORY)
        return await (streaming(calls) if case == "stream" else concurrent(calls))
    finally:
        await calls.close()


def main(load: Callable[[], Connect]) -> None:
    """Measure the case that the command line names: `case url`, or `import`."""
    case, url = sys.argv[1], sys.argv[2]
    start = time.perf_counter()
    connect = load()
    if case == "import":
        answer = {"value": (time.perf_counter() - start) * 1e3, "cpu": time.process_time() * 1e3}
    else:
        answer = asyncio.run(run(case, connect, url))
    answer["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(answer))
