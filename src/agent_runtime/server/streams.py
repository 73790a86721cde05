"""Server-sent events: what a reader is sent, how it goes on after its connection was lost, and that it never holds anything up.

A reader that is slow is waited for with a few frames in hand. What happens meanwhile is not kept for it: stored events it reads from the
storage when it comes to them, and of an answer that is being written it is told anew what has come of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Final

from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Message, Receive, Scope, Send

from agent_runtime.errors import AgentRuntimeError
from agent_runtime.server.access import Caller
from agent_runtime.server.frames import END_FRAME
from agent_runtime.server.parts import Service
from agent_runtime.server.problems import problem
from llm_client.background import in_background, leave
from llm_client.logs import logger_of
from llm_client.public_text import public_text

logger = logger_of(__name__)

FRAMES_IN_HAND: Final = 64
"""Frames that wait for a slow reader; whoever makes them waits then, too."""
SEND_SECONDS: Final = 120.0
"""How long what is sent at once may wait for its reader. Then the stream ends, and its place is given to others."""
RETRY_MS: Final = 1_000
"""After which a browser connects anew."""
KEY_SECONDS: Final = 10.0
"""How often it is seen whether the key, or the token, of a stream still holds."""
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx holds answers back otherwise
}
_HEARTBEAT: Final = b": \n\n"


def stream(
    service: Service,
    caller: Caller,
    frames: AsyncGenerator[bytes, None],
    on_leave: Callable[[], None] | None = None,
    *,
    end: bytes = END_FRAME,
) -> EventSourceResponse:
    """Return the answer that sends frames until there are no more, the reader leaves, or the service ends.

    Args:
        service: The service.
        caller: Who reads.
        frames: What is sent. It is closed in any case.
        on_leave: Called when the reader leaves before the end.
        end: The frame after which nothing comes any more.
    """
    return _Stream(service, caller, _sent(service, caller, frames, on_leave, end))


class _Stream(EventSourceResponse):
    """A stream, if there is room for one more reader at the moment in which it begins: many may have been let in before."""

    def __init__(self, service: Service, caller: Caller, content: AsyncIterator[bytes]) -> None:
        super().__init__(content, headers=_HEADERS)
        self._readers, self._name = service.readers, caller.name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or refuse it."""
        if not self._readers.has_room(self._name):
            retry = {"Retry-After": "5"}
            refused = problem(429, "TOO_MANY_REQUESTS", "too many streams are read already", headers=retry)
            await refused(scope, receive, send)
            return

        async def in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        try:
            with self._readers.one_more(self._name):
                await super().__call__(scope, receive, in_time)
        except* TimeoutError:
            logger.info(
                "a stream of events has ended: its reader has read nothing for %g seconds", SEND_SECONDS
            )


async def _sent(
    service: Service,
    caller: Caller,
    frames: AsyncGenerator[bytes, None],
    on_leave: Callable[[], None] | None,
    end: bytes,
) -> AsyncIterator[bytes]:
    """Yield what is in hand of frames, and a sign of life where there is nothing for a while."""
    hand: asyncio.Queue[bytes | None] = asyncio.Queue(FRAMES_IN_HAND)
    making = in_background(_make(frames, hand, end), name="making the frames of a stream")
    stopping = in_background(_stop(service, caller, hand), name="watching over a stream")
    done = False
    try:
        yield format_sse_event(retry=RETRY_MS)
        while not done:
            try:
                async with asyncio.timeout(service.config.heartbeat):
                    first = await hand.get()
            except TimeoutError:
                yield _HEARTBEAT
                continue
            ready = [first]
            while not hand.empty():
                ready.append(hand.get_nowait())
            done = None in ready
            yield b"".join(each for each in ready if each is not None)
    finally:
        if not done and on_leave is not None:
            on_leave()
        leave(making)
        leave(stopping)


async def _make(frames: AsyncGenerator[bytes, None], hand: asyncio.Queue[bytes | None], end: bytes) -> None:
    """Put frames into the hand, and the end after the last one."""
    try:
        async with aclosing(frames):
            async for each in frames:
                await hand.put(each)
        await hand.put(end)
    except AgentRuntimeError as error:  # the storage is away: the reader connects anew
        logger.warning("a stream of events was broken off: %s", public_text(str(error)))
    except Exception:
        logger.exception("a stream of events was broken off by a mistake")
    await hand.put(None)


async def _stop(service: Service, caller: Caller, hand: asyncio.Queue[bytes | None]) -> None:
    """End a stream with the service, or with the key or token that has opened it."""
    while not service.stopping.is_set():
        try:
            async with asyncio.timeout(KEY_SECONDS):
                await service.stopping.wait()
        except TimeoutError:
            if not await service.still_lets_in(caller):
                break
    await hand.put(None)
