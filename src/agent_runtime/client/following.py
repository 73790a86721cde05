"""Following events: a connection that is lost is made again, from where it was."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

import httpx2
from pydantic import ValidationError

from agent_runtime.client.models import Event
from agent_runtime.client.sending import (
    FIRST_WAIT,
    LONGEST_WAIT,
    QueryValue,
    Sender,
    is_sent_again,
    unreachable,
)
from agent_runtime.errors import AgentRuntimeError, ServiceError, ServiceUnreachable
from llm_client.background import Backoff
from llm_client.errors import InvalidResponse
from llm_client.providers.transport.sse import ServerSentEvent, SSEParser

END: Final = "end"
"""The name of the frame after which nothing comes."""
GAP: Final = "gap"
"""The name of the frame that says that events are missing."""


async def follow(
    sender: Sender, route: str, *, path: Mapping[str, str], query: Mapping[str, QueryValue]
) -> AsyncGenerator[Event | None, None]:
    """Yield the events of a stream until its end, each stored one once; `None` where some are missing.

    It gives up when it has waited in vain for as long as a request may wait for its tries, or as often as it may be tried.

    Args:
        sender: Who asks.
        route: The stream's.
        path: The ids.
        query: Parameters of every connection.

    Raises:
        AgentRuntimeError: The service has refused it.
        ServiceUnreachable: It does not answer.
    """
    last: int | None = None
    backoff = Backoff(FIRST_WAIT, LONGEST_WAIT)
    left = sender.patience
    while True:
        headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": str(last)})
        try:
            async with (
                sender.stream(route, path=path, query=query, headers=headers) as response,
                aclosing(_frames(response, backoff)) as frames,
            ):
                async for frame in frames:
                    if frame.event == END:
                        return
                    place = int(frame.id) if frame.id.isdigit() else None
                    if place is not None and last is not None and place <= last:
                        continue
                    last = last if place is None else place
                    yield None if frame.event == GAP else _event(frame)
            failure: AgentRuntimeError = ServiceUnreachable("the service has left the stream before its end")
        except AgentRuntimeError as error:
            if not _may_come_back(error):
                raise
            failure = error
        if not backoff.failures:  # something has come since
            left = sender.patience
        wait = min(backoff.next(), left)
        if left <= 0 or (sender.tries is not None and backoff.failures >= sender.tries):
            raise failure
        left -= wait
        await asyncio.sleep(wait)


async def _frames(response: httpx2.Response, backoff: Backoff) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield what comes; it works as soon as more than the first bytes have come, if only a sign of life."""
    parser, chunks = SSEParser(), 0
    try:
        async for chunk in response.aiter_bytes():
            chunks += 1
            frames = parser.feed(chunk)
            if frames or chunks > 1:
                backoff.reset()
            for frame in frames:
                yield frame
    except httpx2.TransportError as error:
        raise unreachable(error) from None
    except InvalidResponse as error:
        raise ServiceError(str(error)) from None


def _event(frame: ServerSentEvent) -> Event:
    try:
        return Event.model_validate_json(frame.data)
    except ValidationError:
        raise ServiceError("the stream has brought something that is no event") from None


def _may_come_back(error: AgentRuntimeError) -> bool:
    """Whether a stream that ended so is asked for again."""
    told = error if isinstance(error, ServiceError) else error.__cause__
    if isinstance(told, ServiceUnreachable):
        return True
    return (
        isinstance(told, ServiceError) and told.status is not None and is_sent_again(told.status, again=True)
    )
