"""What an MCP server may answer over HTTP: hooks of the HTTP client, under the SDK.

An answer that is too long fails the call that it answers. The connection is many calls', of several jobs perhaps: it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import orjson

from llm_client.errors import ToolError
from llm_client.json_text import MAX_PARTS, ListCount, parts_of
from llm_client.tools.mcp_bounds import INTERNAL_ERROR, MAX_LISTS, BoundedServer

NOT_FOUND: Final = 404
SESSION_HEADER: Final = "mcp-session-id"
MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
"""Of one answer over HTTP, and of one event of a stream."""
_EVENT_ENDS: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")


def minding(requests: Callable[[], BoundedServer]) -> Callable[[Any], Awaitable[None]]:
    """Return a hook that takes down that a server has forgotten its session, which it says with a 404.

    Args:
        requests: Gives what it is written to.
    """

    async def mind(response: Any) -> None:
        if response.status_code == NOT_FOUND and SESSION_HEADER in response.request.headers:
            requests().has_forgotten = True

    return mind


class _Size:
    """How much a message that comes in pieces has by now."""

    def __init__(self) -> None:
        self._bytes = self._parts = 0
        self._lists = ListCount()
        self.excess: str | None = None
        """What it has too many of."""

    def take(self, piece: bytes) -> str | None:
        """Count one more piece; return what there is too much of."""
        self._bytes += len(piece)
        self._parts += parts_of(piece)
        if self._bytes > MAX_RESPONSE_BYTES:
            self.excess = f"{MAX_RESPONSE_BYTES} bytes"
        elif self._parts > MAX_PARTS:
            self.excess = f"{MAX_PARTS} parts"
        elif self._lists.take(piece) > MAX_LISTS:
            self.excess = f"{MAX_LISTS} lists and objects"
        return self.excess


class _Bound:
    """Passes an answer on, message by message, unless one has too much.

    Args:
        refused: Makes what stands in the place of an event with too much; without it the answer is no event stream.
        failure: What is raised then.
    """

    def __init__(self, refused: Callable[[str], bytes] | None, failure: type[Exception]) -> None:
        self._refused = refused
        self._failure = failure
        self._begin()

    def _begin(self) -> None:
        """Begin a message."""
        self._size = _Size()
        self._held: list[bytes] = []

    async def passed(self, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Yield the pieces of each message that may pass."""
        before = b""
        async for piece in pieces:
            for part, is_whole in ((piece, False),) if self._refused is None else _parted(piece, before):
                self._take(part)
                if (
                    is_whole or self._size.excess is not None
                ):  # what stands in its place need not wait for its end
                    async for each in self._passing():
                        yield each
                if is_whole:
                    self._begin()
            before = (before + piece)[-3:]
        async for each in self._passing():
            yield each

    async def _passing(self) -> AsyncIterator[bytes]:
        """Yield what is held; others have their turn between two pieces, each of which the SDK looks at line by line."""
        held, self._held = self._held, []
        for each in held:
            yield each
            await asyncio.sleep(0)

    def _take(self, part: bytes) -> None:
        """Hold a part of a message until all of it is known, or what stands in its place."""
        if self._size.excess is not None:
            return
        excess = self._size.take(part)
        if excess is None:
            self._held.append(part)
        elif self._refused is None:
            raise self._failure(_said(excess))
        else:
            self._held = [self._refused(excess)]


def bounding(kind: type[Any], failure: type[Exception]) -> Callable[[Any], Awaitable[None]]:
    """Return a hook that cuts an answer off which is longer, or has more parts, than anything tools need.

    An event stream has no end: what is too much is counted from one event to the next, and an error stands in the place of an event that has it.

    Args:
        kind: The byte stream of httpx2.
        failure: What the SDK takes for the failure of one answer.
    """

    class Bounded(kind):  # type: ignore[misc]  # the package is imported only where it is used
        def __init__(self, stream: Any, bound: _Bound) -> None:
            self._stream = stream
            self._bound = bound

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in self._bound.passed(self._stream):
                yield piece

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def bound(response: Any) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ToolError("the MCP server compresses its answer, which was not asked for")
        is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        refused = _refusing(response.request) if is_stream else None
        response.stream = Bounded(response.stream, _Bound(refused, failure))

    return bound


def _said(excess: str) -> str:
    return f"the MCP server's answer has more than {excess}"


def _parted(piece: bytes, before: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield a piece of an event stream, in two where an event ends in it, and whether that is the end of one."""
    within = before + piece
    ends = [at + len(end) - len(before) for end in _EVENT_ENDS if (at := within.rfind(end)) >= 0]
    cut = max((end for end in ends if end > 0), default=0)
    if cut:
        yield piece[:cut], True
    if cut < len(piece):
        yield piece[cut:], False


def _refusing(request: Any) -> Callable[[str], bytes]:
    """Return what makes the event that stands in the place of one with too much: the failure of the request that is answered."""

    def refused(excess: str) -> bytes:
        try:
            asked = orjson.loads(request.content)["id"]
        except Exception:  # noqa: BLE001 -- nothing was asked, or is not held any more: the event is left out
            return b": left out\n\n"
        error = {"code": INTERNAL_ERROR, "message": _said(excess)}
        message = orjson.dumps({"jsonrpc": "2.0", "id": asked, "error": error})
        return b"event: message\ndata: " + message + b"\n\n"

    return refused
