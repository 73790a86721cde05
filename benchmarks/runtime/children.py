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
from typing import Any

CHILDREN, SIZE = 1000, 4000
released = asyncio.Event()


async def child(context: Any, given: int) -> str:
    """Give something when it is time."""
    await released.wait()
    return f"{given:04}" * (SIZE // 4)


async def parent(context: Any, given: object) -> int:
    """Start the children, wait for all, and ask."""
    from agent_runtime import ActionSpec

    results = await context.wait_all(*(context.child("child", number) for number in range(CHILDREN)))
    await context.action(ActionSpec(type="input"))
    return sum(len(result.content) for result in results)


async def main(url: str) -> None:
    """Run it, and print a line for each number."""
    from agent_runtime import ExecutionRequest, KernelOptions, RuntimeKernel

    options = KernelOptions(suspend_after=0.05, max_concurrency=CHILDREN + 1)
    async with RuntimeKernel(
        storage=url, operators={"child": child, "parent": parent}, options=options
    ) as kernel:
        began = time.process_time()
        handle = await kernel.execute(ExecutionRequest(operator="parent"))
        await becomes(handle, "waiting")
        started = time.process_time()
        released.set()
        await becomes(handle, "waiting_action")
        ended = time.process_time()
        (question,) = await handle.get_pending_actions()
        await handle.resolve_action(question.action_id, {"value": 1})
        assert (await handle.result()).output == CHILDREN * SIZE
        resumed = time.process_time()
        events = await kernel.storage.events(handle.job_id, limit=10_000)
    print(f"parent's journal: {sum(len(event.content or b'') for event in events):,} bytes of content")
    print(f"starting:         {(started - began) / CHILDREN * 1000:.2f} ms of processor time a child")
    print(f"ending:           {(ended - started) / CHILDREN * 1000:.2f} ms of processor time a child")
    print(f"resuming:         {(resumed - ended) * 1000:.0f} ms of processor time in all")


async def becomes(handle: Any, status: str) -> None:
    """Wait until a job has a status."""
    while await handle.status() != status:
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{Path(folder) / 'runs.db'}"))
