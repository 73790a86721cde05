"""Telling other processes what has changed, through LISTEN and NOTIFY.

What was written is announced after its commit, not in it: NOTIFY inside a transaction makes every commit of the server
wait for every other. Several changes go out as one notification. If a process dies in between, the sweep finds what it
did not tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from agent_runtime.errors import StorageClosed
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.journal import ChangeKind, ForeignChange
from agent_runtime.storage.postgres.connections import CONNECT_TIMEOUT, Connections, is_closed
from agent_runtime.storage.postgres.errors import DRIVER_ERRORS

logger = logging.getLogger(__name__)

CHANNEL: Final = "agent_runtime"
MAX_PAYLOAD: Final = 7900
"""Bytes; the server refuses 8000."""
GATHER_SECONDS: Final = 0.02
"""How long the growth of journals is gathered before it is announced. Wake-ups go out at once."""
ALIVE_SECONDS: Final = 15.0
"""How often a silent server is asked whether it is still there."""
_KINDS: Final[Mapping[str, ChangeKind]] = {
    "c": "created", "w": "woken", "g": "grown", "e": "ended", "t": "timer",
}  # fmt: skip
_LETTERS: Final = {kind: letter for letter, kind in _KINDS.items()}
_EVERYTHING: Final = "*"


class Announcements:
    """Sends this process's changes and receives those of others.

    Args:
        connections: Where its connections come from.
        heard: Called on the loop with what other processes have changed; `None` when anything may have happened.
    """

    def __init__(
        self, connections: Connections, heard: Callable[[Sequence[ForeignChange] | None], None]
    ) -> None:
        self._connections = connections
        self._heard = heard
        self._sender = new_id("s")
        self._outbox: dict[str, None] = {}
        self._urgent = False
        self._wanted = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.listening = asyncio.Event()
        """Set while changes of other processes are heard."""

    def start(self) -> None:
        """Begin to send and to listen."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._send_on_demand(), name="postgres notify"),
            loop.create_task(self._listen(), name="postgres listen"),
        ]

    async def stop(self) -> None:
        """Send what is left and stop."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._outbox:
            with contextlib.suppress(*DRIVER_ERRORS, StorageClosed):
                await self._send()

    def tell(self, change: ForeignChange) -> None:
        """Announce a change, soon."""
        self._outbox[_LETTERS[change.kind] + change.job_id] = None
        self._urgent |= change.kind != "grown"
        self._wanted.set()

    async def _send_on_demand(self) -> None:
        while True:
            await self._wanted.wait()
            if not self._urgent:
                await asyncio.sleep(GATHER_SECONDS)
            try:
                await self._send()
            except (*DRIVER_ERRORS, StorageClosed) as error:
                logger.warning(
                    "changes could not be announced; others will find them by looking: %s",
                    type(error).__name__,
                )
                await asyncio.sleep(1.0)

    async def _send(self) -> None:
        words, self._outbox = list(self._outbox), {}
        self._urgent = False
        self._wanted.clear()
        payload = " ".join((self._sender, *words))
        if len(payload.encode()) > MAX_PAYLOAD or any(" " in word for word in words):
            payload = f"{self._sender} {_EVERYTHING}"
        async with self._connections.pool.acquire(timeout=CONNECT_TIMEOUT) as connection:
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)

    async def _listen(self) -> None:
        """Keep one connection listening. Whatever happened while there was none is treated as: anything."""
        delay = 0.1
        while True:
            try:
                async with self._connections.pool.acquire(timeout=CONNECT_TIMEOUT) as connection:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _, lost=lost: lost.set())
                    await connection.add_listener(CHANNEL, self._receive)
                    try:
                        self.listening.set()
                        self._heard(None)
                        delay = 0.1
                        await _while_alive(connection, lost)
                    finally:
                        self.listening.clear()
                        if not is_closed(connection):
                            await connection.remove_listener(CHANNEL, self._receive)
            except (*DRIVER_ERRORS, StorageClosed) as error:
                logger.warning("changes of other processes cannot be heard now: %s", type(error).__name__)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5.0)

    def _receive(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        sender, *words = str(payload).split(" ")
        if sender == self._sender:
            return
        if _EVERYTHING in words:
            self._heard(None)
            return
        known = [word for word in words if word[:1] in _KINDS]
        self._heard([ForeignChange(_KINDS[word[0]], word[1:]) for word in known])


async def _while_alive(connection: Any, lost: asyncio.Event) -> None:
    """Return when the connection is lost; a server that has vanished without a word is noticed by asking it."""
    while not lost.is_set():
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                await lost.wait()
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=CONNECT_TIMEOUT)
