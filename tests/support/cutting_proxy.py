"""A TCP proxy before Postgres that cuts a connection while the server is committing.

It commits on COMMIT, and with the one statement that extends journals by itself.
"""

from __future__ import annotations

import asyncio
from typing import Literal, Self
from urllib.parse import urlsplit

from agent_runtime.storage.postgres.statements import APPEND, APPEND_AND_BILL

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The message of the simple query protocol that asks for a commit."""
IDLE = b"Z\x00\x00\x00\x05I"
"""The server's message after a transaction."""
Moment = Literal["before", "during", "after"]


class CuttingProxy:
    """Forwards connections to a Postgres server; cuts at the next commit when told to.

    Args:
        dsn: Address of the database behind it.
    """

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut: Moment | None = None
        """`before`: the server never sees it; `during`: it is still at it; `after`: it commits, and its answer gets lost."""
        self.cuts = 0
        self.was_cut = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def dsn(self) -> str:
        """The database's address through this proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream_reader, upstream = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        answers = asyncio.ensure_future(_pump(upstream_reader, writer))
        appending: set[bytes] = set()
        try:
            while data := await reader.read(65536):
                appending |= _prepared(data)
                if self.cut is not None and (data.endswith(COMMIT) or _executes(data, appending)):
                    moment, self.cut = self.cut, None
                    self.cuts += 1
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    if moment != "before":
                        upstream.write(data)
                        await upstream.drain()
                    if moment == "after":
                        await upstream_reader.readuntil(IDLE)
                    self.was_cut.set()
                    return
                upstream.write(data)
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            upstream.transport.abort()
            writer.transport.abort()


def _prepared(data: bytes) -> set[bytes]:
    """Return the name under which a message prepares a statement that extends journals."""
    extends = data.startswith(b"P") and any(text.encode() in data for text in (APPEND, APPEND_AND_BILL))
    return {data[5 : data.index(b"\x00", 5)]} if extends else set()


def _executes(data: bytes, statements: set[bytes]) -> bool:
    """Whether a message executes one of these prepared statements."""
    return data.startswith(b"B") and data[6 : data.index(b"\x00", 6)] in statements


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
