"""Resident agents whose process is killed with SIGKILL: between a claim and its acknowledgement no message is lost, and none is done twice."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from agent_runtime.ports.agents import TASK_COMPLETED, MessageStatus
from agent_runtime.storage.sqlite import SQLiteStorage
from llm_client.codec import load_message
from support.kernels import BOUND, kernel, until

pytestmark = pytest.mark.timeout(BOUND * 12)

ROOT = Path(__file__).parents[2]
MOMENTS = [
    f"{when}:{what}:{number}"
    for what, numbers in (("change", range(1, 9)), ("start", range(1, 4)), ("commit", range(1, 10)))
    for number in numbers
    for when in ("before", "after")
]
"""Forty deaths."""


@contextmanager
def child(address: Path, moment: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a process that looks after agents, until the end of the block or the moment of its death."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.agents_child", str(address), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


async def test_forty_deaths_lose_no_message_and_have_none_done_twice(tmp_path: Path) -> None:
    """openclaw #34041: a queued message was delivered twice."""
    address, sent = tmp_path / "runs.db", list[str]()
    storage = SQLiteStorage(address, durability="process")
    async with kernel(storage, worker=False) as k:
        await k.agents.create(
            "duty", config={"max_attempts": 50, "max_queue_size": 5000, "memory_messages": 1000}
        )
        for number, moment in enumerate(MOMENTS):
            for of in range(4):
                task = await k.agents.send_task("duty", f"task {number}.{of}", dedupe_key=f"{number}.{of}")
                sent.append(task.message_id)
            with child(address, moment) as doomed:
                assert await asyncio.to_thread(doomed.wait, 30) == -signal.SIGKILL, moment
        with child(address):

            async def all_done() -> bool:
                open_ones = await k.agents.messages(
                    "duty", statuses=[MessageStatus.WAITING, MessageStatus.CLAIMED], limit=1000
                )
                return not open_ones

            async with asyncio.timeout(BOUND * 4):
                while not await all_done():
                    await asyncio.sleep(0.05)
            await until(_is_idle(k))
        messages = await k.agents.messages("duty", limit=1000)
        history = []
        while page := await k.agent_events.events(after=len(history), limit=1000):
            history += page
        memory = await storage.agent_memory("default", "duty")
    await storage.aclose()

    assert {message.message_id for message in messages} == set(sent)
    assert {message.status for message in messages} == {MessageStatus.DONE}
    assert [event.seq for event in history] == list(range(1, len(history) + 1))
    done = Counter(event.data["message_id"] for event in history if event.type == TASK_COMPLETED)
    assert done == Counter(sent)
    assert memory is not None
    remembered = [load_message(one) for one in orjson.loads(memory)["messages"]]
    asked = [message.text for message in remembered if message.role == "user"]
    assert Counter(asked) == Counter(
        f"task {n}.{of}" for n, of in itertools.product(range(len(MOMENTS)), range(4))
    )


def _is_idle(k):  # type: ignore[no-untyped-def]  # a kernel
    async def is_idle() -> bool:
        agent = await k.agents.get("duty")
        return agent.state == "idle" and agent.running == agent.queue_depth == 0

    return is_idle
