"""One connection that stays subscribed, whatever happens to it.

A subscription misses what is published while its connection is down. So whoever uses one is told each time it has come
about, and looks then: first subscribed, then looked, never the other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from agent_runtime.storage.redis.server import ANSWER_SECONDS, DRIVER_ERRORS
from agent_runtime.storage.redis.text import as_text
from llm_client.background import BackgroundLoop, Backoff
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
        alive_seconds: How often a silent server is pinged.
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
        self._loop = BackgroundLoop(
            self._try_to_listen,
            name="listening to Redis",
            logger=logger,
            failures=DRIVER_ERRORS,
            backoff=Backoff(FIRST_DELAY, LONGEST_DELAY),
        )
        self.listening = asyncio.Event()
        """Set while messages arrive."""
        self.failure: BaseException | None = None
        """Why the last attempt failed, while nothing is heard."""
        self.attempted = asyncio.Event()
        """Set once the first attempt to subscribe has ended, well or not."""

    @property
    def is_started(self) -> bool:
        """Whether it listens, or tries to."""
        return self._loop.is_running

    def start(self) -> None:
        """Begin to listen, in the background. Idempotent."""
        self._loop.start(after=0)

    async def stop(self) -> None:
        """Hear nothing more. Idempotent."""
        await self._loop.stop()
        self.attempted.clear()

    async def _try_to_listen(self) -> None:
        pubsub = self._client.pubsub()
        try:
            await self._listen(pubsub)
        except Exception as error:
            self.failure = error
            raise
        finally:
            self.listening.clear()
            self.attempted.set()
            await _closed(pubsub)

    async def _listen(self, pubsub: PubSub) -> NoReturn:
        async with asyncio.timeout(ANSWER_SECONDS):
            await pubsub.psubscribe(self._pattern)
        asked = True
        while True:
            message = await self._next(pubsub, ANSWER_SECONDS if asked else self._alive_seconds)
            if message is not None:
                asked = False
                self._take(message)
            elif asked:
                raise TimeoutError  # neither the subscription nor the ping was answered
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
            self._loop.works()
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
