"""Telling other processes what has changed, through LISTEN and NOTIFY.

What was written is announced after its commit, not in it: NOTIFY inside a transaction makes every commit of the server
wait for every other. If a process dies in between, the sweep finds what it did not tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NoReturn

from agent_runtime.errors import StorageClosed, StorageError
from agent_runtime.ports.change_notifier import OnChange
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.ports.live_channel import OnText
from agent_runtime.storage.notifications import Notifications
from agent_runtime.storage.postgres.connections import CONNECT_TIMEOUT, DRIVER_ERRORS, Connections, mapped
from llm_client.background import BackgroundLoop, Backoff
from llm_client.logs import logger_of

logger = logger_of(__name__)

CHANNEL: Final = "agent_runtime"
MAX_PAYLOAD: Final = 7900
"""Bytes; the server refuses 8000."""
ALIVE_SECONDS: Final = 15.0
"""How often a silent server is asked whether it is still there."""
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
"""Seconds between two attempts to listen: at first, and at most."""


class PostgresChangeNotifier:
    """Sends this process's changes and receives those of others, through the database itself.

    Args:
        connections: Where its connections come from.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._notifications = Notifications(
            self._notify, failures=(*DRIVER_ERRORS, StorageClosed), max_bytes=MAX_PAYLOAD
        )
        self._on_change: OnChange | None = None
        self._loop = BackgroundLoop(
            self._listen,
            name="hearing of changes of other processes",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(FIRST_DELAY, LONGEST_DELAY),
        )
        self.listening = asyncio.Event()

    def start(self, on_change: OnChange) -> None:
        """Begin to listen. Idempotent."""
        self._on_change = on_change
        self._loop.start(after=0)

    def publish(self, change: RemoteChange) -> None:
        """Announce a change, soon."""
        self._notifications.publish(change)

    def hear(self, on_text: OnText) -> None:
        """Hear what others say that passes."""
        self._notifications.hear(on_text)

    async def say(self, text: str) -> None:
        """Say something that passes."""
        with mapped():
            await self._notifications.say(text)

    async def stop(self) -> None:
        """Send what is left, and hear nothing more."""
        await self._loop.stop()
        await self._notifications.stop()

    async def _notify(self, text: str) -> None:
        await self._connections.run(
            lambda connection: connection.execute("SELECT pg_notify($1, $2)", CHANNEL, text)
        )

    async def _listen(self) -> None:
        """Keep a connection listening until it is lost. Whatever happened while there was none is treated as: anything."""
        on_change = self._on_change
        assert on_change is not None  # noqa: S101 -- given with the start

        def receive(*notification: object) -> None:  # connection, process id, channel, payload
            self._notifications.read(str(notification[-1]), on_change)

        with mapped():
            await self._listen_once(receive, on_change)

    async def _listen_once(self, receive: Callable[..., None], on_change: OnChange) -> None:
        connection = await self._connections.acquire()
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await connection.add_listener(CHANNEL, receive)
            self.listening.set()
            on_change(None)
            self._loop.works()
            await _while_alive(connection, lost)
        finally:  # it is closed in any case: nobody else has a use for one that listens
            self.listening.clear()
            await self._connections.discard(connection)


async def _while_alive(connection: Any, lost: asyncio.Event) -> NoReturn:
    """Raise when the connection is lost; a server that has vanished without a word is noticed by asking it."""
    while not lost.is_set():
        try:
            async with asyncio.timeout(ALIVE_SECONDS):
                await lost.wait()
        except TimeoutError:
            await connection.execute("SELECT 1", timeout=CONNECT_TIMEOUT)
    raise ConnectionResetError
