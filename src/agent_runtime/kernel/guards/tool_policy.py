"""What a job's policy, and the people it asks, do to its tool calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from agent_runtime.errors import ActionExpired
from agent_runtime.kernel.branch import Branch
from agent_runtime.kernel.effects import JournaledEffect, hash_of
from agent_runtime.kernel.governor import redactor, refusal_of
from agent_runtime.kernel.run import JobRun
from agent_runtime.kernel.waits import await_action, open_action
from agent_runtime.values.action import ActionRecord, ActionSpec, ActionType
from agent_runtime.values.policy import Approval, PolicyAction, PolicyDecision, PolicyResult
from llm_client.errors import ToolError
from llm_client.middleware import ToolInvocation
from llm_client.tools.execution import failure
from llm_client.tools.tool import Tool, ToolResult

DENIED: Final = "denied"


def rule_on_tool(run: JobRun, operation_id: str, invocation: ToolInvocation) -> PolicyResult | ToolResult:
    """Ask the policy about a call and the data its tool reaches; return the answer, or the result that refuses it."""
    tool, governor = invocation.tool, run.governor
    for connector in tool.connectors:
        reach = governor.decide(PolicyAction.CONNECTOR, operation_id, connector)
        if reach.decision is PolicyDecision.DENY:
            return failure(f"connector {connector!r}: {refusal_of(reach)}", DENIED)
    result = governor.decide(
        PolicyAction.TOOL,
        operation_id,
        tool.name,
        arguments=invocation.arguments,
        call_index=invocation.index,
    )
    return failure(refusal_of(result), DENIED) if result.decision is PolicyDecision.DENY else result


def approval_for(tool: Tool, result: PolicyResult) -> Approval | None:
    """Return whose yes a call needs: the tool's author may want one, the policy another; one question serves both."""
    asked = result.approval if result.decision is PolicyDecision.REQUIRE_APPROVAL else None
    if not tool.requires_approval:
        return asked
    if asked is None:
        return Approval(timeout_seconds=tool.approval_timeout)
    return replace(asked, timeout_seconds=min(asked.timeout_seconds, tool.approval_timeout))


async def ask_approval(
    branch: Branch,
    effect: JournaledEffect,
    invocation: ToolInvocation,
    approval: Approval,
    result: PolicyResult,
) -> ToolInvocation | ToolResult:
    """Ask a person; return the call as approved, or the result that says who refused and why.

    The answer is bound to this operation and these arguments: an approval that was given for others is not used.
    """
    tool = invocation.tool
    payload = {"tool": tool.name, "arguments": dict(invocation.arguments), "effect": tool.effect}
    if result.rule is not None:
        payload["reason"] = refusal_of(result)
    spec = ActionSpec(
        type=ActionType.APPROVAL,
        payload=payload,
        timeout_seconds=approval.timeout_seconds,
        approvers=approval.approvers,
        quorum=approval.quorum,
    )
    wanted = hash_of(invocation.arguments)
    operation_id = f"{effect.operation_id}?"
    action = await open_action(branch, operation_id, spec, argument_hash=wanted)
    if action.argument_hash != wanted:
        action = await open_action(branch, f"{operation_id}{wanted}", spec, argument_hash=wanted)
    try:
        answered = await await_action(branch, action)
    except ActionExpired as error:
        return failure(f"nobody approved this call: {error}", DENIED)
    return _answered(answered, invocation)


def _answered(answered: ActionRecord, invocation: ToolInvocation) -> ToolInvocation | ToolResult:
    answer = answered.resolution or {}
    if not answer.get("approved"):
        who = answered.resolved_by or "an approver"
        reason = f": {answer['reason']}" if answer.get("reason") else ""
        return failure(f"{who} refused this call{reason}", DENIED)
    edited = answer.get("arguments")
    if not isinstance(edited, dict) or edited == invocation.arguments:
        return invocation
    if invocation.tool.validate is not None:
        try:
            invocation.tool.validate(edited)
        except ToolError as error:
            return failure(f"the approver's arguments do not match the tool's schema: {error}", DENIED)
    return invocation.evolve(arguments=dict(edited))


def redacted_result(result: ToolResult, run: JobRun, operation_id: str) -> ToolResult:
    """Return a result without what the policy takes out of it."""
    recorded = run.history.decisions.get(operation_id)
    if recorded is None:
        return result
    kinds = sorted(
        {
            kind
            for (action, _), decision in recorded.items()
            if action == PolicyAction.TOOL and not decision.get("dry_run")
            for kind in decision.get("constraints", {}).get("redact", ())
        }
    )
    if not kinds:
        return result
    cleaner = redactor(tuple(kinds))
    return ToolResult(
        content=cleaner.text(result.content),
        value=cleaner.redact(result.value),
        error=cleaner.redact(result.error),
        error_type=result.error_type,
    )
