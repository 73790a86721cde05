"""How fast an engine may ask: requests and tokens per minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from llm_client.errors import ConfigurationError

MINUTE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Upper bounds per minute; `None` is no bound. A minute's worth may be spent at once after a quiet minute."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """Input and output. A request counts with its estimate when it starts and with its real usage when it ends."""

    def __post_init__(self) -> None:
        for bound in (self.requests_per_minute, self.tokens_per_minute):
            if bound is not None and bound <= 0:
                raise ConfigurationError("a rate limit is a number above 0")


class TokenBucket:
    """A bucket that fills steadily and can be overdrawn: whoever takes more than there is waits until it is paid back.

    Taking lowers the level at once, so those who wait are served in the order they came, without a queue.

    Args:
        per_minute: How much flows in, and the most the bucket holds.
        clock: Returns monotonic seconds.
        sleep: Waits.
    """

    def __init__(
        self,
        per_minute: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._capacity = per_minute
        self._level = per_minute
        self._clock = clock
        self._sleep = sleep
        self._filled = clock()

    @property
    def level(self) -> float:
        """What could be taken now without waiting; below 0 while others wait."""
        self._fill()
        return self._level

    async def take(self, amount: float) -> None:
        """Take an amount, waiting until it is there. More than the bucket holds waits for a full one.

        A wait that is cancelled gives the amount back.
        """
        self._fill()
        before = self._level
        self._level -= amount
        missing = min(amount, self._capacity) - before
        if missing <= 0:
            return
        try:
            await self._sleep(missing / self._capacity * MINUTE)
        except BaseException:
            self._level += amount
            raise

    def correct(self, difference: float) -> None:
        """Take a further amount without waiting, or give some back if it is negative."""
        self._fill()
        self._level = min(self._level - difference, self._capacity)

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._level + (now - self._filled) * self._capacity / MINUTE, self._capacity)
        self._filled = now


class RateGate:
    """The buckets of one engine."""

    def __init__(self, limits: RateLimits) -> None:
        self._requests = (
            None if limits.requests_per_minute is None else TokenBucket(limits.requests_per_minute)
        )
        self._tokens = None if limits.tokens_per_minute is None else TokenBucket(limits.tokens_per_minute)

    @property
    def counts_tokens(self) -> bool:
        """Whether `enter` needs an estimate."""
        return self._tokens is not None

    async def enter(self, tokens: int) -> None:
        """Wait until one more request with about this many tokens may go out."""
        if self._requests is not None:
            await self._requests.take(1)
        if self._tokens is not None:
            await self._tokens.take(tokens)

    def settle(self, estimated: int, used: int) -> None:
        """Replace a request's estimate by its real usage."""
        if self._tokens is not None:
            self._tokens.correct(used - estimated)
