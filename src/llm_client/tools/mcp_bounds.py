"""What an MCP server may say: it asks for a ping now and then, and answers in a few parts. One that asks on and on is given up.

The SDK takes up each request of a server in a task of its own, which waits until the answer is written. A server that asks without end, and
perhaps never listens, fills the memory with them, also while nobody calls any of its tools. And of each part of an answer the SDK makes an
object on the event loop, which some hundred thousand parts hold up for seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http.cookiejar import CookieJar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from llm_client.logs import logger_of

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import Request

MAX_OPEN: Final = 100
"""Requests of the server's that may wait for their answer."""
MAX_PER_SECOND: Final = 10.0
"""Requests of the server's in the long run; as many as may be open can come at once."""
INTERNAL_ERROR: Final = -32603
"""JSON-RPC's code of a request that failed for no reason of its own."""
MAX_LISTS: Final = 50_000
"""Lists and objects of one message: the SDK reads it on the event loop, and compares what is no message with each kind of them."""
MAX_PARTS: Final = 1_000
"""Parts of one answer: blocks of content, or tools."""
MAX_VALUES: Final = 10_000
"""Values in the parts of one answer, or in what the server asks. The SDK compares each with several types, and tells of each mistake."""
_FREE: Final = frozenset({"structuredContent", "inputSchema", "outputSchema"})
"""What the SDK takes as it is; it is looked at elsewhere."""

MAX_COOKIES: Final = 50
"""Cookies that a server has kept, as a browser does for one domain."""
MAX_COOKIE_BYTES: Final = 8 * 1024
"""Of what one answer says of them."""

logger = logger_of(__name__)


class FewCookies(CookieJar):
    """Cookies, by which balancers find a session's server again. Those of a server that sets more than anybody wants back are not kept."""

    def extract_cookies(self, response: HTTPResponse, request: Request) -> None:
        """Keep what an answer sets."""
        said = response.info().get_all("set-cookie", [])
        if len(said) > MAX_COOKIES or sum(map(len, said)) > MAX_COOKIE_BYTES:
            return
        super().extract_cookies(response, request)
        if len(self) > MAX_COOKIES:
            self.clear()


class BoundedServer:
    """A transport for the SDK's client that ends when the server asks for too much, and lets no answer of too many parts pass.

    Args:
        transport: The transport under it.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        transport: AbstractAsyncContextManager[tuple[Any, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._open = 0
        self._allowed = float(MAX_OPEN)
        self._at = clock()
        self.fault: str | None = None
        """Why the server was given up, if it was."""
        self.has_forgotten = False
        """Whether the server has answered that it does not know the session any more."""

    async def __aenter__(self) -> tuple[_Heard, _Told]:
        heard, told = await self._transport.__aenter__()
        return _Heard(heard, self), _Told(told, self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._transport.__aexit__(kind, error, traceback)

    def allows(self) -> bool:
        """Whether the server may ask once more; what it asks is open until `answered`."""
        now = self._clock()
        self._allowed = min(self._allowed + (now - self._at) * MAX_PER_SECOND, MAX_OPEN)
        self._at = now
        if self._open >= MAX_OPEN or self._allowed < 1:
            if self.fault is None:
                self.fault = "it asked for more than a server of tools has to ask"
                logger.warning("an MCP server is given up: %s", self.fault)
            return False
        self._open += 1
        self._allowed -= 1
        return True

    def answered(self) -> None:
        """Take down that one of its requests is answered."""
        self._open -= 1


class _Passed:
    """A stream of the SDK's, passed on."""

    def __init__(self, stream: Any, requests: BoundedServer) -> None:
        self._stream = stream
        self._requests = requests

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> Any:
        return await self._stream.__aexit__(*details)


class _Heard(_Passed):
    """What the server says; it ends when the server asks for too much."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._stream)
        if _is_request(item) and not self._requests.allows():
            raise StopAsyncIteration
        _shorten(item)
        return item

    async def receive(self) -> Any:
        """Return the next message. Raises `EndOfStream` when there is none any more."""
        import anyio

        try:
            return await anext(self)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None


class _Told(_Passed):
    """What the server is told; answers to it among that."""

    async def send(self, item: Any) -> None:
        """Pass a message on."""
        await self._stream.send(item)
        if not hasattr(item.message, "method"):
            self._requests.answered()


def _shorten(item: Any) -> None:
    """Put a refusal in the place of content of too many parts, and leave out what is beyond what anybody takes."""
    message = getattr(item, "message", None)
    result, params = getattr(message, "result", None), getattr(message, "params", None)
    if isinstance(params, dict) and _are_many(params):
        params.clear()
    if not isinstance(result, dict):
        return
    content, tools = result.get("content"), result.get("tools")
    if isinstance(content, list) and (len(content) > MAX_PARTS or _are_many(content)):
        said = f"the answer has more than {MAX_PARTS} parts, or {MAX_VALUES} values in them"
        result["content"] = [{"type": "text", "text": said}]
        result["isError"] = True
    if isinstance(tools, list):
        del tools[MAX_PARTS:]
        if _are_many(tools):
            result["tools"] = [*map(_plain, tools)]
    for name in [name for name in result if name not in ("content", "tools", *_FREE)]:
        if _are_many(result[name]):
            del result[name]


def _are_many(said: Any) -> bool:
    """Whether there are more values in something than the SDK should look at one by one."""
    below, values = [said], 0
    while below and values <= MAX_VALUES:
        item = below.pop()
        if isinstance(item, dict):
            values += len(item)
            below += [inner for name, inner in item.items() if name not in _FREE]
        elif isinstance(item, list):
            values += len(item)
            below += item
    return values > MAX_VALUES


def _plain(tool: Any) -> Any:
    """Return of a tool what nobody can make long: its words, and its schemas, which are read elsewhere."""
    if not isinstance(tool, dict):
        return None
    return {name: said for name, said in tool.items() if name in _FREE or not isinstance(said, dict | list)}


def _is_request(item: Any) -> bool:
    message = getattr(item, "message", None)  # an exception stands for what is no message
    return hasattr(message, "method") and hasattr(message, "id")
