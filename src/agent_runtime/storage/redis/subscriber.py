"""One connection that stays subscribed, whatever happens to it.

A subscription misses what is published while its connection is down. So whoever uses one is told each time it has come
about, and looks then: first subscribed, then looked, never the other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from agent_runtime.ports.background import ended, in_background
from agent_runtime.storage.redis.server import ANSWER_SECONDS, DRIVER_ERRORS
from agent_runtime.storage.redis.text import as_text
from llm_client.logs import logger_of

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

logger = logger_of(__name__)

ALIVE_SECONDS: Final = 10.0
"""How often a silent server is asked whether it is still there."""
FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 2.0
"""Seconds between two attempts to connect: at first, and at most."""


class Subscriber:
    """Keeps one pattern subscribed and passes on what is published.

    Args:
        client: The connection comes from its pool; it is the caller's to close.
        pattern: What to listen to, as PSUBSCRIBE takes it.
        heard: Called on the loop with each message.
        subscribed: Called on the loop each time a subscription has come about: before that, anything may have been
            missed.
        alive_seconds: How often a silent server is asked for a sign of life.
    """

    def __init__(
        self,
        client: Redis,
        pattern: str,
        *,
        heard: Callable[[str], None],
        subscribed: Callable[[], None],
        alive_seconds: float = ALIVE_SECONDS,
    ) -> None:
        self._client = client
        self._pattern = pattern.encode()
        self._heard = heard
        self._subscribed = subscribed
        self._alive_seconds = alive_seconds
        self._task: asyncio.Task[None] | None = None
        self.listening = asyncio.Event()
        """Set while messages arrive."""
        self.failure: BaseException | None = None
        """Why the last attempt failed, while nothing is heard."""
        self.attempted = asyncio.Event()
        """Set once the first attempt to subscribe has ended, well or not."""

    @property
    def is_started(self) -> bool:
        """Whether it listens, or tries to."""
        return self._task is not None

    def start(self) -> None:
        """Begin to listen, in the background. Idempotent."""
        if self._task is None:
            self._task = in_background(self._run(), name="redis subscription")

    async def stop(self) -> None:
        """Hear nothing more. Idempotent."""
        task, self._task = self._task, None
        await ended(task)
        self.attempted.clear()

    async def _run(self) -> None:
        delay = FIRST_DELAY
        while True:
            pubsub = self._client.pubsub()
            try:
                await self._listen(pubsub)
            except DRIVER_ERRORS as error:
                if self.failure is None:
                    logger.warning("Redis cannot be listened to now: %s", type(error).__name__)
                delay = self._failed(error, delay)
            except Exception as error:
                logger.exception("listening to Redis has failed; it is tried again")
                delay = self._failed(error, delay)
            finally:
                self.listening.clear()
                self.attempted.set()
                await _closed(pubsub)
            await asyncio.sleep(delay)

    def _failed(self, error: BaseException, delay: float) -> float:
        """Remember a failure; return how long to wait before the next attempt."""
        self.failure = error
        return FIRST_DELAY if self.listening.is_set() else min(delay * 2, LONGEST_DELAY)

    async def _listen(self, pubsub: PubSub) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await pubsub.psubscribe(self._pattern)
        asked = True
        while True:
            message = await self._next(pubsub, ANSWER_SECONDS if asked else self._alive_seconds)
            if message is not None:
                asked = False
                self._take(message)
            elif asked:
                raise TimeoutError  # neither the subscription nor the question for a sign of life was answered
            else:
                asked = True
                async with asyncio.timeout(ANSWER_SECONDS):
                    await pubsub.ping()

    async def _next(self, pubsub: PubSub, seconds: float) -> Any:
        """Return what the server says next, `None` when it says nothing for so many seconds."""
        async with asyncio.timeout(seconds + ANSWER_SECONDS):
            return await pubsub.get_message(timeout=seconds)

    def _take(self, message: Any) -> None:
        if message["type"] == "psubscribe":  # also when the client has connected again by itself
            self.failure = None
            self.listening.set()
            self.attempted.set()
            self._subscribed()
        elif message["type"] == "pmessage":
            self._heard(as_text(message["data"]))


async def _closed(pubsub: PubSub) -> None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await pubsub.aclose()  # type: ignore[no-untyped-call]  # as redis has it
    except DRIVER_ERRORS:
        pass
