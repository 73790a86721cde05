"""A TCP proxy before Postgres that cuts a connection while the server is committing.

It commits on COMMIT, and with the one statement that extends journals by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from agent_runtime.storage.postgres.statements import APPEND, APPEND_AND_BILL
from support.tcp_proxy import TcpProxy

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""The message of the simple query protocol that asks for a commit."""
IDLE = b"Z\x00\x00\x00\x05I"
"""The server's message after a transaction."""
Moment = Literal["before", "during", "after"]


class CuttingProxy(TcpProxy):
    """Forwards connections to a Postgres server; cuts at the next commit when told to.

    Args:
        dsn: Address of the database behind it.
    """

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.cut: Moment | None = None
        """`before`: the server never sees it; `during`: it is still at it; `after`: it commits, and its answer gets lost."""
        self.cuts = 0
        self.was_cut = asyncio.Event()
        self._moment: Moment = "before"

    @property
    def dsn(self) -> str:
        """The database's address through this proxy."""
        return self.url

    def watch(self) -> Callable[[bytes], bool]:
        """Cut at the next commit."""
        appending: set[bytes] = set()

        def commits(data: bytes) -> bool:
            appending.update(_prepared(data))
            if self.cut is None or not (data.endswith(COMMIT) or _executes(data, appending)):
                return False
            self._moment, self.cut = self.cut, None
            self.cuts += 1
            return True

        return commits

    async def last(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let the server see the commit, or not."""
        if self._moment != "before":
            writer.write(data)
            await writer.drain()
        if self._moment == "after":
            await reader.readuntil(IDLE)
        self.was_cut.set()


def _prepared(data: bytes) -> set[bytes]:
    """Return the name under which a message prepares a statement that extends journals."""
    extends = data.startswith(b"P") and any(text.encode() in data for text in (APPEND, APPEND_AND_BILL))
    return {data[5 : data.index(b"\x00", 5)]} if extends else set()


def _executes(data: bytes, statements: set[bytes]) -> bool:
    """Whether a message executes one of these prepared statements."""
    return data.startswith(b"B") and data[6 : data.index(b"\x00", 6)] in statements
