"""What may leave for a model: by policy, and with what is set aside for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Final

from agent_runtime.errors import BudgetExceededError, PolicyDenied
from agent_runtime.execution.guards.model_policy import (
    judge_model,
    judge_models_instead,
    judge_server_tool,
    refuse_replaced,
    server_tools_of,
)
from agent_runtime.execution.guards.model_step import ModelStep, offered_tools
from agent_runtime.execution.guards.money import AtMost
from agent_runtime.execution.guards.pinning import new_pins
from agent_runtime.execution.job_run import JobRun
from agent_runtime.ledger.reservations import CostOf, Demand, Plan, Shortage, unbudgeted
from agent_runtime.ledger.room import BUDGET_TIMER
from agent_runtime.ledger.token_bounds import Unbounded, bound_input, foreign_extras, has_media
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.content import encode
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.fingerprint import hash_of
from agent_runtime.values.money import to_units
from agent_runtime.values.policy import Constraints
from llm_client.codec import dump_message
from llm_client.extra_fields import SAID, models_instead, replaced_field
from llm_client.json_text import JsonValue
from llm_client.middleware import ModelAttempt, ModelCall
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import asked_conditions
from llm_client.spec import RequestSpec
from llm_client.tokens import TokenEstimator
from llm_client.turns import aside, read_aside

_MOST_OUTPUT: Final = 10**9
"""Tokens of output that a budget reckons with at most; what a request names beyond is no bound."""


class ModelAdmission:
    """Asks the policy about calls and attempts, and reserves what an attempt can cost together with its intent.

    Args:
        prices: What calls can cost at most.
        estimator: How many tokens a request's input takes.
    """

    def __init__(self, prices: PriceBook, estimator: TokenEstimator) -> None:
        self._prices = prices
        self._estimator = estimator

    async def governed(self, step: ModelStep, call: ModelCall) -> ModelCall:
        """Ask the policy about the model that is to be asked, and return the call as it may happen."""
        model = call.spec.model or call.provider.model
        spec, _ = await self.rule(step, call.spec, call.provider.name, model, call.estimator)
        return call if spec is call.spec else call.evolve(spec=spec)

    async def rule(
        self,
        step: ModelStep,
        spec: RequestSpec,
        provider: str,
        model: str,
        estimator: TokenEstimator | None,
    ) -> tuple[RequestSpec, str]:
        """Return a request as the policy lets it leave, and the model it may ask. Raises `PolicyDenied`."""
        branch = step.branch
        self._check_extra(step, spec)
        if branch.run.enforcer.governs_models:
            tokens = (estimator or self._estimator).estimate(spec.messages, spec.tools, model=model)
            ruling = await judge_model(branch, step.place, provider, model, context_tokens=tokens)
            others = await judge_models_instead(
                branch, step.place, provider, spec.extra, context_tokens=tokens
            )
            step.ruled |= {(provider, name) for name in (model, ruling.model, *others)}
            bounds = Constraints.tightest([ruling.constraints, *others.values()])
            if bounds.drop_tools:
                branch.dropped_tools = (*branch.dropped_tools, *bounds.drop_tools)
            if bounds.redact:
                await step.redact(bounds.redact)
                spec = spec.evolve(messages=await step.redacted(spec.messages, bounds.redact))
            spec, model = replace(ruling, constraints=bounds).applied(spec, model), ruling.model
        return await self._rule_on_server_tools(step, spec), model

    def _check_extra(self, step: ModelStep, spec: RequestSpec) -> None:
        """Refuse what would take the place of what is ruled on. Raises `PolicyDenied`."""
        if step.branch.run.enforcer.enforces_on_models:
            refuse_replaced(spec.extra)

    async def _rule_on_server_tools(self, step: ModelStep, spec: RequestSpec) -> RequestSpec:
        """Ask the policy about tools that run at the vendor, where nobody sees their calls; once for each way to declare one."""
        for name, told in server_tools_of(spec):
            about = (name, hash_of(told))
            if about in step.ruled_tools:
                continue
            kinds = await judge_server_tool(step.branch, step.place, name, told)
            step.ruled_tools.add(about)
            if kinds:
                refuse_replaced(spec.extra, SAID)
                await step.redact(kinds)
                spec = spec.evolve(messages=await step.redacted(spec.messages, kinds))
        return spec

    async def admit(self, step: ModelStep, attempt: ModelAttempt, number: int) -> tuple[ModelAttempt, AtMost]:
        """Commit the intent and the reservation; return the attempt as it was granted."""
        run, provider = step.branch.run, attempt.provider.name
        await run.budgets.refresh()
        attempt = await self._ruled(step, attempt)

        async def commit(plan: Plan) -> None:
            bound = AtMost.of(plan, provider)
            step.open[number] = bound  # a caller that is cancelled now may have it written
            run.unsent.add(step.attempt_id(number))
            try:
                timers = [(run.job_id, BUDGET_TIMER)] if run.history.room_wanted is not None else []
                pins = new_pins(run.history, step.operation_id, attempt.spec.tools)
                intent = await _intent(step, attempt, number, bound)
                await run.journal.commit([*pins, intent], charges=plan.charges, clear_timers=timers)
            except (Exception, asyncio.CancelledError):
                if not step.is_begun(number):  # refused, or cancelled before it was its turn to be written:
                    del step.open[number]  # nothing is set aside, and nothing must be given back
                    run.unsent.discard(step.attempt_id(number))
                raise
            if number == 1:
                step.note_request(attempt.spec)

        async def demand(model: str) -> Demand:
            return await self._demand(run, attempt, model)

        async def degraded(model: str, shortage: Shortage) -> None:
            nonlocal attempt
            data = {"from": attempt.model, "to": model, "budget": shortage.message}
            run.journal.record(NewEvent(RuntimeEventType.BUDGET_DEGRADED, step.operation_id, data))
            spec, ruled = await self.rule(step, attempt.spec, provider, model, attempt.call.estimator)
            if ruled != model:
                raise PolicyDenied(f"the budget asks for model {model!r}, the policy for {ruled!r} instead")
            attempt = attempt.evolve(spec=spec)

        try:
            granted = await run.budgets.reserve_model_call(
                model=attempt.model, provider=provider, demand=demand, commit=commit, degraded=degraded
            )
        except BudgetExceededError as error:
            run.journal.record(
                NewEvent(RuntimeEventType.BUDGET_DENIED, step.operation_id, {"reason": str(error)})
            )
            raise
        if granted is None:
            step.budgets = ()
            await commit(unbudgeted(await demand(attempt.model)))
            return attempt, step.open[number]
        plan, step.budgets = granted.plan, granted.budgets
        if plan.model != attempt.model or plan.max_tokens != attempt.spec.max_tokens:
            model = attempt.spec.model if plan.model == attempt.model else plan.model
            attempt = attempt.evolve(spec=attempt.spec.evolve(max_tokens=plan.max_tokens, model=model))
        return attempt, step.open[number]

    async def _ruled(self, step: ModelStep, attempt: ModelAttempt) -> ModelAttempt:
        """Ask the policy about what a fallback or a middleware has changed since the call was ruled on."""
        asked = (attempt.model, *models_instead(attempt.spec.extra))
        if step.ruled.issuperset((attempt.provider.name, model) for model in asked):
            self._check_extra(step, attempt.spec)
            spec = await self._rule_on_server_tools(step, attempt.spec)
        else:
            spec, _ = await self.rule(
                step, attempt.spec, attempt.provider.name, attempt.model, attempt.call.estimator
            )
        return attempt if spec is attempt.spec else attempt.evolve(spec=spec)

    async def _demand(self, run: JobRun, attempt: ModelAttempt, model: str) -> Demand:
        """Return what an attempt wants of a model."""
        prices = attempt.call.prices or self._prices
        estimator = attempt.call.estimator or self._estimator
        if prices.needs_loading(attempt.provider.name, model):
            await aside(prices.load)
        spec = attempt.spec
        bound: Callable[[], int | Unbounded] = partial(bound_input, spec, model)
        if run.budgets.bounds_input:  # of a long request in a thread, before it is needed
            known = await read_aside(_read_of(spec), bound)
            bound = lambda: known  # noqa: E731 -- what is known is given
        return Demand(
            model=model,
            estimate=estimator.estimate(spec.messages, spec.tools, model=model),
            bound_input=bound,
            output_tokens=run.services.options.default_max_tokens
            if spec.max_tokens is None
            else min(spec.max_tokens, _MOST_OUTPUT),
            cost_of=self._cost_of(attempt, model),
            turns=0 if attempt.call.embeds else 1,
            replaced_by=replaced_field(spec.extra),
        )

    def _cost_of(self, attempt: ModelAttempt, model: str) -> CostOf:
        prices, provider = attempt.call.prices or self._prices, attempt.provider.name
        extra = attempt.spec.extra
        spec = attempt.spec
        media = has_media(spec.messages) or bool(spec.server_tools) or bool(foreign_extras(extra))
        conditions = asked_conditions(extra) if extra else None

        @cache
        def cost_of(read: int, written: int) -> int | None:
            cost = prices.worst_case(provider, model, read, written, media=media, conditions=conditions)
            return None if cost is None else to_units(cost)

        return cost_of


def _read_of(spec: RequestSpec) -> list[object]:
    """Return what is gone through of a request to find how much it is at most."""
    read: list[object] = [message.content for message in spec.messages]
    read += [(call.arguments, call.malformed) for message in spec.messages for call in message.tool_calls]
    return [*read, [(tool.description, tool.parameters) for tool in spec.tools], spec.output_schema]


async def _intent(step: ModelStep, attempt: ModelAttempt, number: int, bound: AtMost) -> NewEvent:
    """Build the entry that says a request is about to leave. Only what is new in the conversation goes into it."""
    data: dict[str, JsonValue] = {
        "name": step.name,
        "input": step.input_hash,
        "attempt": number,
        "provider": attempt.provider.name,
        "model": bound.model,
        "messages": len(step.messages),
        "shared_messages": 0,
        "at_most": bound.to_dict(),
    }
    content = None
    if number == 1:
        given = _request(step, attempt, data)
        content = await read_aside(given, partial(encode, given))
    return NewEvent(RuntimeEventType.MODEL_STARTED, step.operation_id, data, content)


def _request(step: ModelStep, attempt: ModelAttempt, data: dict[str, JsonValue]) -> dict[str, Any]:
    """Return what is asked, as it is written: the messages that are new, and references to the others."""
    if not step.is_conversation:
        return {"messages": [dump_message(message) for message in step.messages]}
    transcripts = step.branch.run.transcripts
    described = transcripts.describe(step.messages)
    data["shared_messages"] = len(step.messages) - len(described.fresh)
    given: dict[str, Any] = {"messages": [dump_message(message) for message in described.fresh]}
    if len(described.fresh) < len(step.messages):
        given["request"] = described.parts
    tools = offered_tools(attempt.spec)
    if tools != list(transcripts.tools_of(described)):
        given["tools"] = tools
    return given
