"""Connections that are given up: by who asks for something without an end, and by who does not read what is sent."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from agent_runtime.server.bodies import BODY_SECONDS

REQUEST_SECONDS: Final = BODY_SECONDS + 15
"""How long a request may take to come: where only its body does not, the answer that says so comes first."""
UNREAD_SECONDS: Final = 60.0
"""How long nothing of what waits for a reader may be taken."""
LAST_SECONDS: Final = 2.0
"""The same, once the process is about to end."""
LOOKS: Final = 6
"""How often it is looked in that time."""


class Connection(H11Protocol):
    """One connection: uvicorn's, which waits for its other side for as long as that stays there.

    Args:
        stopping: Set when the process is about to end.
        of_uvicorn: What uvicorn gives to each connection.
    """

    def __init__(self, *, stopping: asyncio.Event, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._stopping = stopping
        self._watch: asyncio.TimerHandle | None = None
        self._asks_since = 0.0
        self._unread_since: float | None = None
        """Since when nothing was taken of what waits."""
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to watch."""
        super().connection_made(transport)
        self._asks_since = self.loop.time()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the connection to what speaks WebSocket, which watches for itself."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        """Note that as much waits for the reader as may."""
        super().pause_writing()
        self._unread_since, self._unread = self.loop.time(), self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """Note that the reader has taken nearly all."""
        self._unread_since = None
        super().resume_writing()

    def shutdown(self) -> None:
        """Be told that the process is about to end."""
        super().shutdown()
        self._asks_since = self.loop.time()
        if self._unread_since is not None:
            self._unread_since = self.loop.time()
        if self._watch is not None:
            self._watch.cancel()
            self._look()

    def _look(self) -> None:
        is_last = self._stopping.is_set()
        for_request, for_reading = (
            (LAST_SECONDS, LAST_SECONDS) if is_last else (REQUEST_SECONDS, UNREAD_SECONDS)
        )
        now = self.loop.time()
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._asks_since = now
        if self._unread_since is not None:
            waits = self.transport.get_write_buffer_size()
            if waits < self._unread:
                self._unread_since, self._unread = now, waits
        elif is_last and self.transport.is_closing():  # and has less to hand over than would make it pause
            self._unread_since, self._unread = now, self.transport.get_write_buffer_size()
        is_left = self._unread_since is not None and now - self._unread_since >= for_reading
        if is_left or now - self._asks_since >= for_request:
            self.transport.abort()  # to close it would wait until all is read
            return
        self._watch = self.loop.call_later(min(for_request, for_reading) / LOOKS, self._look)
