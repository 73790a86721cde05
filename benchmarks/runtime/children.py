"""What a thousand children cost their parent: bytes of its journal, and processor time.

    python benchmarks/runtime/children.py [URL]

The children are started together, give four kilobytes each, and end when the parent has left the memory. Then the parent is woken
once more by an answer, so that it goes through its journal a second time.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

CHILDREN, SIZE = 1000, 4000
released = asyncio.Event()


async def child(context: Any, given: int) -> str:
    """Give something when it is time."""
    await released.wait()
    return f"{given:04}" * (SIZE // 4)


async def parent(context: Any, count: int) -> int:
    """Start the children, wait for all, and ask."""
    from agent_runtime import ActionSpec

    results = await context.wait_all(*(context.child("child", number) for number in range(count)))
    await context.action(ActionSpec(type="input"))
    return sum(len(result.content) for result in results)


class Costs(NamedTuple):
    """What they cost."""

    journal_bytes: int
    seconds: float
    """From the parent's start until it asks."""
    starting_ms: float
    """Of processor time, a child; the others likewise."""
    ending_ms: float
    resuming_ms: float
    """In all."""


async def measure(url: str) -> Costs:
    """Run a parent with its children, in a process as the command `agent-runtime worker` has it."""
    from agent_runtime import ExecutionRequest, KernelOptions, RuntimeKernel
    from agent_runtime.worker.garbage import few_collections

    options = KernelOptions(suspend_after=0.05, max_concurrency=CHILDREN + 1)
    async with RuntimeKernel(
        storage=url, operators={"child": child, "parent": parent}, options=options
    ) as kernel:

        async def life(count: int) -> tuple[Any, list[float], float]:
            """Return a parent's handle, the processor time at each stage of its life, and its seconds."""
            released.clear()
            begun, times = time.perf_counter(), [time.process_time()]
            handle = await kernel.execute(ExecutionRequest(operator="parent", input=count))
            await becomes(handle, "waiting")
            times.append(time.process_time())
            released.set()
            await becomes(handle, "waiting_action")
            times.append(time.process_time())
            seconds = time.perf_counter() - begun
            (question,) = await handle.get_pending_actions()
            await handle.resolve_action(question.action_id, {"value": 1})
            assert (await handle.result()).output == count * SIZE
            return handle, [*times, time.process_time()], seconds

        await life(3)  # what is imported and compiled once is no child's
        with few_collections():
            handle, (began, started, ended, resumed), seconds = await life(CHILDREN)
        events = await kernel.storage.events(handle.job_id, limit=10_000)
    return Costs(
        journal_bytes=sum(len(event.content or b"") for event in events),
        seconds=seconds,
        starting_ms=(started - began) / CHILDREN * 1000,
        ending_ms=(ended - started) / CHILDREN * 1000,
        resuming_ms=(resumed - ended) * 1000,
    )


async def becomes(handle: Any, status: str) -> None:
    """Wait until a job has a status."""
    while await handle.status() != status:
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{Path(folder) / 'runs.db'}"
        costs = asyncio.run(measure(url))
    print(f"parent's journal: {costs.journal_bytes:,} bytes of content")
    print(f"starting:         {costs.starting_ms:.2f} ms of processor time a child")
    print(f"ending:           {costs.ending_ms:.2f} ms of processor time a child")
    print(f"resuming:         {costs.resuming_ms:.0f} ms of processor time in all")
