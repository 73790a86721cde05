"""How fast an engine may ask: requests and tokens per minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from llm_client.errors import ConfigurationError
from llm_client.pausing import Slots

MINUTE = 60.0
SHORTEST_NAP, LONGEST_NAP = 0.001, 1.0
"""Seconds after which whoever is next looks again: what is missing may be too little for a clock to tell, and others may have given
back what they did not use."""
MOST_MINUTES = 10
"""Minutes that the tokens of one request can keep others waiting, whatever its vendor says that it has used."""


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

    Who waits is served in the order they came, tenants in turns. Nothing is taken before it is somebody's turn: how long the first one waits is
    seen from the level as it is then, with what others have given back meanwhile.

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
        self._turn = Slots(1)

    @property
    def level(self) -> float:
        """What could be taken now without waiting; below 0 while a debt is paid back."""
        self._fill()
        return self._level

    async def take(self, amount: float, whose: str | None = None) -> None:
        """Take an amount on behalf of a tenant, waiting until it is there. More than the bucket holds waits for a full one."""
        await self._turn.take(whose)
        try:
            while (missing := min(amount, self._capacity) - self.level) > 0:
                seconds = missing / self._capacity * MINUTE
                await self._sleep(min(max(seconds, SHORTEST_NAP), LONGEST_NAP))
            self._level -= amount
        finally:
            self._turn.give()

    def correct(self, difference: float) -> None:
        """Take a further amount without waiting, or give some back if it is negative."""
        self._fill()
        self._level = min(self._level - difference, self._capacity)

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._level + (now - self._filled) * self._capacity / MINUTE, self._capacity)
        self._filled = now


class RateLimiter:
    """The buckets of one engine."""

    def __init__(self, limits: RateLimits) -> None:
        self._requests = (
            None if limits.requests_per_minute is None else TokenBucket(limits.requests_per_minute)
        )
        self._most = limits.tokens_per_minute or 0.0
        self._tokens = None if limits.tokens_per_minute is None else TokenBucket(limits.tokens_per_minute)

    @property
    def counts_tokens(self) -> bool:
        """Whether `enter` needs an estimate."""
        return self._tokens is not None

    async def enter(self, tokens: int, whose: str | None = None) -> None:
        """Wait until one more request with about this many tokens may go out, on behalf of a tenant."""
        if self._requests is not None:
            await self._requests.take(1, whose)
        if self._tokens is not None:
            await self._tokens.take(self._set_aside(tokens), whose)

    def settle(self, estimated: int, used: int) -> None:
        """Replace a request's estimate by its real usage."""
        if self._tokens is not None:
            counted = min(used, MOST_MINUTES * self._most)
            self._tokens.correct(counted - self._set_aside(estimated))

    def _set_aside(self, tokens: int) -> float:
        """Return what of an estimate is taken in advance: a minute's worth at most, for anybody can ask for any length."""
        return min(max(tokens, 0), self._most)
