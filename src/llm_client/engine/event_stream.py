"""Streams: a call runs in a task of its own while somebody reads what it tells, and ends with its reader.

An asynchronous generator would not do. Python closes one that is only dropped – `break`, an exception, a lost
reference – later, in a task of its own, and whoever goes on meanwhile finds the call still running. An object is told
at once that nobody holds it any more, and a host can be told of it as well.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextvars import Context
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from llm_client.background import CLEAN_UP_SECONDS, begin, leave
from llm_client.exits import contained
from llm_client.middleware import HOST

T = TypeVar("T")


class StreamHost:
    """Who is told what the reader of a stream does; the base class ends a stream at once that nobody reads."""

    context: Context | None = None
    """The context variables of the stream's task; `None` for those of its reader."""

    def reader_waits(self) -> None:
        """Learn that the reader has seen every event there is, and waits for the next one."""

    def reader_left(self, stream: OpenStream[Any], *, waiting: bool) -> None:
        """Learn that nobody reads any more, and end the task when that does no harm.

        Args:
            stream: What was read.
            waiting: Whether the reader was cancelled while it waited for an event.
        """
        del waiting
        if stream.task is not None:
            leave(stream.task, again=CLEAN_UP_SECONDS)

    def ended(self) -> None:
        """Learn that the stream's task has ended."""


NO_STREAM_HOST: Final = StreamHost()


class OpenStream(Generic[T]):
    """The running half of a stream: its task, and the events on their way. It does not know its reader.

    The number of events is bounded by what a model may write, so telling one never waits.
    """

    __slots__ = ("_closed", "_emptied", "_events", "_host", "_refusal", "_waiter", "left", "task")

    def __init__(self) -> None:
        self._events: deque[T] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._closed = False
        self._host = NO_STREAM_HOST
        self._refusal: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self.left = False
        """Whether nobody reads any more."""

    @property
    def reader_waits(self) -> bool:
        """Whether the reader has seen every event there is, and waits for the next one."""
        return self._waiter is not None and not self._waiter.done()

    @property
    def has_unread(self) -> bool:
        """Whether there are events that the reader has not seen."""
        return bool(self._events)

    @property
    def is_running(self) -> bool:
        """Whether the task has begun and not ended."""
        return self.task is not None and not self.task.done()

    def tell(self, event: T) -> None:
        """Pass an event to the reader."""
        self._events.append(event)
        self._wake()

    def start(self, produce: Callable[[OpenStream[T]], Coroutine[object, None, None]]) -> None:
        """Begin the call, where and how a host wants it."""
        self._host = HOST.get().open_stream(self) or NO_STREAM_HOST
        self.task = begin(contained(produce(self)), context=self._host.context)
        self.task.add_done_callback(self._close)

    async def next(self) -> T:
        """Return the next event. Raises `StopAsyncIteration` after the last, or what the call has raised."""
        if self._refusal is not None:
            raise self._refusal
        while not self._events:
            if self.left or self.task is None:
                raise StopAsyncIteration
            if self._closed:
                self.task.result()
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            if self._emptied is not None and not self._emptied.done():
                self._emptied.set_result(None)
            self._host.reader_waits()
            await self._waiter
        return self._events.popleft()

    async def emptied(self) -> None:
        """Return when the reader has seen every event there is and waits for the next one; for the stream's own task."""
        while not self.reader_waits:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def leave(self, *, waiting: bool = False) -> None:
        """End the call: nobody reads any more."""
        if self.left or not self.is_running:
            return
        self.left = True
        self._host.reader_left(self, waiting=waiting)

    def refuse(self, error: Exception) -> None:
        """Leave the stream, and let a reader who comes back be told why there is nothing more to read."""
        self.leave()
        self._refusal = error

    def _close(self, task: asyncio.Task[None]) -> None:
        self._closed = True
        self._host.ended()
        self._wake()
        if not task.cancelled():
            task.exception()  # a failure that nobody wants to hear of is not reported as forgotten

    def _wake(self) -> None:
        if self.reader_waits and self._waiter is not None:
            self._waiter.set_result(None)


class EventStream(AsyncIterator[T]):
    """The events of a call, as they come.

    The call begins with the first event that is asked for. It ends at once when the stream is left: closed, used up as
    a context manager, or held by nobody any more after a `break`.

    Args:
        produce: Makes the call and tells its events to the stream it is given.
        watch: Is awaited with each event, and with what the call raises, before the reader sees it.
    """

    def __init__(
        self,
        produce: Callable[[OpenStream[T]], Coroutine[object, None, None]],
        watch: Callable[[T | Exception], Awaitable[None]] | None = None,
    ) -> None:
        self._produce = produce
        self._watch = watch
        self._running: OpenStream[T] = OpenStream()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done = False

    def __aiter__(self) -> EventStream[T]:
        return self

    async def __anext__(self) -> T:
        if self._done:
            raise StopAsyncIteration
        try:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
                self._running.start(self._produce)
            event = await self._next()
        except BaseException as error:
            self._done = True
            self._running.leave(waiting=isinstance(error, asyncio.CancelledError))
            await self._ended()
            raise
        return event

    async def _next(self) -> T:
        if self._watch is None:
            return await self._running.next()
        try:
            event = await self._running.next()
        except StopAsyncIteration:
            raise
        except Exception as error:
            await self._watch(error)
            raise
        await self._watch(event)
        return event

    async def aclose(self) -> None:
        """End the call, and return when it has released everything; may be called twice."""
        self._done = True
        self._running.leave()
        await self._ended()

    async def _ended(self) -> None:
        """Wait for the end of the task. A host may let it finish what cannot be cut off."""
        if self._running.task is not None:
            await asyncio.wait((self._running.task,))

    async def __aenter__(self) -> EventStream[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        loop, running = self._loop, self._running
        if loop is None or loop.is_closed() or not running.is_running:
            return
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is loop:
            running.leave()
        else:  # the last reference was dropped in another thread
            loop.call_soon_threadsafe(running.leave)
