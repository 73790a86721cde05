"""A scripted HTTP server on the loopback interface: says exactly what a test tells it, and remembers what it heard."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Action = Literal["reset", "close", "hang"]
"""`reset` tears the connection down with RST, `close` ends it early but orderly, `hang` says nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: pieces of the body, each its own HTTP chunk, and what happens after or between them."""

    pieces: Sequence[bytes | Action | asyncio.Event] = ()
    """An event is waited for."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    head: bool = True
    """Whether a status line and headers are sent before the pieces."""


Answer = Callable[[Received], Reply]
"""Chooses a reply by the request."""


def json_reply(payload: Any, status: int = 200, **headers: str) -> Reply:
    """Answer with JSON; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(
        pieces=(json.dumps(payload).encode(),),
        status=status,
        headers={"content-type": "application/json", **named},
    )


def sse_reply(*pieces: bytes | str | Action, **headers: str) -> Reply:
    """Answer with an event stream; `str` pieces that are no action are encoded."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    encoded = [
        piece if isinstance(piece, bytes) or piece in ("reset", "close", "hang") else piece.encode()
        for piece in pieces
    ]
    return Reply(pieces=encoded, headers={"content-type": "text/event-stream; charset=utf-8", **named})


class LoopbackServer:
    """Answers requests with the queued replies in turn; the last one answers all further requests."""

    def __init__(self, *replies: Reply | Answer, tls: ssl.SSLContext | None = None) -> None:
        self.replies = list(replies)
        self.requests: list[Received] = []
        self.connections = 0
        self.disconnected = asyncio.Event()
        """Set when a client has gone while it was being answered or kept waiting."""
        self._arrived = asyncio.Event()
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self._tls else f"http://127.0.0.1:{self.port}"

    async def wait_for_requests(self, count: int) -> None:
        """Wait, at most five seconds, until this many requests have arrived."""
        async with asyncio.timeout(5):
            while len(self.requests) < count:
                self._arrived.clear()
                await self._arrived.wait()

    async def drop_connections(self) -> None:
        """Close every connection, as a server does with idle ones."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(5):  # a client on the same loop sees the closing in its own turns
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            while (received := await _read_request(reader)) is not None:
                self.requests.append(received)
                self._arrived.set()
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if callable(reply):
                    reply = reply(received)
                if not await self._answer(reply, reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.disconnected.set()
        except asyncio.CancelledError:
            return  # the server is being closed; asyncio.streams would report the cancellation as an error
        finally:
            writer.close()

    async def _answer(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send a reply. Returns whether the connection may be used again."""
        if reply.head:
            lines = [f"HTTP/1.1 {reply.status} Status", "transfer-encoding: chunked"]
            lines += [f"{name}: {value}" for name, value in reply.headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        for piece in reply.pieces:
            if isinstance(piece, asyncio.Event):
                await piece.wait()
                continue
            await writer.drain()
            if piece == "reset":
                _reset(writer)
                return False
            if piece == "close":
                return False
            if piece == "hang":
                await reader.read()  # until the client gives up
                self.disconnected.set()
                return False
            assert isinstance(piece, bytes)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.head else piece)
        if reply.head:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return reply.head


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method=method, target=target, headers=headers, body=body)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
