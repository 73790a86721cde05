"""Signals between processes, through Redis.

A signal is stored for a while and then published, in this order. A process has one connection that listens to all of
them. Who waits is first registered, then looks for the stored signal; and whenever the connection has come about again,
everybody's is looked for. So no signal falls between looking and listening, as long as Redis keeps it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from agent_runtime.errors import StorageError
from agent_runtime.ports.current_job import after_the_journal
from agent_runtime.ports.signals import MAX_SIGNAL, SignalMessage
from agent_runtime.storage.redis.server import ANSWER_SECONDS, DRIVER_ERRORS, Server, translated
from agent_runtime.storage.redis.subscriber import Subscriber
from agent_runtime.storage.redis.text import as_text, escaped, to_json
from agent_runtime.storage.waiters import Waiters
from llm_client.background import Backoff, ended, in_background
from llm_client.logs import logger_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logger_of(__name__)

_PAGE: Final = 500
_RETRY_SECONDS: Final = 0.5


@after_the_journal(but=("start", "stop"))
class RedisSignalChannel:
    """A `SignalChannel` for all processes that use one Redis server.

    Signals of an action go to the channel `{channel_prefix}:{action_id}`, and to `{channel_prefix}:job:{job_id}`; the
    last one is kept under `{channel_prefix}:msg:{action_id}`.

    Args:
        client: The caller's, who closes it after `stop`.
        channel_prefix: One for all who are to hear each other, and for nobody else.
        message_ttl_seconds: How long a signal is kept for those who come late.
    """

    def __init__(
        self, client: Redis, channel_prefix: str = "agent:action", message_ttl_seconds: float = 3600
    ) -> None:
        self._server = Server(client)
        self._prefix = channel_prefix
        self._ttl_ms = max(1, round(message_ttl_seconds * 1000))
        self._waiters = Waiters()
        self._subscriber = Subscriber(
            client, f"{escaped(channel_prefix)}:*", heard=self._take, subscribed=self._look_for_all
        )
        self._looking: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"RedisSignalChannel(channel_prefix={self._prefix!r})"

    async def start(self) -> None:
        """Return once signals are heard.

        Raises:
            StorageError: The server cannot be reached. Nothing goes on in the background then.
        """
        was_started = self._subscriber.is_started
        self._subscriber.start()
        try:
            await asyncio.wait_for(self._subscriber.attempted.wait(), 2 * ANSWER_SECONDS)
            if not self._subscriber.listening.is_set():
                raise self._subscriber.failure or TimeoutError
        except DRIVER_ERRORS as error:
            if not was_started and not self._waiters:
                await self._subscriber.stop()
            raise translated(error) from error

    async def stop(self) -> None:
        """Hear nothing more; whoever waits gets `StorageClosed`."""
        await self._subscriber.stop()
        self._waiters.close()
        await ended(*self._looking)

    async def signal(self, action_id: str, message: SignalMessage, job_id: str | None = None) -> None:
        """Tell all who wait for an action."""
        text = _written(message)

        async def send(client: Redis) -> None:
            async with client.pipeline(transaction=False) as pipeline:
                pipeline.set(self._key(action_id), text, px=self._ttl_ms)
                pipeline.publish(f"{self._prefix}:{action_id}", text)
                if job_id is not None:
                    pipeline.publish(f"{self._prefix}:job:{job_id}", text)
                await pipeline.execute()

        await self._server.answered(send)

    async def wait(self, action_id: str, timeout: float | None = None) -> SignalMessage:
        """Wait for the signal of an action, or return the one that was sent already."""
        return await self.wait_any((action_id,), timeout)

    async def wait_any(self, action_ids: Collection[str], timeout: float | None = None) -> SignalMessage:
        """Wait for the first signal of any of these actions."""
        wanted = tuple(action_ids)
        future = self._waiters.add(wanted)
        try:
            async with asyncio.timeout(timeout):
                self._subscriber.start()
                while not future.done():
                    try:
                        await self._look_for(wanted)
                        break
                    except StorageError as error:
                        logger.debug("signals cannot be looked for now: %s", error)
                        await asyncio.wait((future,), timeout=_RETRY_SECONDS)
                return await future
        finally:
            self._waiters.remove(wanted, future)

    def _key(self, action_id: str) -> str:
        return f"{self._prefix}:msg:{action_id}"

    def _take(self, text: str) -> None:
        message = _read(text)
        if message is not None:
            self._waiters.publish(message)

    def _look_for_all(self) -> None:
        """Look for the signals that may have been sent while nobody listened."""
        if self._waiters:
            task = in_background(self._look_until_answered(), name="redis signals")
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _look_until_answered(self) -> None:
        backoff = Backoff(_RETRY_SECONDS, _RETRY_SECONDS)
        while True:
            try:
                waiting = tuple(self._waiters.action_ids)
                for start in range(0, len(waiting), _PAGE):
                    await self._look_for(waiting[start : start + _PAGE])
            except StorageError:
                await backoff.pause()
            else:
                return

    async def _look_for(self, action_ids: Sequence[str]) -> None:
        if not action_ids:
            return
        keys = [self._key(action_id) for action_id in action_ids]
        found = await self._server.answered(lambda client: client.mget(keys))
        for text in found:
            if text is not None:
                self._take(as_text(text))


def _written(message: SignalMessage) -> str:
    values: dict[str, Any] = {
        "action_id": message.action_id,
        "status": str(message.status),
        "timestamp": message.timestamp.isoformat(),
    }
    if message.resolution is not None:
        values["resolution"] = dict(message.resolution)
    if message.error is not None:
        values["error"] = message.error
    return to_json(values, limit=MAX_SIGNAL)


def _read(text: str) -> SignalMessage | None:
    """Return the message of a text, `None` for what is none: anybody may publish anything, of any length."""
    try:
        values = orjson.loads(text) if len(text) <= MAX_SIGNAL else {}
        if isinstance(values["action_id"], str):
            return SignalMessage(**{**values, "timestamp": datetime.fromisoformat(values["timestamp"])})
    except (ValueError, TypeError, KeyError):
        pass
    logger.warning("a message on the signal channel is not a signal; it is ignored")
    return None
