"""langgraph #8112, #7778, hermes-agent #85016, bagofwords #612: after a reconnection ids of a stream came twice, and events of sub-graphs were gone; a
closed tab killed the turn, and a refresh lost the text that had been written.

Here a job with a child is read with a connection that is lost after every single frame; and an answer that is being written is left and read
again, as a tab that is closed and opened.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from agent_runtime import OperatorContext, RuntimeKernel
from llm_client import ExecutionEngine, FunctionProvider
from support.service import BOUND, Reading, frames, served

pytestmark = pytest.mark.timeout(BOUND * 3)
WORDS = [f"word{number} " for number in range(40)]


async def parent(context: OperatorContext, given: object) -> Any:
    await context.emit("custom.before", {})
    child = await context.start_child("child", 3)
    await context.emit("custom.between", {})
    return await child.result()


async def child(context: OperatorContext, count: int) -> int:
    for number in range(count):
        await context.emit("custom.of_the_child", {"number": number})
    return count


async def write(spec: Any) -> AsyncIterator[str]:
    for word in WORDS:
        await asyncio.sleep(0.02)
        yield word


async def one_frame(client: httpx2.AsyncClient, path: str, last: str | None, **params: Any) -> Any:
    """Connect, read one frame of an event that is stored, and lose the connection; return the frame, `None` at the end."""
    headers = {"Accept": "text/event-stream", **({} if last is None else {"Last-Event-ID": last})}
    async with client.stream("GET", path, headers=headers, params=params) as response:
        async for frame in frames(response):
            if frame.id is not None and frame.data is not None:
                return frame
            if frame.event == "end":
                return None
    return None


async def test_a_connection_that_is_lost_after_each_frame_brings_each_once_children_too() -> None:
    kernel = RuntimeKernel(operators={"parent": parent, "child": child})
    async with served(kernel) as service, service.client(await service.key()) as client:
        job = (await client.post("/v1/jobs", json={"operator": "parent"})).json()["job_id"]
        seen: list[tuple[str, str]] = []
        last: str | None = None
        while (frame := await one_frame(client, f"/v1/jobs/{job}/events", last)) is not None:
            last = frame.id
            seen.append((frame.id, frame.data["type"]))
        stored = await kernel.storage.events(job)
        assert seen == [(str(event.seq), event.type) for event in stored]

        line = await kernel.storage.feed(after=0, upto=await kernel.storage.feed_end())
        both: list[tuple[str, int]] = []
        last = None
        while len(both) < len(line):
            frame = await one_frame(client, "/v1/events", last, **({} if last else {"after": 0}))
            last = frame.id
            both.append((frame.data["job_id"], frame.data["seq"]))
        assert both == [(entry.event.job_id, entry.event.seq) for entry in line]
        assert len({job_id for job_id, _ in both}) == 2


async def test_a_tab_that_is_closed_stops_nothing_and_one_that_is_opened_has_the_whole_text() -> None:
    kernel = RuntimeKernel(engine=ExecutionEngine(FunctionProvider(write)))
    async with served(kernel) as service, service.client(await service.key()) as client:
        job = (await client.post("/v1/jobs", json={"prompt": "write"})).json()["job_id"]
        path = f"/v1/jobs/{job}/events"
        closed = Reading()
        reading = asyncio.ensure_future(closed.connect(client, path))
        async with asyncio.timeout(BOUND):
            while len("".join(closed.texts.values())) < 50:
                await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.wait([reading])

        opened = Reading()
        await opened.connect(client, path)
        assert opened.ended
        assert list(opened.texts.values()) == ["".join(WORDS)]
        assert "".join(WORDS).startswith(*closed.texts.values())
        late = Reading()  # after the end there is no text live; the answer is in the result
        await late.connect(client, path)
        assert late.ended
        assert (await client.get(f"/v1/jobs/{job}/result")).json()["content"] == "".join(WORDS)
