"""Tool calls inside a job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any

from agent_runtime.errors import (
    ActionExpired,
    BudgetExceededError,
    BudgetRejected,
    ContentTooLarge,
    InvalidInput,
    ResultNotSerializable,
)
from agent_runtime.execution.branch import Branch, Operation
from agent_runtime.execution.guards.crossings import record_crossings
from agent_runtime.execution.guards.model_policy import is_dropped
from agent_runtime.execution.guards.pinning import agreed_pin, is_changed, new_pins
from agent_runtime.execution.guards.tool_policy import (
    ApprovalOfCall,
    approval_for,
    redacted_result,
    rule_on_tool,
)
from agent_runtime.execution.operations.effects import WITHOUT_INTENT, JournaledEffect, Outcome
from agent_runtime.execution.operations.results import result_type
from agent_runtime.ledger.token_bounds import has_bound
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.content import content_aside, decode, encode
from agent_runtime.values.event import RuntimeEventType
from llm_client.agent.middleware.failures import DENIED, EXPIRED
from llm_client.codec import dump_part
from llm_client.errors import ToolError
from llm_client.messages import MediaPart, ToolCall
from llm_client.middleware import ProceedTool, ToolInvocation
from llm_client.public_text import public_text
from llm_client.tools.arguments import completed_aside
from llm_client.tools.execution import (
    NOT_SERIALIZABLE,
    failure,
    failure_of,
    invalid_arguments,
    media_of,
    to_result,
)
from llm_client.tools.tool import Tool, ToolResult
from llm_client.turns import read_aside

_LEFT_OUT = "[media of unknown size are left out, as a budget bounds what may be read]"
_OF_VALUE = "value"
"""Where the media of a result are, if its value holds them."""
_CURRENT: ContextVar[JournaledEffect | None] = ContextVar("agent_runtime_tool_call", default=None)


class ToolGuard:
    """Recalls, admits and records tool calls."""

    async def call(
        self, branch: Branch, operation: Operation, invocation: ToolInvocation, proceed: ProceedTool
    ) -> ToolResult:
        """Return the recorded result, or get the call approved, run it and record what it gave."""
        with branch.child(operation.place, is_line=False) as own:
            try:
                return await self._admitted(branch, own, operation, invocation, proceed)
            except asyncio.CancelledError as cancelled:
                # Calls of one answer run in tasks of their own, which are cancelled when another of them ends the run: only
                # who cancels the line itself is refused.
                raise branch.left_by(cancelled, branch.task) from None

    async def _admitted(
        self,
        branch: Branch,
        own: Branch,
        operation: Operation,
        invocation: ToolInvocation,
        proceed: ProceedTool,
    ) -> ToolResult:
        tool = invocation.tool
        await branch.admit()
        effect = JournaledEffect(
            own,
            kind="tool",
            name=tool.name,
            operation=operation,
            effect=tool.effect,
            arguments=invocation.arguments,
            reconcile=tool.reconcile,
            write_result=lambda result: told_result(tool, result),
        )
        recorded = await effect.recall()
        if recorded is not None:
            return await _as_recorded(effect, recorded)
        if branch.line is not None and effect.step is None:
            await branch.line.admit()
        ruled = await self._rule(own, branch.dropped_tools, effect, invocation)
        if isinstance(ruled, ToolResult):
            return await _record(effect, ruled)
        recorded = await effect.agree(ruled.arguments)
        if recorded is not None:
            return await _as_recorded(effect, recorded)
        token = _CURRENT.set(effect)
        try:
            attempt = 1 if effect.step is None else effect.step.attempt
            ruled = ruled.evolve(operation_id=effect.operation_id, attempt=attempt)
            return await self._run(effect, ruled, proceed)
        except asyncio.CancelledError:
            await effect.settle_interrupted()
            raise
        finally:
            _CURRENT.reset(token)

    async def recall(self, branch: Branch, operation: Operation, call: ToolCall) -> ToolResult | None:
        """Return what is on record of a call that cannot be made any more; people say what became of one whose outcome was lost."""
        step = operation.step
        assert step is not None  # noqa: S101 -- its caller has looked
        with branch.child(operation.place, is_line=False) as own:
            await branch.admit()
            effect = JournaledEffect(
                own,
                kind="tool",
                name=call.name,
                operation=operation,
                effect=step.declaration.data.get("effect", "read"),
                arguments=call.arguments,
            )
            recorded = await effect.recall()
        if recorded is None:
            return None
        return await _as_recorded(effect, recorded)

    async def _rule(
        self,
        own: Branch,
        dropped: Sequence[str],
        effect: JournaledEffect,
        invocation: ToolInvocation,
    ) -> ToolInvocation | ToolResult:
        """Ask the policy, and a person where it or the tool wants one; return the call, or the result that refuses it.

        Rules and people see what the tool will see: its arguments checked and converted, with defaults filled in, and exactly those
        are run. What a person has edited is ruled on like any other call. What was under way before is what is made again.
        """
        consent = ApprovalOfCall(
            own, effect, is_changed=is_changed(own.run.history, effect.ruled_at, invocation.tool)
        )
        try:
            again = effect.arguments_again()
            given = invocation.arguments if again is None else again
            invocation = invocation.evolve(arguments=await completed_aside(invocation.tool, given))
        except ToolError as error:
            return invalid_arguments(error)
        while True:
            if is_dropped(invocation.tool.name, dropped):
                return failure("this tool may not be used here", DENIED)
            if (budget := own.run.budgets.refuses_tool_call(invocation.index)) is not None:
                return failure(
                    f"budget {budget.display_name}: not run, one answer may not call more tools", DENIED
                )
            result = await rule_on_tool(own.run, effect.ruled_at, invocation)
            if isinstance(result, ToolResult):
                return result
            approval = approval_for(invocation.tool, result, is_changed=consent.is_changed)
            if approval is None or consent.is_given(invocation, approval):
                self._pin(effect, invocation.tool, is_agreed=consent.is_changed)
                return invocation
            self._pin(effect, invocation.tool, is_agreed=False)  # a yes is to what it is now
            agreed = await consent.ask(invocation, approval, result)
            if isinstance(agreed, ToolResult):
                return agreed
            invocation = agreed

    def _pin(self, effect: JournaledEffect, tool: Tool, *, is_agreed: bool) -> None:
        """Write what a foreign server says of a tool: at the first call, and when people have agreed to something else."""
        run, operation_id = effect.run, effect.ruled_at
        pins = new_pins(run.history, operation_id, [tool])
        if is_agreed and run.history.definitions[tool.name][-1][1] != tool.definition:
            pins = [agreed_pin(operation_id, tool)]
        for pin in pins:
            run.journal.record(pin)

    async def _run(
        self, effect: JournaledEffect, invocation: ToolInvocation, proceed: ProceedTool
    ) -> ToolResult:
        """Run a call. One that ran out of time may still have happened: to its effect that is a crash."""
        result = await proceed(invocation)
        repeated = False
        while result.error_type == "timeout" and _intent_is_open(effect) and not repeated:
            settled = await effect.settle_lost()
            if settled is not None:
                return await _as_recorded(effect, settled)
            if effect.effect == "reconcilable":
                break
            repeated = effect.effect == "idempotent"
            result = await proceed(invocation)
        result = await redacted_result(result, effect.run, effect.ruled_at)
        return await _record(effect, _bounded(effect, result), with_next=invocation.unseen)

    async def attempt(self, branch: Branch, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Write the intent, then let the function run in a branch of its own."""
        effect = _CURRENT.get()
        if effect is None:
            return await proceed(invocation)
        await branch.run.gate.admit()
        await _intend(effect)
        place = branch.place if invocation.attempt == 1 else f"{branch.place}~{invocation.attempt}"
        token = _CURRENT.set(None)
        try:
            async with branch.nested(place) as inner:
                inner.effect, inner.attempt = effect.step, invocation.attempt
                return await proceed(invocation)
        except ActionExpired as error:  # a question of the tool's own: for the model to read, like a policy's
            return failure(str(error), EXPIRED)
        except asyncio.CancelledError as error:
            if branch.is_cut_off():
                raise
            return failure_of(error)
        finally:
            _CURRENT.reset(token)


async def _intend(effect: JournaledEffect) -> None:
    """Write the intent, counted in the budgets where one bounds tool calls."""
    budgets = effect.run.budgets
    await budgets.refresh()
    step = effect.step
    if not budgets.limits_tool_calls or (step is not None and step.open_intent is not None):
        await effect.intend()
        return
    while True:
        try:
            await effect.intend(charges=budgets.charge_tool_call())
            break
        except BudgetRejected as rejected:
            error = rejected
        said = budgets.display_name(error.budget_id)
        reason = f"budget {said}: its limit of tool calls is reached"
        if await budgets.wait_for_tool_call(error.budget_id, reason):
            continue
        effect.run.journal.record(
            NewEvent(RuntimeEventType.BUDGET_DENIED, effect.operation_id, {"reason": reason})
        )
        raise BudgetExceededError(reason) from error
    bounding = [budget for budget in budgets.applicable() if budget.limits.tool_calls is not None]
    await record_crossings(effect.run, effect.operation_id, bounding)


def _bounded(effect: JournaledEffect, result: ToolResult) -> ToolResult:
    """Return a result without media that no budget could bound: the model's next call would be refused for them."""
    if not result.media or not effect.run.budgets.bounds_input:
        return result
    left = tuple(filter(has_bound, result.media))
    return (
        result
        if left == result.media
        else replace(result, content=f"{result.content}\n{_LEFT_OUT}", media=left)
    )


async def _as_recorded(effect: JournaledEffect, recorded: Outcome) -> ToolResult:
    """Return what the journal has of a call, as the model is shown it."""
    result = await content_aside(recorded.content, partial(read_tool_result, recorded))
    return await redacted_result(result, effect.run, effect.ruled_at)


def _intent_is_open(effect: JournaledEffect) -> bool:
    step = effect.step
    return step is not None and step.open_intent is not None and effect.effect not in WITHOUT_INTENT


async def _record(effect: JournaledEffect, result: ToolResult, *, with_next: bool = False) -> ToolResult:
    """Write a tool's result as the call's outcome and return it as it will be read again."""
    try:
        content = await read_aside(result, partial(_written, result))
    except (ResultNotSerializable, ContentTooLarge) as error:
        result = failure(str(error), NOT_SERIALIZABLE)
        content = _written(result)
    data: dict[str, Any] = {}
    if result.error is not None:
        data = {"error": public_text(result.error), "error_type": result.error_type}
    budgets = effect.run.budgets
    charges = [] if budgets.limits_tool_calls else budgets.charge_tool_call()
    await effect.finish(ok=result.success, data=data, content=content, charges=charges, with_next=with_next)
    return result


def _written(result: ToolResult) -> bytes:
    return encode(_body(result))


def _body(result: ToolResult) -> dict[str, Any]:
    """Return a result as it is written: without the text that follows from the value, and without media that are in it."""
    body: dict[str, Any] = {"value": result.value}
    if result.media:
        is_said = media_of(result.value) == result.media
        body["media"] = _OF_VALUE if is_said else [dump_part(part) for part in result.media]
    return body if to_result(result.value).content == result.content else body | {"content": result.content}


def told_result(tool: Tool, given: object) -> bytes:
    """Return what a person, or the tool itself, says that a lost call has given, if the tool can have given it."""
    returns = result_type(tool.handler)
    if returns.declared is ToolResult:
        return encode(given)
    result = to_result(returns.told(given))
    if result.error is not None:
        raise InvalidInput(f"cannot be recorded: {result.error}")
    return encode(result.value)


def read_tool_result(outcome: Outcome) -> ToolResult:
    """Build a tool's result from its outcome in the journal."""
    body = decode(outcome.content) if outcome.content is not None else None
    error = outcome.data.get("error")
    if error is not None:
        content = body["content"] if isinstance(body, dict) else f"Error: {error}"
        kind = outcome.data.get("error_type")
        return ToolResult(content=content, error=error, error_type=kind, media=_media(body))
    if outcome.data.get("reconciled"):
        return to_result(body)
    written: dict[str, Any] = body or {}
    value = written.get("value")
    content = written.get("content")
    said = to_result(value).content if content is None else content
    return ToolResult(content=said, value=value, media=_media(written))


def _media(body: Any) -> tuple[MediaPart, ...]:
    """Return the media of a result as it is written."""
    media = body.get("media", ()) if isinstance(body, dict) else ()
    return media_of(body["value"] if media == _OF_VALUE else list(media))
