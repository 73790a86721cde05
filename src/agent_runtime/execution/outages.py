"""Failures that are not the job's: outages, which it waits out, and what somebody has to mend first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from agent_runtime.errors import StepFailed, UnknownOperator
from agent_runtime.execution.operations.failed_at import causes
from agent_runtime.values.retry_policy import RetryPolicy
from llm_client.background import jittered
from llm_client.errors import (
    AuthenticationError,
    CircuitOpen,
    ConfigurationError,
    MissingDependency,
    QuotaExceeded,
    UngovernedCall,
)
from llm_client.json_text import JsonObject, JsonValue
from llm_client.public_text import attribute_of

SPACING: Final = 0.1
"""Seconds between the wakes of two jobs of one scope, in this process, that wait for an outage to end."""
_REMEMBERED: Final = 10_000
"""Slots up to which none is forgotten."""
TO_MEND: Final = (AuthenticationError, QuotaExceeded, ConfigurationError, ImportError, UnknownOperator)
"""Errors that say what a person or a deploy has to put right: a key, an account, an extra, a module, an operator."""
_CODES_TO_MEND: Final[Mapping[str, str]] = {
    "ImportError": "MODULE_NOT_FOUND",
    "ModuleNotFoundError": "MODULE_NOT_FOUND",
    **{
        kind.__name__: kind.code.upper()
        for kind in (
            AuthenticationError,
            QuotaExceeded,
            ConfigurationError,
            MissingDependency,
            UngovernedCall,
            UnknownOperator,
        )
    },
}
"""By the class's name, which is what is recorded of a failure inside a step."""


def names_of(error: BaseException) -> set[str]:
    """Return the code and the class name of an error; of a recorded failure of a step, those of what was raised in it."""
    if isinstance(error, StepFailed):
        return {error.error_type}
    code = attribute_of(error, "code")
    return {type(error).__name__, *((code,) if isinstance(code, str) else ())}


def is_outage(error: BaseException, policy: RetryPolicy) -> bool:
    """Whether an error, or what it was raised from, is one of those that a policy waits out."""
    return any(policy.covers(names_of(each)) or _all(each, policy) for each in causes(error))


def _all(error: BaseException, policy: RetryPolicy) -> bool:
    return isinstance(error, BaseExceptionGroup) and all(is_outage(each, policy) for each in error.exceptions)


def to_mend(error: BaseException) -> tuple[str, str] | None:
    """Return what somebody has to mend before the job can go on, and its code, if that is why it failed."""
    for each in causes(error):
        name = each.error_type if isinstance(each, StepFailed) else type(each).__name__
        if name in _CODES_TO_MEND:
            return str(each), _CODES_TO_MEND[name]
        if isinstance(each, TO_MEND):
            return str(each), str(getattr(each, "code", "MODULE_NOT_FOUND")).upper()
    return None


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage that a job waits out, as `job.retried` keeps it."""

    since: datetime
    """The first failure."""
    waits: int
    """How often the job has waited for its end."""
    attempts: int
    """How often the operation was done; a wait for a breaker is none."""

    @classmethod
    def of(cls, data: JsonObject | None, now: datetime) -> Outage:
        """Return what an earlier wait has written, or an outage that begins now."""
        if data is None:
            return cls(now, 0, 0)
        given: Mapping[str, Any] = data
        return cls(datetime.fromisoformat(given["since"]), given["waits"], given["attempts"])

    def told(self) -> dict[str, JsonValue]:
        """Return what `job.retried` says of it."""
        return {"since": self.since.isoformat(), "waits": self.waits, "attempts": self.attempts}

    def after(
        self, error: BaseException, policy: RetryPolicy, now: datetime
    ) -> tuple[Outage, datetime] | None:
        """Return the outage after one more failure, and when to try again; `None` when it has lasted too long.

        The last attempt is made at `max_age`. Who finds a breaker open has not tried, and may be later than that.
        """
        breaker = next((each for each in causes(error) if isinstance(each, CircuitOpen)), None)
        attempts = self.attempts + (breaker is None)
        if policy.max_attempts is not None and attempts >= policy.max_attempts:
            return None
        is_probed = breaker is not None and not breaker.retry_after  # somebody else finds out at this moment
        wait = policy.backoff if is_probed else policy.wait_after(self.waits + 1)
        due = now + timedelta(seconds=max(jittered(wait), _asked_for(error)))
        if policy.max_age is not None:
            end = self.since + timedelta(seconds=policy.max_age)
            if now >= (end if breaker is None else end + timedelta(seconds=2 * policy.max_backoff)):
                return None
            if now < end:
                due = min(due, end)
        return Outage(self.since, self.waits + 1, attempts), due


def _asked_for(error: BaseException) -> float:
    """Return how many seconds a vendor, or its breaker, has asked to be left alone."""
    return max(getattr(each, "retry_after", None) or 0.0 for each in causes(error))


class Queue:
    """Lets jobs of a scope that wait for an outage to end wake one after the other: the first one finds out whether it has.

    Those of another scope may wait for another outage, and never stand behind them.
    Its memory is this process's. What another one lets wake at the same time is spread by chance.
    """

    def __init__(self) -> None:
        self._next: dict[tuple[str, int], int] = {}
        """By a scope and a slot that is taken, one that may be free."""
        self._forget_above = _REMEMBERED

    def slot(self, due: datetime, now: datetime, scope_id: str) -> datetime:
        """Return the first moment from `due` on that no other job of the scope has, and take it."""
        wanted = slot = math.ceil(due.timestamp() / SPACING)
        passed = []
        while (following := self._next.get((scope_id, slot))) is not None:
            passed.append(slot)
            slot = following
        for each in (*passed, slot):
            self._next[scope_id, each] = slot + 1
        if len(self._next) > self._forget_above:
            self._forget(math.floor(now.timestamp() / SPACING))
        return due if slot == wanted else datetime.fromtimestamp(slot * SPACING, due.tzinfo)

    def _forget(self, before: int) -> None:
        """Forget slots that have passed; not again before there are twice as many as are left."""
        self._next = {place: following for place, following in self._next.items() if place[1] >= before}
        self._forget_above = max(_REMEMBERED, 2 * len(self._next))
