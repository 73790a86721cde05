"""Ask a service over HTTP with as little work as can be: who measures a service must not be slower than it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

SECONDS = 5.0


class Connection:
    """One connection that asks and reads.

    Args:
        url: The service.
        headers: Sent with every request.
    """

    def __init__(self, url: str, headers: str) -> None:
        self._host, self._port = url.removeprefix("http://").split(":")
        self._head = f"Host: {self._host}\r\n{headers}"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: Any = None, *, form: bool = False) -> tuple[int, Any]:
        """Send JSON, or a form, and return the status and the JSON of the answer."""
        if self._streams is None or self._streams[0].at_eof():  # an idle one was closed
            self._streams = await asyncio.open_connection(self._host, int(self._port))
        reader, writer = self._streams
        content = b"" if body is None else (urlencode(body) if form else json.dumps(body)).encode()
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        told = await reader.readexactly(int(length)) if length else await _chunks(reader)
        return int(answer[9:12]), json.loads(told)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    told = b""
    while size := int((await reader.readline()).strip(), 16):
        told += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return told


async def rate(connections: list[Connection], ask: Callable[[Connection], Awaitable[Any]]) -> float:
    """Return how often a second something is done, over some connections."""
    done, until = 0, time.perf_counter() + SECONDS

    async def go_on(connection: Connection) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await ask(connection)
            done += 1

    await asyncio.gather(*map(go_on, connections))
    return done / SECONDS
