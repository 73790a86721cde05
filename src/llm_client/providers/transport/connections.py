"""Idle connections to one origin, newest first.

httpcore2's own pool looks at every connection, idle ones with a system call each, whenever a request begins or ends;
at a hundred requests in flight that costs more than everything else together. Here a request looks at the one
connection it takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llm_client.errors import ProviderTimeout

if TYPE_CHECKING:
    from httpcore2 import AsyncConnectionInterface, Request, Response

Connect = Callable[[], "AsyncConnectionInterface"]


class Connections:
    """The connections to one origin, used by one event loop.

    Args:
        connect: Makes a connection that opens itself at its first request.
        max_connections: How many may exist.
        max_idle: How many are kept without a request.
    """

    def __init__(self, connect: Connect, *, max_connections: int, max_idle: int) -> None:
        self._connect = connect
        self._max_idle = max_idle
        self._slots = asyncio.Semaphore(max_connections)
        self._idle: deque[AsyncConnectionInterface] = deque()
        self._closed = False

    async def send(self, request: Request, *, wait: float | None) -> PooledResponse:
        """Send a request on a free connection, waiting at most `wait` seconds for one."""
        from httpcore2 import ConnectionNotAvailable

        await self._take_slot(wait)
        try:
            while True:
                connection = await self._take()
                try:
                    response = await connection.handle_async_request(request)
                except ConnectionNotAvailable:  # closed between our look at it and its use
                    await connection.aclose()
                    continue
                return PooledResponse(response, connection, self)
        except BaseException:
            # The connection has closed itself: httpcore2 does so, shielded from cancellation, before it raises.
            self._slots.release()
            raise

    async def give_back(self, connection: AsyncConnectionInterface) -> None:
        """Keep a connection whose response is closed, or let it go."""
        self._slots.release()
        if connection.is_idle() and not self._closed:
            self._idle.append(connection)
            while len(self._idle) > self._max_idle or self._idle[0].has_expired():
                await self._idle.popleft().aclose()
                if not self._idle:
                    return
        elif not connection.is_closed():
            await connection.aclose()

    async def aclose(self) -> None:
        """Close the idle connections; those in use close when their response does."""
        self._closed = True
        while self._idle:
            await self._idle.popleft().aclose()

    async def _take_slot(self, wait: float | None) -> None:
        if not self._slots.locked():
            await self._slots.acquire()  # does not wait, so it needs no timer
            return
        try:
            async with asyncio.timeout(wait):
                await self._slots.acquire()
        except TimeoutError:
            raise not_reached("no free connection within the pool time-out") from None

    async def _take(self) -> AsyncConnectionInterface:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_available() and not connection.has_expired():
                return connection
            await connection.aclose()
        return self._connect()


class PooledResponse:
    """A response that gives its connection back when it is closed."""

    __slots__ = ("_closed", "_connection", "_connections", "response")

    def __init__(
        self, response: Response, connection: AsyncConnectionInterface, connections: Connections
    ) -> None:
        self.response = response
        self._connection = connection
        self._connections = connections
        self._closed = False

    async def aclose(self) -> None:
        """Close the response; a body that was not read to its end closes the connection too."""
        if self._closed:
            return
        self._closed = True
        stream: Any = self.response.stream
        try:
            await stream.aclose()
        finally:
            await self._connections.give_back(self._connection)


def not_reached(why: str) -> ProviderTimeout:
    """Return a time-out before which the request has not left."""
    error = ProviderTimeout(why)
    error.has_left = False
    return error
