"""Following a vendor's event stream: to its end marker, or to the failure that has cut it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from time import monotonic

import orjson

from llm_client.errors import (
    ConnectionFailed,
    InvalidResponse,
    ProviderError,
    ProviderTimeout,
    StreamInterrupted,
)
from llm_client.json_text import loads
from llm_client.messages import StreamEvent
from llm_client.providers.failures import Origin
from llm_client.providers.response import check_text, well_formed
from llm_client.providers.transport.port import AnswerLimits, HttpResponse, whole_time
from llm_client.providers.transport.sse import ServerSentEvent, SSEParser
from llm_client.providers.wire import UNREADABLE, StreamReader, readable, unreadable

_IN_ONE_GO = 0.02
"""Seconds for which events are read before others have their turn: one piece may hold thousands, and one of them may be large."""
_DRAIN_SECONDS = 0.1
"""How long a stream that has said its last word may take to end, so that its connection can be used again."""


async def read_stream(
    response: HttpResponse, reader: StreamReader, origin: Origin, limits: AnswerLimits | None = None
) -> AsyncGenerator[StreamEvent]:
    """Yield a stream's events until its end marker. Raises `StreamInterrupted` if there is none."""
    parser, limits, since = SSEParser(), limits or AnswerLimits(), monotonic()
    most = limits.max_tool_calls
    with _interrupting(reader, parser, origin):
        async with aclosing(response.chunks()) as chunks:
            async for chunk in _bounded(chunks, limits):
                reader.size += len(chunk)
                for event in parser.feed(chunk):
                    if monotonic() - since > _IN_ONE_GO:
                        await asyncio.sleep(0)
                        since = monotonic()
                    for stream_event in _read_event(event, reader, origin, most):
                        yield stream_event
                if reader.complete:
                    await _drain(chunks)
                    return
        for event in filter(_is_whole, parser.close()):
            for stream_event in _read_event(event, reader, origin, most):
                yield stream_event
    if not reader.may_end():
        raise _interrupted(reader, origin, "the stream ended without its end marker")


async def _bounded(chunks: AsyncGenerator[bytes], limits: AnswerLimits) -> AsyncGenerator[bytes]:
    """Yield a body's pieces within its limits, whatever they hold: a server can say for ever that it is still there."""
    seconds, size = limits.max_seconds, 0
    end = None if seconds is None else asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with whole_time(None, until=end):  # none around a yield, where other code runs
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        size += len(chunk)
        if size > limits.max_stream_bytes:
            raise InvalidResponse(f"the stream is larger than {limits.max_stream_bytes} bytes")
        yield chunk


@contextmanager
def _interrupting(reader: StreamReader, parser: SSEParser, origin: Origin) -> Iterator[None]:
    """Turn a cut connection into `StreamInterrupted`, and say with every failure what had been billed.

    A connection cut behind the last thing that an answer needs has cut nothing off.
    """
    try:
        yield
    except ConnectionFailed as error:
        if reader.may_end() and reader.draft.usage is not None:
            return
        raise _interrupted(reader, origin, str(error)) from error
    except ProviderTimeout as error:
        if not parser.delivered:
            raise
        raise _interrupted(reader, origin, str(error)) from error
    except ProviderError as error:
        if error.usage is None:
            error.usage, error.usage_is_final = reader.draft.usage, reader.usage_is_final
        raise


def _read_event(
    event: ServerSentEvent, reader: StreamReader, origin: Origin, most: int
) -> Sequence[StreamEvent]:
    if event.data == b"[DONE]":
        return reader.read_done_mark()
    reader.draft.pieces = 0
    try:
        events = reader.read(loads(event.data, whole=False))
        if reader.draft.begun_calls > most:  # those that lack a name are told by no event
            raise InvalidResponse(f"the answer holds more than {most} tool calls")
        for each in events:
            if each.text is not None:
                check_text(each.text)
            reader.usage_is_final = each.type == "usage"
    except UNREADABLE as error:
        raise unreadable(origin, error, reader.draft.request_id) from error
    return events


async def _drain(chunks: AsyncGenerator[bytes]) -> None:
    with suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in chunks:
                pass


def _is_whole(event: ServerSentEvent) -> bool:
    """Whether the last event, which lacks its line end, is complete all the same."""
    if event.data == b"[DONE]":
        return True
    try:
        loads(event.data)
    except orjson.JSONDecodeError:
        return False
    return True


def _interrupted(reader: StreamReader, origin: Origin, reason: str) -> StreamInterrupted:
    partial = None
    with (
        suppress(InvalidResponse),
        readable(origin, reader.draft.request_id),
    ):  # what has come of it may be as damaged as its connection
        partial = well_formed(reader.result(partial=True), origin.model)
    error = StreamInterrupted(
        f"{origin.provider}: {reason}",
        provider=origin.provider,
        model=origin.model,
        request_id=reader.draft.request_id,
        usage=reader.draft.usage,
    )
    error.partial, error.usage_is_final = partial, reader.usage_is_final
    return error
