"""Tool calls inside a job."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from agent_runtime.errors import (
    ActionExpired,
    BudgetExceededError,
    BudgetRejected,
    ContentTooLarge,
    ResultNotSerializable,
)
from agent_runtime.kernel.branch import Branch
from agent_runtime.kernel.effects import WITHOUT_INTENT, JournaledEffect, Outcome, hash_of
from agent_runtime.kernel.failures import public_text
from agent_runtime.kernel.waits import await_action, open_action
from agent_runtime.ports.journal import NewEvent
from agent_runtime.values.action import ActionSpec, ActionType
from agent_runtime.values.content import decode, encode
from agent_runtime.values.event import RuntimeEventType
from llm_client.middleware import ProceedTool, ToolInvocation
from llm_client.tools.execution import NOT_SERIALIZABLE, failure, to_result
from llm_client.tools.tool import ToolResult

_CURRENT: ContextVar[JournaledEffect | None] = ContextVar("agent_runtime_tool_call", default=None)


class ToolGuard:
    """Recalls, admits and records tool calls."""

    async def call(
        self, branch: Branch, place: str, invocation: ToolInvocation, proceed: ProceedTool
    ) -> ToolResult:
        """Return the recorded result, or get the call approved, run it and record what it gave."""
        tool = invocation.tool
        with branch.child(place) as own:
            await branch.run.admit_step()
            effect = JournaledEffect(
                own,
                kind="tool",
                name=tool.name,
                place=place,
                effect=tool.effect,
                arguments=invocation.arguments,
                reconcile=tool.reconcile,
            )
            recorded = await effect.recall()
            if recorded is not None:
                return read_tool_result(recorded)
            if tool.requires_approval:
                approved = await self._approve(own, effect, invocation)
                if isinstance(approved, ToolResult):
                    return await _record(effect, approved)
                invocation = approved
            token = _CURRENT.set(effect)
            try:
                return await self._run(effect, invocation.evolve(operation_id=effect.operation_id), proceed)
            finally:
                _CURRENT.reset(token)

    async def _run(
        self, effect: JournaledEffect, invocation: ToolInvocation, proceed: ProceedTool
    ) -> ToolResult:
        """Run a call. One that ran out of time may still have happened: to its effect that is a crash."""
        result = await proceed(invocation)
        repeated = False
        while result.error_type == "timeout" and _intent_is_open(effect) and not repeated:
            settled = await effect.settle_lost()
            if settled is not None:
                return read_tool_result(settled)
            if effect.effect == "reconcilable":
                break
            repeated = effect.effect == "idempotent"
            result = await proceed(invocation)
        return await _record(effect, result)

    async def _approve(
        self, branch: Branch, effect: JournaledEffect, invocation: ToolInvocation
    ) -> ToolInvocation | ToolResult:
        """Ask a person; return the call as approved, or the result that says who refused and why."""
        tool = invocation.tool
        spec = ActionSpec(
            type=ActionType.APPROVAL,
            payload={"tool": tool.name, "arguments": dict(invocation.arguments), "effect": tool.effect},
            timeout_seconds=tool.approval_timeout,
        )
        operation_id = f"{effect.operation_id}?"
        action = await open_action(branch, operation_id, spec, argument_hash=hash_of(invocation.arguments))
        try:
            answered = await await_action(branch, action)
        except ActionExpired as error:
            return failure(f"nobody approved this call: {error}", "denied")
        answer = answered.resolution or {}
        if not answer.get("approved"):
            who = answered.resolved_by or "an approver"
            reason = f": {answer['reason']}" if answer.get("reason") else ""
            return failure(f"{who} refused this call{reason}", "denied")
        edited = answer.get("arguments")
        return invocation.evolve(arguments=dict(edited)) if isinstance(edited, dict) else invocation

    async def attempt(self, branch: Branch, invocation: ToolInvocation, proceed: ProceedTool) -> ToolResult:
        """Write the intent, then let the function run in a branch of its own."""
        effect = _CURRENT.get()
        if effect is None:
            return await proceed(invocation)
        await branch.run.admit_step()
        await _intend(effect)
        place = branch.place if invocation.attempt == 1 else f"{branch.place}~{invocation.attempt}"
        token = _CURRENT.set(None)
        try:
            with branch.child(place) as inner:
                inner.effect = effect.step
                return await proceed(invocation)
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
    charges = budgets.charge_tool_call()
    try:
        await effect.intend(charges=charges)
    except BudgetRejected as error:
        said = budgets.said(error.budget_id)
        reason = f"budget {said}: its limit of tool calls is reached"
        effect.run.record(NewEvent(RuntimeEventType.BUDGET_DENIED, effect.operation_id, {"reason": reason}))
        raise BudgetExceededError(reason) from error
    budgets.note(charges)


def _intent_is_open(effect: JournaledEffect) -> bool:
    step = effect.step
    return step is not None and step.open_intent is not None and effect.effect not in WITHOUT_INTENT


async def _record(effect: JournaledEffect, result: ToolResult) -> ToolResult:
    """Write a tool's result as the call's outcome and return it as it will be read again."""
    try:
        content = encode({"content": result.content, "value": result.value})
    except (ResultNotSerializable, ContentTooLarge) as error:
        result = failure(str(error), NOT_SERIALIZABLE)
        content = encode({"content": result.content, "value": None})
    data: dict[str, Any] = {}
    if result.error is not None:
        data = {"error": public_text(result.error), "error_type": result.error_type}
    budgets = effect.run.budgets
    charges = [] if budgets.limits_tool_calls else budgets.charge_tool_call()
    await effect.finish(ok=result.success, data=data, content=content, charges=charges)
    budgets.note(charges)
    return result


def read_tool_result(outcome: Outcome) -> ToolResult:
    """Build a tool's result from its outcome in the journal."""
    body = decode(outcome.content) if outcome.content is not None else None
    error = outcome.data.get("error")
    if error is not None:
        content = body["content"] if isinstance(body, dict) else f"Error: {error}"
        return ToolResult(content=content, error=error, error_type=outcome.data.get("error_type"))
    if outcome.data.get("reconciled"):
        return to_result(body)
    written: dict[str, Any] = body or {}
    return ToolResult(content=written.get("content", ""), value=written.get("value"))
