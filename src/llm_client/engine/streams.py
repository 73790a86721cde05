"""What streams of all kinds need: closing an iterator, the events of a whole answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from llm_client.json_text import dumps
from llm_client.messages import CompletionResult, StreamEvent


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
        text = call.malformed if call.malformed is not None else dumps(call.arguments, default=str).decode()
        yield StreamEvent(type="tool_call_delta", text=text, tool_call=call)
        yield StreamEvent(type="tool_call_end", tool_call=call)
    yield StreamEvent(type="usage", usage=result.usage)
