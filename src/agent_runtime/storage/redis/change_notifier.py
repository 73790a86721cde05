"""Telling other processes what has changed, through Redis instead of the database.

Nothing is kept there: a process that was not listening, or a message that got lost, is made up for by looking into the
database, as after a lost notification of Postgres.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from agent_runtime.errors import StorageError
from agent_runtime.ports.change_notifier import OnChange
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.ports.live_channel import OnText
from agent_runtime.storage.notifications import Notifications
from agent_runtime.storage.redis.server import Server, client_at
from agent_runtime.storage.redis.subscriber import Subscriber
from agent_runtime.storage.redis.text import escaped

if TYPE_CHECKING:
    from redis.asyncio import Redis

DEFAULT_CHANNEL: Final = "agent:changes"
MAX_MESSAGE: Final = 64 * 1024
"""Bytes of one message; beyond it, others are told that anything may have happened."""


class RedisChangeNotifier:
    """Sends this process's changes and receives those of others.

    Give the same to every process of a database: `PostgresStorage(dsn, notifier=RedisChangeNotifier(url))`, or set
    `AGENT_RUNTIME_REDIS_URL`.

    Args:
        source: The address of a Redis server, or a client of the caller's, which the caller closes.
        channel: One per database. Redis does not keep the channels of its numbered databases apart.

    Raises:
        ConfigurationError: `source` is text and not the address of a Redis server.
    """

    def __init__(self, source: str | Redis, *, channel: str = DEFAULT_CHANNEL) -> None:
        self._owns_client = isinstance(source, str)
        self._server = Server(client_at(source) if isinstance(source, str) else source)
        self._channel = channel
        self._notifications = Notifications(self._publish, failures=(StorageError,), max_bytes=MAX_MESSAGE)
        self._subscriber: Subscriber | None = None
        self.listening = asyncio.Event()

    def __repr__(self) -> str:
        return f"RedisChangeNotifier(channel={self._channel!r})"

    def start(self, on_change: OnChange) -> None:
        """Begin to listen. Idempotent."""
        if self._subscriber is None:
            self._subscriber = Subscriber(
                self._server.client,
                escaped(self._channel),
                heard=lambda text: self._notifications.read(text, on_change),
                subscribed=lambda: on_change(None),
            )
        self.listening = self._subscriber.listening
        self._subscriber.start()

    def publish(self, change: RemoteChange) -> None:
        """Announce a change, soon."""
        self._notifications.publish(change)

    def hear(self, on_text: OnText) -> None:
        """Hear what others say that passes."""
        self._notifications.hear(on_text)

    async def say(self, text: str) -> None:
        """Say something that passes."""
        await self._notifications.say(text)

    async def stop(self) -> None:
        """Send what is left and stop."""
        subscriber, self._subscriber = self._subscriber, None
        if subscriber is not None:
            await subscriber.stop()
        await self._notifications.stop()
        if self._owns_client:
            await self._server.client.aclose()

    async def _publish(self, text: str) -> None:
        await self._server.answered(lambda client: client.publish(self._channel, text))
