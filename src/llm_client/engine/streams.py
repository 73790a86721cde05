"""What streams of all kinds need: ending a task, closing an iterator, the events of a whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from llm_client.messages import CompletionResult, StreamEvent


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
