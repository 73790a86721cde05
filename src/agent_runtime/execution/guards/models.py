"""Model calls inside a job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from agent_runtime.errors import ContentTooLarge, ResultNotSerializable
from agent_runtime.events.live_calls import LiveCall
from agent_runtime.execution.branch import Branch
from agent_runtime.execution.guards.heard import Heard, recorded_events
from agent_runtime.execution.guards.model_admission import ModelAdmission
from agent_runtime.execution.guards.model_settlement import (
    lost_attempts,
    settle_answer,
    settle_failure,
    settle_left,
)
from agent_runtime.execution.guards.model_step import CURRENT_CALL, ModelStep, about, next_step, step_name
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.operations.changes import warn_changed
from agent_runtime.execution.operations.failed_at import failure_of, note_failure
from agent_runtime.execution.operations.failures import describe_failure, recorded_failure
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from llm_client.codec import dump_usage, load_result
from llm_client.errors import ConfigurationError
from llm_client.json_text import JsonValue, whole_text
from llm_client.messages import CompletionResult, StreamEvent
from llm_client.middleware import Emit, ModelAttempt, ModelCall, ProceedAttempt, ProceedCall
from llm_client.pricing.book import PriceBook
from llm_client.tokens import TokenEstimator
from llm_client.turns import read_aside
from llm_client.usage import Usage

_AT_ONCE: Final = 5_000
"""Events of a recorded answer that are told before others have their turn."""


class ModelGuard:
    """Recalls, admits and settles model calls."""

    def __init__(self, prices: PriceBook, estimator: TokenEstimator) -> None:
        self._admission = ModelAdmission(prices, estimator)
        self._estimator = estimator

    async def call(self, branch: Branch, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
        """Return the recorded answer, or let the call happen and record how it ended."""
        run = branch.run
        with branch.step(step_name(call)):
            await branch.admit()
            step = next_step(branch, call)
            recorded = step.recorded
            if not call.embeds:  # an answer's tools are its own, whatever is embedded meanwhile
                branch.dropped_tools = _dropped_before(run, step)
            if recorded is not None:
                if recorded.input_hash != step.input_hash:
                    warn_changed(run, step.operation_id, "model call", call.spec.model or call.provider.model)
                elif recorded.declaration.type == RuntimeEventType.MODEL_STARTED:
                    await _note_recorded(run, step, call)
                if (outcome := recorded.outcome) is not None and outcome.data.get("final", True):
                    with failure_of(step.operation_id):
                        return await _recall(step, call, outcome)
            if branch.line is not None and (recorded is None or recorded.outcome is None):
                await branch.line.admit()
            token = CURRENT_CALL.set(step)
            try:
                return await self._proceed(step, call, proceed)
            finally:
                CURRENT_CALL.reset(token)

    async def _proceed(self, step: ModelStep, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
        run, key = step.branch.run, call.idempotency_key
        step.heard = None if call.emit is None else Heard(call.emit, run.services.clock.monotonic)
        with _live(step, step.heard) as emit:
            call = call.evolve(
                idempotency_key=None if key is None else f"{run.job_id}:{key}",
                emit=emit,
                scope=run.job.scope_id,
            )
            return await self._ask(step, call, proceed)

    async def _ask(self, step: ModelStep, call: ModelCall, proceed: ProceedCall) -> CompletionResult:
        run, line = step.branch.run, step.branch.line
        try:
            result = await proceed(await self._admission.governed(step, call))
        except asyncio.CancelledError:
            if step.answer is None and run.lifecycle.is_running:
                if line is not None and line.left:
                    await asyncio.shield(settle_left(step))
                else:
                    await asyncio.shield(
                        self._give_up(step, asyncio.CancelledError("the call was cancelled"))
                    )
            raise
        except Exception as error:
            if step.answer is not None:  # its time ran out while the answer was being written
                return step.answer
            await self._give_up(step, error)
            note_failure(error, step.operation_id)
            raise
        if result is not step.result:
            data = {
                "name": step.name,
                "input": step.input_hash,
                "final": True,
                "cached": result.cached,
                **about(result),
                **({"usage": dump_usage(result.usage)} if result.cached else {}),
            }
            event = NewEvent(
                RuntimeEventType.MODEL_COMPLETED, step.operation_id, data, step.content_of(result)
            )
            await run.journal.commit([event])
        if step.is_conversation:
            run.transcripts.note_answer(step.place, result.message())
        return result

    async def _give_up(self, step: ModelStep, error: BaseException) -> None:
        """Record that the call failed for good, and settle attempts whose answer will never be known."""
        events, parts = lost_attempts(
            step.branch.run,
            step.operation_id,
            step.name,
            step.open,
            why="the call was given up",
            running=step.running,
        )
        step.open.clear()
        data = {"name": step.name, "input": step.input_hash, **describe_failure(error)}
        events.append(NewEvent(RuntimeEventType.MODEL_FAILED, step.operation_id, data))
        await step.branch.run.journal.commit(events, **parts)

    async def attempt(
        self, branch: Branch, attempt: ModelAttempt, proceed: ProceedAttempt
    ) -> CompletionResult:
        """Reserve the worst case together with the intent, ask, and settle together with the outcome."""
        step = CURRENT_CALL.get()
        if step is None:
            return await proceed(attempt)
        recorded = step.recorded
        if recorded is not None and recorded.outcome is not None and step.result is None:
            step.result = load_result(recorded.outcome.body())
            return step.result
        await branch.run.gate.admit()
        number = 1 + (recorded.attempts if recorded is not None else 0)
        attempt, bound = await self._admission.admit(step, attempt, number)
        await branch.run.gate.check_alive()
        started_at = branch.run.services.clock.monotonic()
        if step.heard is not None:
            step.heard.start_over()
        step.running.add(number)
        step.answers.clear()
        try:
            result = await proceed(attempt)
        except Exception as error:
            if number in step.open:
                await settle_failure(step, number, bound, error, started_at)
            raise
        finally:
            step.running.discard(number)
        if (
            number not in step.open
        ):  # given up meanwhile, and billed at its maximum: others wait for the answer
            return result
        usage, spec = result.usage, attempt.spec
        is_believed = usage.is_plausible
        if not is_believed:  # the answer is paid for and kept; nobody knows what it has cost
            result = replace(result, usage=bound.usage())
        said = (result.content, result.parts, [call.arguments for call in result.tool_calls])
        try:
            content = await read_aside(said, partial(step.content_of, result))
        except (ContentTooLarge, ResultNotSerializable) as error:
            known = usage if is_believed else None
            await settle_failure(step, number, bound, error, started_at, usage=known)
            raise
        await settle_answer(
            step, attempt, number, bound, result, content, started_at, uncertain=not is_believed
        )
        if bound.holds and usage.input_tokens and is_believed:
            estimator = attempt.call.estimator or self._estimator
            estimator.learn(spec.messages, spec.tools, model=attempt.model, input_tokens=usage.input_tokens)
        return result

    def sending(self, branch: Branch) -> None:
        """Learn that the request of the attempt in flight leaves now: from here on it may cost something.

        Raises:
            ConfigurationError: It has left before. What was set aside is for one.
        """
        step = CURRENT_CALL.get()
        if step is None or not step.open:
            return
        unsent = branch.run.unsent
        if step.attempt_id(max(step.open)) not in unsent:
            step.answers = step.answers or [None]
            raise ConfigurationError(
                "an attempt asks a model once; a middleware that asks again does so in its `call`"
            )
        unsent.difference_update(step.attempt_id(number) for number in step.open)

    def answered(self, usage: Usage | None) -> None:
        """Learn that the attempt in flight has an answer: whoever refuses it pays for it."""
        step = CURRENT_CALL.get()
        if step is not None:
            step.answers.append(usage)


def _dropped_before(run: JobRun, step: ModelStep) -> Sequence[str]:
    """Return which tools were not offered when this call was made in an earlier run."""
    return [name for dropped in _constraints(run, step, "drop_tools") for name in dropped]


def _constraints(run: JobRun, step: ModelStep, name: str) -> list[Sequence[str]]:
    """Return what the recorded decisions about a call say under a name."""
    recorded = run.history.decisions.get(step.operation_id, {}).values()
    enforced = (decision.get("constraints", {}) for decision in recorded if not decision.get("dry_run"))
    return [bounds[name] for bounds in enforced if bounds.get(name)]


async def _note_recorded(run: JobRun, step: ModelStep, call: ModelCall) -> None:
    """Let later requests refer to a recorded one, as the policy of that time let it leave."""
    for kinds in _constraints(run, step, "redact"):
        await step.redact(tuple(kinds))
    step.note_request(call.spec)


async def _recall(step: ModelStep, call: ModelCall, outcome: RuntimeEvent) -> CompletionResult:
    """Return what is recorded of a call, and tell its events to whoever wants to hear them again."""
    if outcome.type == RuntimeEventType.MODEL_FAILED:
        if (
            outcome.data.get("error_type") == asyncio.CancelledError.__name__
        ):  # a bound on time has cut it off
            raise asyncio.CancelledError(outcome.data["error"])
        raise recorded_failure(outcome.data)
    body = outcome.body()
    result = load_result(body)
    if step.is_conversation:
        step.branch.run.transcripts.note_answer(step.place, result.message())
    if call.emit is not None:
        for number, event in enumerate(recorded_events(body, result), 1):
            call.emit(event)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
    if outcome.type == RuntimeEventType.MODEL_LEFT and step.branch.line is not None:
        await step.branch.line.wait_for_release()
    return result


@contextmanager
def _live(step: ModelStep, emit: Emit | None) -> Iterator[Emit | None]:
    """Send tokens to whoever watches the job, and to the caller who asked for them; who comes late is told what has come."""
    run = step.branch.run
    live = run.services.live
    if not (live.is_wanted(run.job_id) or run.services.bus.has_listeners(run.job_id)):
        yield emit
        return
    coming = live.add_call(LiveCall(run.job_id, run.job.scope_id, step.operation_id))

    def both(event: StreamEvent) -> None:
        if emit is not None:
            emit(event)
        if event.type in ("token", "reasoning") and event.text:
            is_reasoning, text = event.type != "token", whole_text(event.text)
            offset = live.add(coming, text, reasoning=is_reasoning)
            data: dict[str, JsonValue] = {
                "text": text,
                "reasoning": is_reasoning,
                "offset": offset,
                "call": coming.call_id,
            }
            run.publish(RuntimeEventType.MODEL_TOKEN, step.operation_id, data)

    try:
        yield both
    finally:
        live.end(coming)
