"""A circuit breaker: stop asking a provider that keeps failing, and find out when it is back."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from llm_client.errors import CircuitOpen, ConfigurationError, ProviderError, RateLimited

BreakerState = Literal["closed", "open", "half_open"]
MAX_BREAKERS = 10_000
"""How many circuits are remembered; model names come from callers, so there is no natural bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreakerConfig:
    """When a circuit opens and when it closes again."""

    failure_threshold: int = 5
    """Failures in a row that open the circuit."""
    recovery_timeout: float = 30.0
    """Seconds an open circuit refuses everything before it lets one probe through."""
    half_open_successes: int = 1
    """Successful probes, one after the other, that close the circuit."""

    def __post_init__(self) -> None:
        if self.failure_threshold < 1 or self.half_open_successes < 1 or self.recovery_timeout < 0:
            raise ConfigurationError("a breaker needs thresholds of at least 1 and no negative time")


def loop_time() -> float:
    """Return the running loop's monotonic seconds: waits on the loop and the circuits agree, also where its time jumps."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


def is_outage(error: BaseException) -> bool:
    """Whether a failure says that the provider is in trouble: not the caller's fault (4xx) and not a rate limit."""
    if not isinstance(error, ProviderError) or not error.retryable or isinstance(error, RateLimited):
        return False
    return error.status is None or not 400 <= error.status < 500


class CircuitBreaker:
    """The state of one circuit: closed (working), open (refusing), half open (one probe at a time).

    `enter` before an attempt gives a ticket; `succeed`, `fail` or `abandon` after it takes the ticket back. Tickets from
    before a change of state are void, so a late answer to an old attempt cannot close or open a circuit again.

    Args:
        config: The thresholds.
        clock: Returns monotonic seconds.
    """

    __slots__ = ("_clock", "_config", "_epoch", "_failures", "_opened", "_probing", "_successes", "state")

    def __init__(self, config: CircuitBreakerConfig, clock: Callable[[], float] = loop_time) -> None:
        self._config = config
        self._clock = clock
        self.state: BreakerState = "closed"
        self._epoch = 0
        self._failures = 0
        self._successes = 0
        self._opened = 0.0
        self._probing = False

    @property
    def is_unharmed(self) -> bool:
        """Whether it is closed and has no failure to remember."""
        return self.state == "closed" and self._failures == 0

    def enter(self) -> int:
        """Ask to make an attempt.

        Returns:
            The attempt's ticket.

        Raises:
            CircuitOpen: Not now.
        """
        if self.state == "closed":
            return self._epoch
        wait = self._opened + self._config.recovery_timeout - self._clock()
        if self.state == "open" and wait <= 0:
            self._change("half_open")
        if self.state == "open" or self._probing:
            raise CircuitOpen(retry_after=max(wait, 0.0))
        self._probing = True
        return self._epoch

    def succeed(self, ticket: int) -> None:
        """Report an answer."""
        if ticket != self._epoch:
            return
        self._failures = 0
        if self.state == "half_open":
            self._probing = False
            self._successes += 1
            if self._successes >= self._config.half_open_successes:
                self._change("closed")

    def fail(self, ticket: int) -> None:
        """Report an outage."""
        if ticket != self._epoch:
            return
        self._failures += 1
        if self.state == "half_open" or self._failures >= self._config.failure_threshold:
            self._opened = self._clock()
            self._change("open")

    def abandon(self, ticket: int) -> None:
        """Report that the attempt ended without saying anything about the provider: cancelled, or a caller's mistake."""
        if ticket == self._epoch:
            self._probing = False

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self._epoch += 1
        self._failures = self._successes = 0
        self._probing = False


class CircuitBreakers:
    """The breakers of all circuits, one per provider, model and tenant.

    What a vendor fails on may be the request, a damaged picture say, so one tenant's failures close nobody else's circuit. Names of models come from callers, so there are at most `MAX_BREAKERS` circuits. Whoever floods it with names makes others forget
    nothing that matters: those that have not failed make room, the ones asked for longest ago first. When every circuit has failed, those
    that are new share one: a burst of failures is rather counted for a stranger than not at all.
    """

    def __init__(self, config: CircuitBreakerConfig, clock: Callable[[], float] = loop_time) -> None:
        self._config = config
        self._clock = clock
        self._breakers: OrderedDict[tuple[str, str, str | None], CircuitBreaker] = OrderedDict()
        self._shared = CircuitBreaker(config, clock)

    def __len__(self) -> int:
        return len(self._breakers)

    def of(self, provider: str, model: str, whose: str | None = None) -> CircuitBreaker:
        """Return the breaker of a provider and model, for a tenant."""
        key = (provider, model, whose)
        breaker = self._breakers.get(key)
        if breaker is not None:
            self._breakers.move_to_end(key)
            return breaker
        if len(self._breakers) >= MAX_BREAKERS and not self._make_room():
            return self._shared
        breaker = self._breakers[key] = CircuitBreaker(self._config, self._clock)
        return breaker

    def _make_room(self) -> bool:
        """Forget a tenth of the circuits, of those that have nothing to remember; say whether there is room now."""
        idle = [key for key, breaker in self._breakers.items() if breaker.is_unharmed]
        for key in idle[: MAX_BREAKERS // 10 + 1]:
            del self._breakers[key]
        return bool(idle)
