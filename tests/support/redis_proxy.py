"""A TCP proxy before Redis that loses the answer to a command and cuts the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from support.tcp_proxy import TcpProxy


class RedisProxy(TcpProxy):
    """Forwards connections to a Redis server.

    Args:
        url: Its address.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.lose_answer_to: bytes | None = None
        """A command: the server executes it, its answer gets lost, once."""
        self.lost = 0

    def watch(self) -> Callable[[bytes], bool]:
        """Cut at the command."""
        return self._is_it

    def _is_it(self, data: bytes) -> bool:
        if self.lose_answer_to is None or self.lose_answer_to not in data:
            return False
        self.lose_answer_to = None
        self.lost += 1
        return True

    async def last(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let the server execute it."""
        writer.write(data)
        await reader.readline()
