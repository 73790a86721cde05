"""What becomes of a job that meets an outage: it waits and tries again, for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from agent_runtime.errors import InvalidInput
from agent_runtime.values.checks import check_seconds, check_text, check_whole
from llm_client.background import doubled
from llm_client.json_text import JsonObject, JsonValue

OUTAGES: Final = (
    "circuit_open",
    "connection_failed",
    "provider_timeout",
    "provider_unavailable",
    "rate_limited",
    "stream_interrupted",
    "QUEUE_FULL",
    "STORAGE_ERROR",
    "STORAGE_FULL",
)
"""Codes of the errors that say that a provider, or what a job asks the runtime for, is down, out of reach or full."""
_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How a job goes on whose operator is left by an error from outside of it.

    The error reaches the code first. Only when it leaves the operator does the job wait, as a row in a table, and is the
    operation that failed done anew. A request's policy counts before an operator's, and that before the kernel's;
    children have their parent's.

    Raises:
        InvalidInput: A field has a value it cannot have; it names the field.
    """

    max_attempts: int | None = None
    """Times that the operation is done, the first one included; `None` for any number. Where a breaker lets nothing
    through, nothing is done."""
    backoff: float = 5.0
    """Seconds before the second attempt, give or take a fifth; the wait doubles each time."""
    max_backoff: float = 300.0
    """The longest wait, in seconds."""
    max_age: float | None = _HOUR
    """Seconds after the first failure at which the last attempt is made; `None` for no end."""
    retry_on: Sequence[str | type[BaseException]] = OUTAGES
    """The errors: codes or class names. Of a class its code is kept, or else its name."""

    def __post_init__(self) -> None:
        if self.max_attempts is not None:
            check_whole("max_attempts", self.max_attempts, least=1)
        check_seconds("backoff", self.backoff, zero=False)
        check_seconds("max_backoff", self.max_backoff, zero=False)
        if self.max_age is not None:
            check_seconds("max_age", self.max_age)
        given: Any = self.retry_on
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise InvalidInput("retry_on is a list of error codes, class names or exception classes")
        names = tuple(_name(each) for each in given)
        for name in names:
            check_text("retry_on", name)
        object.__setattr__(self, "retry_on", names)

    @classmethod
    def none(cls) -> RetryPolicy:
        """Return the policy of a job that fails at once."""
        return cls(max_attempts=1)

    def wait_after(self, attempts: int) -> float:
        """Return how long to wait after so many attempts, in seconds, before chance is added."""
        return doubled(self.backoff, attempts, self.max_backoff)

    def covers(self, names: set[str]) -> bool:
        """Whether one of an error's names is among `retry_on`."""
        return not names.isdisjoint(self.retry_on)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return what differs from the default, as JSON values."""
        plain = RetryPolicy()
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value != getattr(plain, name)}

    @classmethod
    def from_dict(cls, data: JsonObject) -> RetryPolicy:
        """Build from what `to_dict` gave; unknown keys are ignored."""
        given: dict[str, Any] = {name: data[name] for name in cls.__slots__ if name in data}
        return cls(**given)  # which checks them


def _name(given: Any) -> str:
    if isinstance(given, type) and issubclass(given, BaseException):
        code = getattr(given, "code", None)
        return code if isinstance(code, str) else given.__name__
    return given if isinstance(given, str) else ""
