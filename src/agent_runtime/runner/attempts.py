"""What a run's attempts have used and come to: bounds before each, a record after each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from agent_runtime.errors import RunError
from agent_runtime.ledger.failed_attempts import billed
from agent_runtime.ledger.token_bounds import Unbounded, bound_input
from agent_runtime.ports.call_log import CallLogSink
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.ids import new_id
from agent_runtime.runner.spec import AgentSpec
from agent_runtime.values.call_record import CallPrompts, CallRecord, CallStatus
from llm_client.errors import HostSignal, ProviderError, ProviderTimeout
from llm_client.logs import logger_of
from llm_client.messages import CompletionResult
from llm_client.middleware import ModelAttempt, ModelMiddleware, ProceedAttempt
from llm_client.providers.exchanges import Exchange, overheard
from llm_client.public_text import raw_text_of
from llm_client.spec import RequestSpec
from llm_client.turns import read_aside
from llm_client.usage import Usage

logger = logger_of(__name__)

_UNMATCHED: Final = "OutputInvalid"
_NOTHING_YET: Final = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What all records of a run say."""

    spec: AgentSpec
    prompts: CallPrompts
    context: Mapping[str, Any]
    iteration: int = 0
    conversation_id: str | None = None
    job_id: str | None = None
    trace_id: str | None = None


class _Ended(NamedTuple):
    """An attempt that has ended: all that its record is made of, once it is known what its answer is worth."""

    attempt: ModelAttempt
    started_at: datetime
    duration_seconds: float
    status: CallStatus
    result: CompletionResult | None = None
    error: BaseException | None = None
    exchange: Exchange | None = None


class RunAttempts(ModelMiddleware):
    """Stands around each attempt of a run, inside whatever a host has put there: what is recalled is none.

    Args:
        facts: What all records say.
        sink: Where they go.
        clock: Tells the time.
    """

    def __init__(self, facts: RunFacts, sink: CallLogSink | None, clock: Clock) -> None:
        self._facts = facts
        self._sink = sink
        self._wants_payloads = bool(getattr(sink, "wants_payloads", False))
        self._clock = clock
        self._asked: RequestSpec | None = None
        self._ended: _Ended | None = None
        """Of the last attempt, until it is known whether its answer matches, or what has cut it off."""
        self._number = 0
        self.repairs = 0
        """Answers that did not match."""
        self.usage = _NOTHING_YET
        """Of the calls, as far as it is known."""
        self._spent = 0
        """Tokens that count against the budget: where nobody knows, the most that it can have been."""
        self._is_counted = False
        """Whether an attempt has counted the call's answer."""

    def ask(self, spec: RequestSpec) -> None:
        """Say what the next call asks, before a host changes it."""
        self._asked, self._is_counted = spec, False

    async def count(self, result: CompletionResult) -> None:
        """Count what a call has used: the answer may be one that was recalled, which no attempt has told of."""
        self.usage += result.usage
        if not self._is_counted and not result.cached:
            self._spent += _told(result.usage) or await self._most_of_what_is_recalled()

    async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
        """Bound what an attempt may use, let it go out, and record how it ended."""
        attempt, at_most = await self._bounded(attempt)
        self._number += 1
        began, started_at = self._clock.monotonic(), self._clock.now()
        exchanges: Sequence[Exchange] = ()

        def ended(
            status: CallStatus, result: CompletionResult | None = None, error: BaseException | None = None
        ) -> _Ended:
            seconds = self._clock.monotonic() - began
            return _Ended(
                attempt, started_at, seconds, status, result, error, exchanges[-1] if exchanges else None
            )

        try:
            with overheard() if self._wants_payloads else nullcontext(()) as exchanges:
                result = await proceed(attempt)
        except (asyncio.CancelledError, HostSignal, GeneratorExit) as error:
            self._spent += at_most
            self._ended = ended("cancelled", error=error)
            raise
        except BaseException as error:
            self._count_failure(error, at_most)
            self._ended = ended("failed", error=error)
            self._close()
            raise
        self._spent += _told(result.usage) or at_most
        self._is_counted = True
        self._ended = ended("succeeded", result)
        return result

    async def matched(self, answer: str, validated: Callable[[], object]) -> None:
        """Say that the last answer is what was asked for, and how it is written as its type."""
        if self._sink is not None and self._ended is not None:
            self._close(validated=await read_aside(answer, validated))

    def unmatched(self, problems: str) -> None:
        """Say that the last answer is not what was asked for."""
        self._close(validation_errors=problems, status="failed", error_type=_UNMATCHED)
        self.repairs += 1

    def gave_up(self, error: Exception) -> None:
        """Say why the call has failed: a bound on its time cuts an attempt off."""
        if isinstance(error, ProviderTimeout):
            self._close(status="failed", error_type=type(error).__name__, error=raw_text_of(error))

    def close(self) -> None:
        """Record an attempt of which nobody has said anything."""
        self._close()

    async def room(self) -> None:
        """Wait for whoever writes the records, for a while at most."""
        if self._sink is not None:
            try:
                await self._sink.room()
            except Exception:
                logger.exception("the log of model calls has failed")

    def _close(
        self,
        *,
        status: CallStatus | None = None,
        error_type: str | None = None,
        error: str | None = None,
        validated: object = None,
        validation_errors: str | None = None,
    ) -> None:
        """Record the attempt that has ended, with what has become known of it since; made once, as its caller pays for it."""
        ended, self._ended = self._ended, None
        if ended is None or self._sink is None:
            return
        facts, (attempt, started_at, seconds, how, result, raised, exchange) = self._facts, ended
        if raised is not None and error_type is None:
            error_type, error = type(raised).__name__, raw_text_of(raised)
        usage = result.usage if result is not None else getattr(raised, "usage", None)
        # A policy may have taken something out of what leaves: then what was rendered is not what was asked.
        as_asked = self._is_as_asked(attempt.spec)
        record = CallRecord(
            call_id=new_id("call"),
            agent_name=facts.spec.name,
            agent_mode=facts.spec.mode,
            iteration=facts.iteration,
            attempt=self._number,
            repair_attempts=self.repairs,
            started_at=started_at,
            duration_seconds=seconds,
            status=status or how,
            model=(result.model if result is not None else "") or attempt.model,
            provider=attempt.provider.name,
            temperature=attempt.spec.temperature,
            usage=usage if isinstance(usage, Usage) else None,
            finish_reason=None if result is None else result.finish_reason,
            request_id=result.request_id if result is not None else getattr(raised, "request_id", None),
            conversation_id=facts.conversation_id,
            job_id=facts.job_id,
            trace_id=facts.trace_id,
            error_type=error_type,
            error=error,
            prompts=facts.prompts if as_asked else None,
            spec=attempt.spec,
            result=result,
            validated=validated,
            validation_errors=validation_errors,
            context=facts.context if as_asked else {},
            exchange=exchange,
        )
        try:
            self._sink.record(record)
        except Exception:
            logger.exception("the log of model calls has failed")

    async def _bounded(self, attempt: ModelAttempt) -> tuple[ModelAttempt, int]:
        """Return the attempt as it fits the budget, and the most that it can use.

        Raises:
            RunError: It cannot be made within the budget.
        """
        budget = self._facts.spec.token_budget
        if budget is None:
            return attempt, 0
        taken = await _input_of(attempt.spec, attempt.model)
        if isinstance(taken, Unbounded):
            raise RunError(f"token_budget cannot be kept: {taken.reason}")
        left = budget - self._spent
        if taken >= left:
            raise RunError(
                f"token_budget of {budget:,} has no room for another call: {left:,} are left, and its input may take {taken:,}"
            )
        wanted = attempt.spec.max_tokens
        room = left - taken if wanted is None else min(wanted, left - taken)
        if room != wanted:
            attempt = attempt.evolve(spec=attempt.spec.evolve(max_tokens=room))
        return attempt, taken + room

    async def _most_of_what_is_recalled(self) -> int:
        """Return what a recalled answer that says nothing of its use can have used, as it was bounded when it was asked for."""
        budget, spec = self._facts.spec.token_budget, self._asked
        if budget is None or spec is None:
            return 0
        taken = await _input_of(spec, spec.model or "")
        left = budget - self._spent
        if isinstance(taken, Unbounded) or spec.max_tokens is None:
            return left
        return min(left, taken + spec.max_tokens)

    def _count_failure(self, error: BaseException, at_most: int) -> None:
        known = billed(error)
        self._spent += at_most if known is None else known.total_tokens
        said = error.usage if isinstance(error, ProviderError) else None
        self.usage += said or _NOTHING_YET

    def _is_as_asked(self, spec: RequestSpec) -> bool:
        # The same messages, as a rule: that is told at once.
        return self._asked is not None and tuple(spec.messages) == tuple(self._asked.messages)


def _told(usage: Usage) -> int:
    """Return how many tokens a response has used; 0 where its vendor says nothing that can be believed."""
    return usage.total_tokens if usage.is_plausible else 0


async def _input_of(spec: RequestSpec, model: str) -> int | Unbounded:
    """Return the most tokens that a request's input can take; a long one is gone through in a thread."""
    return await read_aside([one.content for one in spec.messages], partial(bound_input, spec, model))
