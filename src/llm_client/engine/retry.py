"""When to try a model call again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

from llm_client.background import JITTER, doubled, jittered
from llm_client.errors import ConfigurationError, ProviderError

RETRYABLE_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """How often and how patiently a failed attempt is repeated.

    A vendor's `Retry-After` is honoured: the wait is at least that long, and a vendor that asks for more than
    `max_retry_after` seconds, or for more than the deadline leaves, is not asked again.
    """

    attempts: int = 3
    """Attempts per provider, the first one included."""
    backoff: float = 1.0
    """Seconds before the first repetition; doubled for each further one."""
    max_backoff: float = 20.0
    jitter: float = JITTER
    """A wait is stretched or shortened at random by up to this fraction."""
    retryable_statuses: Collection[int] = RETRYABLE_STATUSES
    """HTTP error statuses that are worth another attempt; narrows what the error classes allow."""
    max_retry_after: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.backoff, self.max_backoff, self.max_retry_after) < 0:
            raise ConfigurationError("retry needs at least one attempt and no negative times")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError("jitter is a fraction between 0 and 1")

    def allows(self, error: ProviderError) -> bool:
        """Whether another attempt could end differently."""
        if not error.retryable:
            return False
        is_status = error.status is not None and error.status >= 400
        return not is_status or error.status in self.retryable_statuses

    def delay_after(
        self, failures: int, error: ProviderError, chance: Callable[[], float] = random.random
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` to give up.

        Args:
            failures: How many attempts have failed, 1 or more.
            error: The last failure.
            chance: Returns a random number from 0 up to 1.
        """
        if failures >= self.attempts or not self.allows(error):
            return None
        delay = doubled(self.backoff, failures, self.max_backoff)
        delay = jittered(delay, jitter=self.jitter, chance=chance)
        if error.retry_after is None:
            return delay
        return max(delay, error.retry_after) if error.retry_after <= self.max_retry_after else None
