"""Sockets of WebSocket clients: uvicorn's, which are closed by whoever serves them, and given up when their other side takes nothing."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

CLOSE_SECONDS: Final = 5.0
"""How long the other side may take to agree that a socket is closed."""
MAX_PIECES: Final = 1_024
"""Pieces that one message may come in: each takes room, though it may be empty."""


class WebSocketConnection(WebSocketsSansIOProtocol):
    """One socket."""

    _giving_up: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more for anything."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Be told that the process is about to end: what serves an open socket is told, too, and closes it when its calls are answered."""
        if not self.handshake_complete:
            super().shutdown()

    def handle_ping(self) -> None:
        """Answer a ping; not those of somebody who reads nothing, for whom the answers would pile up."""
        output = self.conn.data_to_send()
        if self.writable.is_set():
            self.transport.write(b"".join(output))

    def handle_cont(self, event: Frame) -> None:
        """Take a further piece of a message."""
        if len(self.frames) >= MAX_PIECES:
            self.conn.fail(1009, "a message comes in fewer pieces")
            self.handle_parser_exception()
            self._give_up()
            return
        super().handle_cont(event)

    def keepalive_timeout(self) -> None:
        """Close a socket whose other side does not answer any more."""
        super().keepalive_timeout()
        self._give_up()

    async def send(self, message: Any) -> None:
        """Send what the application says. That a socket is closed waits for nothing that was not read before."""
        if message["type"] != "websocket.close" or not self.handshake_complete:
            await super().send(message)
            return
        self.writable.set()
        await super().send(message)
        self._give_up()

    def _give_up(self) -> None:
        """Let go of the connection after a while, whether it was closed or not: to close it would wait until all is read."""
        if self._giving_up is None:
            self._giving_up = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
