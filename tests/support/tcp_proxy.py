"""TCP proxies: one that forwards connections until it cuts one at a chosen message, and one that freezes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit


class TcpProxy:
    """Forwards connections to a server. A subclass says at which message to cut, and what the server still gets of it.

    Args:
        url: The server's address.
    """

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.StreamWriter] = set()

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
    def url(self) -> str:
        """The server's address through this proxy."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()

    def watch(self) -> Callable[[bytes], bool]:
        """Return what tells, for one connection, whether to cut at a message of the client."""
        raise NotImplementedError

    async def last(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do with the server what is still done with the message at which the connection is cut."""
        raise NotImplementedError

    async def may_pass(self, connection: asyncio.StreamWriter) -> None:
        """Wait as long as nothing passes on this connection."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream_reader, upstream = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        answers = asyncio.ensure_future(self._pump(upstream_reader, writer))
        cuts = self.watch()
        self._connections.add(writer)
        try:
            while data := await reader.read(65536):
                if cuts(data):
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                    await self.last(data, upstream_reader, upstream)
                    return
                await self.may_pass(writer)
                upstream.write(data)
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._connections.discard(writer)
            upstream.transport.abort()
            writer.transport.abort()
            answers.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(answers, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.may_pass(writer)
            writer.write(data)
        writer.close()


class FreezingProxy(TcpProxy):
    """Forwards connections until they are frozen: as behind a firewall that forgot them, nobody hears anything any more."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._frozen: set[asyncio.StreamWriter] | None = None
        self.held = asyncio.Event()
        """Set when something is held up."""

    def freeze(self, *, new: bool = True) -> None:
        """Let nothing pass on the connections there are, and on new ones if these are meant too."""
        self._frozen = None if new else set(self._connections)
        self.held.clear()
        self._thawed.clear()

    def thaw(self) -> None:
        """Let everything pass, what was held up first."""
        self._thawed.set()

    def watch(self) -> Callable[[bytes], bool]:
        """Cut nothing."""
        return lambda data: False

    async def may_pass(self, connection: asyncio.StreamWriter) -> None:
        """Wait until thawed."""
        if not self._thawed.is_set() and (self._frozen is None or connection in self._frozen):
            self.held.set()
            await self._thawed.wait()
