"""How long the event loop is held at a time: when a long journal is followed again, by a large family, by large content.

Called as `python holds.py CASE` in an empty folder; answers with one line of JSON. What is measured is the longest turn of the
loop, by the clock and in processor time of its thread: others on the machine lengthen the first, threads of this process that
keep the interpreter to themselves lengthen it too.
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

WAIT_SECONDS = 600.0
OBJECTS = 90_000
"""Of a JSON array of some 4 MB."""


@dataclass(slots=True)
class Holds:
    """What a probe in the loop has seen."""

    longest: float = 0.0
    """Seconds of one turn of the loop."""
    longest_worked: float = 0.0
    """Seconds of the processor that the loop's thread had in one turn."""
    collected: float = 0.0
    """Seconds of the longest collection of garbage."""
    over: int = 0
    """Turns of more than 50 ms."""
    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0


@contextmanager
def probe() -> Any:
    """Look at every turn of the loop."""
    loop, holds, state = asyncio.get_running_loop(), Holds(), {"on": True, "gc": 0.0}
    last, last_worked = time.perf_counter(), time.thread_time()

    def turn() -> None:
        nonlocal last, last_worked
        now, worked = time.perf_counter(), time.thread_time()
        holds.longest = max(holds.longest, now - last)
        holds.longest_worked = max(holds.longest_worked, worked - last_worked)
        holds.over += now - last > 0.05
        last, last_worked = now, worked
        if state["on"]:
            loop.call_later(0.0005, turn)  # idle turns are not counted: the loop sleeps until it is woken
            last = time.perf_counter()

    def collecting(phase: str, _: Any) -> None:
        if phase == "start":
            state["gc"] = time.perf_counter()
        else:
            holds.collected = max(holds.collected, time.perf_counter() - state["gc"])

    gc.callbacks.append(collecting)
    loop.call_soon(turn)
    try:
        yield holds
    finally:
        state["on"] = False
        gc.callbacks.remove(collecting)
        holds.seconds = time.perf_counter() - holds.began


async def give(number: int) -> int:
    return number


async def many(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "name": "something", "price": 1.5} for number in range(count)]


async def line(context: Any, steps: int) -> None:
    from agent_runtime import ActionSpec

    for number in range(steps):
        await context.step(give, number, effect="pure")
    await context.action(ActionSpec(type="confirm"))


async def small(context: Any, given: Any) -> int:
    return await context.step(give, given, effect="pure")


async def family(context: Any, children: int) -> int:
    from agent_runtime import ActionSpec

    found = await context.gather(*(context.child("small", number) for number in range(children)))
    await context.action(ActionSpec(type="confirm"))
    return len(found)


async def large(context: Any, count: int) -> int:
    from agent_runtime import ActionSpec

    found = await context.step(many, count, effect="pure")
    await context.action(ActionSpec(type="confirm"))
    return len(found)


OPERATORS = {"line": line, "small": small, "family": family, "large": large}


@asynccontextmanager
async def kernel(storage: Any) -> AsyncIterator[Any]:
    from agent_runtime import KernelOptions, RuntimeKernel
    from agent_runtime.operators.orchestration import OrchestrationConfig

    async with RuntimeKernel(
        storage=storage,
        operators=OPERATORS,
        options=KernelOptions(suspend_after=0.05),
        orchestration=OrchestrationConfig(max_child_jobs=5_000, max_parallel=5_000),
    ) as k:
        yield k


async def resumed(handle: Any, answer: Callable[[], Awaitable[Any]]) -> Holds:
    """Wait until a job has left the memory with its question, answer it, and watch the run that goes on."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await handle.status() != "waiting_action":
            await asyncio.sleep(0.05)
        gc.collect()
        with probe() as holds:
            await answer()
            await handle.result()
    return holds


async def measure(kind: str, operator: str, size: int) -> dict[str, float]:
    """Run a job up to its question, then again; both runs are watched."""
    from agent_runtime import ExecutionRequest, open_storage
    from agent_runtime.worker.garbage import few_collections

    storage = open_storage("sqlite:///runs.db" if kind == "sqlite" else "memory://")
    async with kernel(storage) as k:
        await (await k.execute(ExecutionRequest(operator="small", input=1))).result()  # imports what is used
        with few_collections():  # as the command `agent-runtime worker` has it
            with probe() as first:
                handle = await k.execute(ExecutionRequest(operator=operator, input=size))
                async with asyncio.timeout(WAIT_SECONDS):
                    while not (asked := await k.actions.list_pending()):
                        await asyncio.sleep(0.01)
            again = await resumed(
                handle, lambda: k.actions.resolve_by_id(asked[0].action_id, {"confirmed": True})
            )
    await storage.aclose()
    return {
        **{f"first_{name}": value for name, value in told(first).items()},
        **told(again),
    }


def told(holds: Holds) -> dict[str, float]:
    """Return what a probe has seen, in milliseconds."""
    return {
        "longest_ms": holds.longest * 1e3,
        "worked_ms": holds.longest_worked * 1e3,
        "collected_ms": holds.collected * 1e3,
        "over": holds.over,
        "seconds": holds.seconds,
    }


CASES = {
    f"{name}-{kind}": (kind, operator, size)
    for kind in ("memory", "sqlite")
    for name, operator, size in (
        ("resume-10000", "line", 10_000),
        ("resume-40000", "line", 40_000),
        ("children-1000", "family", 1_000),
        ("content-4mb", "large", OBJECTS),
    )
}


def main() -> None:
    """Run a case."""
    if sys.argv[1] == "--cases":
        print(json.dumps(list(CASES)))
        return
    print(json.dumps(asyncio.run(measure(*CASES[sys.argv[1]]))))


if __name__ == "__main__":
    main()
