"""What the tests of the engine share: a request, quick retries, and looking at streams."""

from collections.abc import AsyncIterator

from llm_client import Message, RequestSpec, RetryConfig, StreamEvent

SPEC = RequestSpec(messages=[Message.user("hi")])
FAST = RetryConfig(backoff=0, jitter=0)
BOUND = 5.0


async def collect(stream: AsyncIterator[StreamEvent]) -> list[StreamEvent]:
    return [event async for event in stream]


def shape(events: list[StreamEvent]) -> list[tuple[str, str]]:
    return [(event.type, event.text) for event in events]
