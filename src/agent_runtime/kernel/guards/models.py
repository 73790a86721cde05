"""Model calls inside a job."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import orjson

from agent_runtime.errors import BudgetExceededError, BudgetRejected, PolicyDenied
from agent_runtime.kernel.branch import Branch
from agent_runtime.kernel.effects import warn_changed
from agent_runtime.kernel.failures import describe_failure, recorded_failure
from agent_runtime.kernel.guards.model_policy import redacted_messages, rule_on_model
from agent_runtime.kernel.guards.money import AtMost, entry_for, warn
from agent_runtime.kernel.history import Step
from agent_runtime.kernel.run import JobRun
from agent_runtime.ledger.recording import spent as spent_by
from agent_runtime.ledger.reservations import CostOf, Demand, Plan, Shortage, unbudgeted
from agent_runtime.ledger.token_bounds import bound_input, has_media
from agent_runtime.ports.journal import NewEvent
from agent_runtime.values.budget import NOTHING, Amount
from agent_runtime.values.content import encode
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.money import to_units
from llm_client.codec import dump_message, dump_result, dump_usage, load_result
from llm_client.errors import AuthenticationError, ConnectionFailed, LLMClientError, ProviderError
from llm_client.messages import CompletionResult, Message, StreamEvent
from llm_client.middleware import Emit, ModelAttempt, ModelCall, ProceedAttempt, ProceedCall
from llm_client.pricing import PriceBook
from llm_client.spec import RequestSpec
from llm_client.tokens import TokenEstimator
from llm_client.usage import Usage

NAME = "model"
"""Step name of every model call: another model in new code is a changed input, not another step."""
_NEVER_SENT = frozenset({ConnectionFailed.code, AuthenticationError.code})
"""Failures without a status by which a request has not left: nobody listens there, or there is no key to send."""


@dataclass(slots=True, eq=False)
class _ModelStep:
    """One model call of a run, shared by its two gates."""

    branch: Branch
    operation_id: str
    input_hash: str
    fresh: Sequence[Message]
    """Messages that the call before, in the same branch, did not have."""
    shared: int
    """How many it did have."""
    result: CompletionResult | None = None
    """What the last attempt gave and the journal holds."""
    open: dict[int, AtMost] = field(default_factory=dict)
    """Attempts whose outcome is not written yet."""
    ruled: set[tuple[str, str]] = field(default_factory=set)
    """Providers and models the policy has been asked about."""

    @property
    def recorded(self) -> Step | None:
        return self.branch.run.history.steps.get(self.operation_id)

    @property
    def answer(self) -> CompletionResult | None:
        """The call's answer, if the journal holds it: a resume would return it, whatever has happened since."""
        outcome = None if self.recorded is None else self.recorded.outcome
        is_final = outcome is not None and outcome.data.get("final", True)
        return self.result if is_final else None


_CURRENT: ContextVar[_ModelStep | None] = ContextVar("agent_runtime_model_call", default=None)


class ModelGuard:
    """Recalls, admits and settles model calls."""

    def __init__(self, prices: PriceBook, estimator: TokenEstimator) -> None:
        self._prices = prices
        self._estimator = estimator

    async def call(self, branch: Branch, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
        """Return the recorded answer, or let the call happen and record how it ended."""
        run = branch.run
        with branch.step(NAME):
            await run.admit_step()
            step = self._next_step(branch, call)
            recorded = run.history.match(step.operation_id, "model", NAME)
            branch.dropped_tools = _dropped_before(run, step)
            if recorded is not None:
                if recorded.input_hash != step.input_hash:
                    warn_changed(run, step.operation_id, "model call", call.spec.model or call.provider.model)
                if (outcome := recorded.outcome) is not None and outcome.data.get("final", True):
                    if outcome.type == RuntimeEventType.MODEL_FAILED:
                        raise recorded_failure(outcome.data)
                    return load_result(outcome.body())
            token = _CURRENT.set(step)
            try:
                return await self._proceed(step, call, proceed)
            finally:
                _CURRENT.reset(token)

    def _next_step(self, branch: Branch, call: ModelCall) -> _ModelStep:
        """Take a place, and find out what is new in the conversation since the last call of this branch."""
        place = branch.take_place()
        branch.batch = place
        messages = call.spec.messages
        before = branch.conversation
        shared = 0
        while shared < len(before) and shared < len(messages) and before[shared] is messages[shared]:
            shared += 1
        branch.conversation = messages if isinstance(messages, tuple) else tuple(messages)
        fresh = branch.conversation[shared:]
        text = orjson.dumps(
            [call.spec.model or call.provider.model, shared, [dump_message(message) for message in fresh]],
            option=orjson.OPT_NON_STR_KEYS,
            default=repr,
        )
        return _ModelStep(
            branch=branch,
            operation_id=branch.run.operation_id(place),
            input_hash=hashlib.blake2b(text, digest_size=8).hexdigest(),
            fresh=fresh,
            shared=shared,
        )

    async def _proceed(self, step: _ModelStep, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
        run = step.branch.run
        key = call.idempotency_key
        call = call.evolve(
            idempotency_key=None if key is None else f"{run.job_id}:{key}", emit=_live(step, call.emit)
        )
        try:
            result = await proceed(await self._governed(step, call))
        except asyncio.CancelledError:
            if not (step.answer or run.closed or run.stopping or run.draining):
                await asyncio.shield(self._give_up(step, asyncio.CancelledError("the call was cancelled")))
            raise
        except Exception as error:
            if step.answer is not None:  # its time ran out while the answer was being written
                return step.answer
            await self._give_up(step, error)
            raise
        if result is not step.result:
            data = {
                "name": NAME,
                "input": step.input_hash,
                "final": True,
                "cached": result.cached,
                **_about(result),
            }
            event = NewEvent(
                RuntimeEventType.MODEL_COMPLETED, step.operation_id, data, encode(dump_result(result))
            )
            await run.commit([event])
        return result

    async def _governed(self, step: _ModelStep, call: ModelCall) -> ModelCall:
        """Ask the policy about the model that is to be asked, and return the call as it may happen."""
        model = call.spec.model or call.provider.model
        spec, _ = await self._rule(step, call.spec, call.provider.name, model, call.estimator)
        return call if spec is call.spec else call.evolve(spec=spec)

    async def _rule(
        self,
        step: _ModelStep,
        spec: RequestSpec,
        provider: str,
        model: str,
        estimator: TokenEstimator | None,
    ) -> tuple[RequestSpec, str]:
        """Return a request as the policy lets it leave, and the model it may ask. Raises `PolicyDenied`."""
        branch = step.branch
        if not branch.run.governor.governs_models:
            return spec, model
        tokens = (estimator or self._estimator).estimate(spec.messages, spec.tools, model=model)
        ruling = await rule_on_model(branch, branch.batch, provider, model, context_tokens=tokens)
        step.ruled |= {(provider, model), (provider, ruling.model)}
        bounds = ruling.constraints
        if bounds.drop_tools:
            branch.dropped_tools = (*branch.dropped_tools, *bounds.drop_tools)
        if bounds.redact:
            step.fresh = redacted_messages(step.fresh, bounds.redact)
        return ruling.applied(spec, model), ruling.model

    async def _give_up(self, step: _ModelStep, error: BaseException) -> None:
        """Record that the call failed for good, and settle attempts whose answer will never be known."""
        events, parts = lost_attempts(step.operation_id, step.open, step.branch, why="the call was given up")
        step.open.clear()
        data = {"name": NAME, "input": step.input_hash, **describe_failure(error)}
        events.append(NewEvent(RuntimeEventType.MODEL_FAILED, step.operation_id, data))
        await step.branch.run.commit(events, **parts)

    async def attempt(
        self, branch: Branch, attempt: ModelAttempt, proceed: ProceedAttempt
    ) -> CompletionResult:
        """Reserve the worst case together with the intent, ask, and settle together with the outcome."""
        step = _CURRENT.get()
        if step is None:
            return await proceed(attempt)
        recorded = step.recorded
        if recorded is not None and recorded.outcome is not None and step.result is None:
            step.result = load_result(recorded.outcome.body())
            return step.result
        await branch.run.admit_step()
        number = 1 + (recorded.attempts if recorded is not None else 0)
        attempt, bound = await self._admit(step, attempt, number)
        await branch.run.check_alive()
        started_at = branch.run.services.clock.monotonic()
        try:
            result = await proceed(attempt)
        except Exception as error:
            await self._settle_failure(step, number, bound, error, started_at)
            raise
        await self._settle(step, attempt, number, bound, result, started_at)
        return result

    async def _admit(
        self, step: _ModelStep, attempt: ModelAttempt, number: int
    ) -> tuple[ModelAttempt, AtMost]:
        """Commit the intent and the reservation; return the attempt as it was granted."""
        run, provider = step.branch.run, attempt.provider.name
        await run.budgets.refresh()
        if (provider, attempt.model) not in step.ruled:
            spec, _ = await self._rule(step, attempt.spec, provider, attempt.model, attempt.call.estimator)
            attempt = attempt.evolve(spec=spec)

        async def commit(plan: Plan) -> None:
            bound = AtMost.of(plan, provider)
            step.open[number] = bound  # even a caller that is cancelled now has it written
            try:
                await run.commit([_intent(step, attempt, number, bound)], charges=plan.charges)
            except BudgetRejected:
                del step.open[number]
                raise

        async def demand(model: str) -> Demand:
            return await self._demand(run, attempt, model)

        async def degraded(model: str, shortage: Shortage) -> None:
            nonlocal attempt
            data = {"from": attempt.model, "to": model, "budget": shortage.message}
            run.record(NewEvent(RuntimeEventType.BUDGET_DEGRADED, step.operation_id, data))
            spec, ruled = await self._rule(step, attempt.spec, provider, model, attempt.call.estimator)
            if ruled != model:
                raise PolicyDenied(f"the budget asks for model {model!r}, the policy for {ruled!r} instead")
            attempt = attempt.evolve(spec=spec)

        try:
            granted = await run.budgets.reserve_model_call(
                model=attempt.model, provider=provider, demand=demand, commit=commit, degraded=degraded
            )
        except BudgetExceededError as error:
            run.record(NewEvent(RuntimeEventType.BUDGET_DENIED, step.operation_id, {"reason": str(error)}))
            raise
        if granted is None:
            await commit(unbudgeted(await demand(attempt.model)))
            return attempt, step.open[number]
        await warn(run, step.operation_id, granted.crossings)
        plan = granted.plan
        model = attempt.spec.model if plan.model == attempt.model else plan.model
        spec = attempt.spec.evolve(max_tokens=plan.max_tokens, model=model)
        return attempt.evolve(spec=spec), step.open[number]

    async def _demand(self, run: JobRun, attempt: ModelAttempt, model: str) -> Demand:
        """Return what an attempt wants of a model."""
        prices = attempt.call.prices or self._prices
        estimator = attempt.call.estimator or self._estimator
        if prices.needs_loading(attempt.provider.name, model):
            await asyncio.get_running_loop().run_in_executor(None, prices.load)
        spec = attempt.spec
        return Demand(
            model=model,
            estimate=estimator.estimate(spec.messages, spec.tools, model=model),
            bound_input=partial(bound_input, spec, model),
            output_tokens=spec.max_tokens or run.services.options.default_max_tokens,
            cost_of=self._cost_of(attempt, model),
        )

    def _cost_of(self, attempt: ModelAttempt, model: str) -> CostOf:
        prices, provider = attempt.call.prices or self._prices, attempt.provider.name
        media = has_media(attempt.spec.messages)
        tier = attempt.spec.extra.get("service_tier")
        conditions = {"service_tier": tier} if isinstance(tier, str) else None

        @cache
        def cost_of(read: int, written: int) -> int | None:
            cost = prices.worst_case(provider, model, read, written, media=media, conditions=conditions)
            return None if cost is None else to_units(cost)

        return cost_of

    async def _settle(
        self,
        step: _ModelStep,
        attempt: ModelAttempt,
        number: int,
        bound: AtMost,
        result: CompletionResult,
        started_at: float,
    ) -> None:
        run = step.branch.run
        duration = _milliseconds(run.services.clock.monotonic() - started_at)
        usage = result.usage
        spent = spent_by(usage, if_unpriced=bound.cost or 0)
        data = {
            "name": NAME,
            "input": step.input_hash,
            "attempt": number,
            "final": not attempt.call.transformed,
            "usage": dump_usage(usage),
            "duration_ms": duration,
            **_about(result),
        }
        event = NewEvent(
            RuntimeEventType.MODEL_COMPLETED, step.operation_id, data, encode(dump_result(result))
        )
        entry = entry_for(
            run,
            step.operation_id,
            number,
            bound,
            usage,
            spent=spent,
            duration_ms=duration,
            request_id=result.request_id,
        )
        charges = bound.settlement(spent)
        step.open.pop(number, None)  # even a caller that is cancelled now has it written
        step.result = result
        await run.commit([event, *_overrun(step, bound, spent)], ledger=[entry], charges=charges)
        run.budgets.note(charges)
        estimator = attempt.call.estimator or self._estimator
        if bound.holds and usage.input_tokens:
            spec = attempt.spec
            estimator.learn(spec.messages, spec.tools, model=attempt.model, input_tokens=usage.input_tokens)

    async def _settle_failure(
        self,
        step: _ModelStep,
        number: int,
        bound: AtMost,
        error: Exception,
        started_at: float,
    ) -> None:
        """Bill what a failed attempt used: what the vendor said, nothing, or the maximum when its answer was lost."""
        run = step.branch.run
        duration = _milliseconds(run.services.clock.monotonic() - started_at)
        usage, uncertain = _billed(error, bound)
        spent: Amount | None = NOTHING
        if uncertain:
            spent = None
        elif usage.requests:
            spent = spent_by(usage, if_unpriced=bound.cost or 0, answered=False)
        data = {"name": NAME, "attempt": number, "uncertain": uncertain, "duration_ms": duration}
        if usage.requests:
            data["usage"] = dump_usage(usage)
        event = NewEvent(
            RuntimeEventType.MODEL_ATTEMPT_FAILED, step.operation_id, {**data, **describe_failure(error)}
        )
        entry = entry_for(
            run,
            step.operation_id,
            number,
            bound,
            usage,
            spent=spent,
            duration_ms=duration,
            failed=True,
            uncertain=uncertain,
        )
        charges = bound.settlement(spent)
        overrun = _overrun(step, bound, spent) if spent is not None else []
        step.open.pop(number, None)
        await run.commit([event, *overrun], ledger=[entry], charges=charges)
        run.budgets.note(charges)


def _dropped_before(run: JobRun, step: _ModelStep) -> Sequence[str]:
    """Return which tools were not offered when this call was made in an earlier run."""
    recorded = run.history.decisions.get(step.operation_id, {}).values()
    enforced = (decision.get("constraints", {}) for decision in recorded if not decision.get("dry_run"))
    return [name for bounds in enforced for name in bounds.get("drop_tools", ())]


def _overrun(step: _ModelStep, bound: AtMost, spent: Amount) -> list[NewEvent]:
    """Tell that a vendor billed more than the upper bound that was set aside; the ledger has the truth."""
    hold = bound.overrun(spent)
    if hold is None:
        return []
    data = {
        "budget": hold.key[0],
        "window": hold.key[1],
        "reserved": hold.amount.to_dict(),
        "spent": spent.to_dict(),
    }
    return [NewEvent(RuntimeEventType.BUDGET_OVERRUN, step.operation_id, data)]


def _billed(error: Exception, bound: AtMost) -> tuple[Usage, bool]:
    """Return what a failed attempt is billed with, and whether that is only an upper bound.

    What never left, and what the vendor refused, cost nothing. An answer that was lost – or that broke our own code –
    may have cost all that was set aside.
    """
    if isinstance(error, ProviderError) and error.usage is not None:
        return error.usage, False
    if isinstance(error, ProviderError):
        refused = error.status is not None and error.status >= 400
        never_sent = error.code in _NEVER_SENT
        return (Usage(), False) if refused or never_sent else (bound.usage(), True)
    return (Usage(), False) if isinstance(error, LLMClientError) else (bound.usage(), True)


def _intent(step: _ModelStep, attempt: ModelAttempt, number: int, bound: AtMost) -> NewEvent:
    """Build the entry that says a request is about to leave. Only what is new in the conversation goes into it."""
    data = {
        "name": NAME,
        "input": step.input_hash,
        "attempt": number,
        "provider": attempt.provider.name,
        "model": bound.model,
        "shared_messages": step.shared,
        "at_most": bound.to_dict(),
    }
    content = None
    if number == 1:
        given: dict[str, Any] = {"messages": [dump_message(message) for message in step.fresh]}
        if step.shared == 0 and attempt.spec.tools:
            given["tools"] = [tool.name for tool in attempt.spec.tools]
        content = encode(given)
    return NewEvent(RuntimeEventType.MODEL_STARTED, step.operation_id, data, content)


def _about(result: CompletionResult) -> dict[str, Any]:
    about: dict[str, Any] = {
        "model": result.model,
        "provider": result.provider,
        "finish": result.finish_reason,
    }
    if result.tool_calls:
        about["tools"] = [call.name for call in result.tool_calls]
    if result.request_id:
        about["request_id"] = result.request_id
    return about


def _live(step: _ModelStep, emit: Emit | None) -> Emit | None:
    """Send tokens to whoever watches the job, and to the caller who asked for them."""
    run = step.branch.run
    if not run.services.bus.has_listeners(run.job_id):
        return emit

    def both(event: StreamEvent) -> None:
        if emit is not None:
            emit(event)
        if event.type in ("token", "reasoning") and event.text:
            run.publish(
                RuntimeEventType.MODEL_TOKEN,
                step.operation_id,
                {"text": event.text, "reasoning": event.type != "token"},
            )

    return both


def lost_attempts(
    operation_id: str, open_attempts: dict[int, AtMost], branch: Branch, *, why: str
) -> tuple[list[NewEvent], dict[str, Any]]:
    """Return the entries, ledger lines and charges that settle attempts at the most they can have cost."""
    events: list[NewEvent] = []
    ledger, charges = [], []
    for number, bound in open_attempts.items():
        usage = bound.usage()
        data = {
            "name": NAME,
            "attempt": number,
            "uncertain": True,
            "usage": dump_usage(usage),
            "error": why,
            "error_type": "lost",
        }
        events.append(NewEvent(RuntimeEventType.MODEL_ATTEMPT_FAILED, operation_id, data))
        ledger.append(entry_for(branch.run, operation_id, number, bound, usage, failed=True, uncertain=True))
        charges.extend(bound.settlement(None))
    return events, {"ledger": ledger, "charges": charges}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
