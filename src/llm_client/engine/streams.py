"""From a call that emits events to an asynchronous iterator over them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from llm_client.messages import CompletionResult, StreamEvent


class EventQueue:
    """Events on their way from a running task to whoever iterates; ends when the task does.

    Its length is bounded by what a model may write, so emitting never waits.
    """

    __slots__ = ("_closed", "_events", "_waiter", "emitted")

    def __init__(self) -> None:
        self._events: deque[StreamEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.emitted = False
        """Whether content has come through: anything but `usage` and `meta`."""

    def emit(self, event: StreamEvent) -> None:
        """Add an event."""
        if event.type not in {"usage", "meta"}:
            self.emitted = True
        self._events.append(event)
        self._wake()

    def close(self, _task: object = None) -> None:
        """End the iteration after the events that are there."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> EventQueue:
        return self

    async def __anext__(self) -> StreamEvent:
        while not self._events:
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._events.popleft()


async def abandon(task: asyncio.Task[Any]) -> None:
    """End a task nobody waits for any more, and wait until it has released everything."""
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))
    if task.done() and not task.cancelled():
        task.exception()  # a failure that nobody wants to hear of is not reported as forgotten


@asynccontextmanager
async def closing(stream: AsyncIterator[StreamEvent]) -> AsyncIterator[AsyncIterator[StreamEvent]]:
    """Close a provider's stream at the end, if it is one that can be closed."""
    try:
        yield stream
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


def events_of(result: CompletionResult) -> Iterator[StreamEvent]:
    """Return the events of an answer that was not streamed, without `done`."""
    for part in result.reasoning:
        if part.text:
            yield StreamEvent(type="reasoning", text=part.text)
    if result.content:
        yield StreamEvent(type="token", text=result.content)
    for call in result.tool_calls:
        yield StreamEvent(type="tool_call_start", tool_call=call)
        text = (
            call.malformed
            if call.malformed is not None
            else orjson.dumps(call.arguments, default=str).decode()
        )
        yield StreamEvent(type="tool_call_delta", text=text, tool_call=call)
        yield StreamEvent(type="tool_call_end", tool_call=call)
    yield StreamEvent(type="usage", usage=result.usage)
