"""Following a vendor's event stream: to its end marker, or to the failure that has cut it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from time import monotonic
from typing import Self

import orjson

from llm_client.errors import (
    ConnectionFailed,
    InvalidResponse,
    ProviderError,
    ProviderTimeout,
    StreamInterrupted,
)
from llm_client.json_text import loads
from llm_client.messages import CompletionResult, StreamEvent
from llm_client.providers.failures import Origin
from llm_client.providers.response import check_text, well_formed
from llm_client.providers.transport.port import IN_ONE_GO, AnswerLimits, HttpResponse
from llm_client.providers.transport.sse import ServerSentEvent, SSEParser
from llm_client.providers.wire import UNREADABLE, StreamReader, readable, unreadable
from llm_client.turns import LARGE, aside

_TOO_LONG = "the answer did not end within its time"
_READ_HERE = 64 * 1024
"""Bytes of an event up to which it is read on the event loop; longer ones, of a picture or of thoughts, in a thread."""
_DRAIN_SECONDS = 0.1
"""How long a stream that has said its last word may take to end, so that its connection can be used again."""


async def read_stream(
    response: HttpResponse, reader: StreamReader, origin: Origin, limits: AnswerLimits | None = None
) -> AsyncGenerator[StreamEvent]:
    """Yield a stream's events until its end marker. Raises `StreamInterrupted` if there is none."""
    parser, limits, since = SSEParser(), limits or AnswerLimits(), monotonic()
    most = limits.max_tool_calls
    async with _interrupting(reader, parser, origin):
        with _WholeTime(limits.max_seconds) as time:
            async with aclosing(response.chunks()) as chunks:
                while (chunk := await time.next(chunks)) is not None:
                    reader.size += len(chunk)
                    if reader.size > limits.max_stream_bytes:
                        raise InvalidResponse(f"the stream is larger than {limits.max_stream_bytes} bytes")
                    for event in (None, *parser.feed(chunk)):
                        if monotonic() - since > IN_ONE_GO:
                            await asyncio.sleep(0)
                            since = monotonic()
                        if event is not None:
                            is_short = (
                                len(event.data) <= _READ_HERE
                            )  # as nearly all are: each costs a reader something
                            reading = (event, reader, origin, most)
                            for stream_event in (
                                _read_event(*reading) if is_short else await _read_aside(*reading)
                            ):
                                yield stream_event
                    if reader.complete:
                        await _drain(chunks)
                        return
            for stream_event in await _last(parser, reader, origin, most):
                yield stream_event
    if not reader.may_end():
        raise await _interrupted(reader, origin, "the stream ended without its end marker")
    for stream_event in reader.end():
        yield stream_event


class _WholeTime:
    """Ends the wait for a stream's next piece when the time of the whole stream is over: a server can say for ever that it is still there.

    One timer for the stream: one for each piece takes longer than reading it. Between pieces, where other code runs, nothing is ended.

    Args:
        seconds: That the stream may take.
    """

    __slots__ = ("_ended", "_is_over", "_seconds", "_timer", "_waiting")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[object] | None = None
        self._is_over = self._ended = False

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self._is_over = True
        if self._waiting is not None:
            self._ended = True
            self._waiting.cancel()

    async def next(self, chunks: AsyncGenerator[bytes]) -> bytes | None:
        """Return the next piece; `None` at the end. Raises `ProviderTimeout` when the time is over."""
        if self._is_over:
            raise ProviderTimeout(_TOO_LONG)
        task = self._waiting = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        try:
            return await anext(chunks)
        except StopAsyncIteration:
            return None
        except BaseException as error:
            is_ours = self._ended and task is not None and task.uncancel() <= before
            if is_ours and isinstance(error, asyncio.CancelledError):
                raise ProviderTimeout(_TOO_LONG) from None
            raise
        finally:
            self._waiting = None


@asynccontextmanager
async def _interrupting(reader: StreamReader, parser: SSEParser, origin: Origin) -> AsyncIterator[None]:
    """Turn a cut connection into `StreamInterrupted`, and say with every failure what had been billed.

    A connection cut behind the last thing that an answer needs has cut nothing off.
    """
    try:
        yield
    except ConnectionFailed as error:
        if reader.may_end() and reader.draft.usage is not None:
            return
        raise await _interrupted(reader, origin, str(error)) from error
    except ProviderTimeout as error:
        if not parser.delivered:
            raise
        raise await _interrupted(reader, origin, str(error)) from error
    except ProviderError as error:
        if error.usage is None:
            error.usage, error.usage_is_final = reader.draft.usage, reader.usage_is_final
        raise


async def _read_aside(
    event: ServerSentEvent, reader: StreamReader, origin: Origin, most: int
) -> Sequence[StreamEvent]:
    """Read a long event in a thread, so that others go on meanwhile."""
    return await aside(_read_event, event, reader, origin, most)


async def _last(parser: SSEParser, reader: StreamReader, origin: Origin, most: int) -> Sequence[StreamEvent]:
    """Read what the end of a stream completes."""
    found: list[StreamEvent] = []
    for event in parser.close():
        if await aside(_is_whole, event):
            found += await _read_aside(event, reader, origin, most)
    return found


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


async def _interrupted(reader: StreamReader, origin: Origin, reason: str) -> StreamInterrupted:
    partial = None

    def arrived() -> CompletionResult:
        return well_formed(reader.result(partial=True), origin.model)

    with (
        suppress(InvalidResponse),
        readable(origin, reader.draft.request_id),
    ):  # what has come of it may be as damaged as its connection
        partial = await aside(arrived) if reader.size > LARGE else arrived()
    error = StreamInterrupted(
        f"{origin.provider}: {reason}",
        provider=origin.provider,
        model=origin.model,
        request_id=reader.draft.request_id,
        usage=reader.draft.usage,
    )
    error.partial, error.usage_is_final = partial, reader.usage_is_final
    return error
