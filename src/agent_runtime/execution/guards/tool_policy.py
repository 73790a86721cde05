"""What a job's policy, and the people it asks, do to its tool calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from agent_runtime.actions.resolution import NOTHING_TO_EDIT
from agent_runtime.errors import ActionExpired, ContentTooLarge, ResultNotSerializable
from agent_runtime.execution.approvals import Verdict, approval_spec
from agent_runtime.execution.branch import Branch
from agent_runtime.execution.guards.pinning import CHANGED
from agent_runtime.execution.guards.redacted import redacted_result_of
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.operations.effects import JournaledEffect
from agent_runtime.execution.operations.waits import await_action, open_action
from agent_runtime.execution.policy_enforcer import refusal_of
from agent_runtime.values.action import ActionRecord
from agent_runtime.values.content import encode
from agent_runtime.values.fingerprint import hash_of
from agent_runtime.values.policy import Approval, PolicyAction, PolicyDecision, PolicyResult
from llm_client.agent.middleware.failures import DENIED, EXPIRED, REFUSED
from llm_client.errors import ToolError
from llm_client.json_text import JsonObject, JsonValue
from llm_client.middleware import ToolInvocation
from llm_client.tools.arguments import completed_aside
from llm_client.tools.execution import failure
from llm_client.tools.tool import Tool, ToolResult
from llm_client.turns import read_aside

MAX_SCHEMA_BYTES: Final = 64 * 1024
"""Bytes of content of a tool's schema that is kept with each question about it."""


async def rule_on_tool(
    run: JobRun, operation_id: str, invocation: ToolInvocation
) -> PolicyResult | ToolResult:
    """Ask the policy about a call and the data its tool reaches; return the answer, or the result that refuses it."""
    tool, enforcer = invocation.tool, run.enforcer
    for connector in tool.connectors:
        reach = await enforcer.decide(PolicyAction.CONNECTOR, operation_id, connector)
        if reach.decision is PolicyDecision.DENY:
            return failure(f"connector {connector!r}: {refusal_of(reach)}", DENIED)
    arguments, hidden = invocation.arguments, run.tokens.hidden  # they are other ones in each run
    result = await enforcer.decide(
        PolicyAction.TOOL,
        operation_id,
        tool.name,
        arguments=arguments,
        argument_hash=await read_aside(arguments, lambda: hash_of(hidden(arguments))),
        call_index=invocation.index,
    )
    return failure(refusal_of(result), DENIED) if result.decision is PolicyDecision.DENY else result


def approval_for(tool: Tool, result: PolicyResult, *, is_changed: bool = False) -> Approval | None:
    """Return whose yes a call needs: the tool's author may want one, the policy another; one question serves both.

    A tool that has become another one since the job met it (`is_changed`) needs one as well.

    The policy says who and how many, and how long it waits; where it names no time, the tool's holds.
    """
    asked = result.approval if result.decision is PolicyDecision.REQUIRE_APPROVAL else None
    if not (tool.requires_approval or is_changed):
        return asked
    if asked is None:
        return Approval(timeout_seconds=tool.approval_timeout)
    return (
        asked if asked.timeout_seconds is not None else replace(asked, timeout_seconds=tool.approval_timeout)
    )


class ApprovalOfCall:
    """Asks people about a call until they have said yes to what is going to be done, or no.

    What they have edited is another call, on which everything that rules on calls rules again: it may need other
    people's approval, which is asked for unless those who made the edit can give it. Each question is bound to the
    hash of the call it shows, so that an answer about another tool or other arguments is never used.

    Args:
        branch: Where it waits.
        effect: The call's.
        is_changed: Whether the tool is another one than the job has met.
    """

    def __init__(self, branch: Branch, effect: JournaledEffect, *, is_changed: bool = False) -> None:
        self._branch = branch
        self._effect = effect
        self.is_changed = is_changed
        """They are told so, and agree to what the tool is now."""
        self._given: tuple[str, Verdict] | None = None
        """The newest yes, and which call it is for."""
        self._asked: Counter[str] = Counter()
        """How often about which call."""

    def is_given(self, invocation: ToolInvocation, approval: Approval) -> bool:
        """Whether those who have said yes to this very call may; to one that was under way they have."""
        if not self.is_changed and self._effect.was_begun_with(invocation.arguments):
            return True
        if self._given is None:
            return False
        wanted, verdict = self._given
        return wanted == self._hash_of(invocation) and verdict.satisfies(approval)

    async def ask(
        self, invocation: ToolInvocation, approval: Approval, result: PolicyResult
    ) -> ToolInvocation | ToolResult:
        """Return the call as it was agreed to, perhaps edited, or the result that says who refused it and why."""
        problem = None
        while True:
            try:
                answered = await self._answer(invocation, approval, result, problem)
            except ActionExpired as error:
                return failure(f"nobody approved this call: {error}", EXPIRED)
            verdict = Verdict.of(answered)
            if not verdict.approved:
                return failure(verdict.refusal("this call"), REFUSED)
            edited = verdict.resolution.get("arguments")
            if edited is None:
                agreed = invocation
            else:
                try:
                    agreed = invocation.evolve(arguments=await self._edited(invocation, edited))
                except ToolError as error:  # whoever edited them has only seen the tool's schema
                    problem = f"the edited arguments do not match the tool's schema: {error}"
                    continue
            self._given = (self._hash_of(agreed), verdict)
            return agreed

    async def _answer(
        self, invocation: ToolInvocation, approval: Approval, result: PolicyResult, problem: str | None
    ) -> ActionRecord:
        tool, arguments = invocation.tool, self._branch.run.tokens.hidden(dict(invocation.arguments))
        payload: dict[str, object] = {
            "tool": tool.name,
            "arguments": arguments,
            "effect": tool.effect,
        }
        reasons = [refusal_of(result)] if result.rule is not None else []
        wanted = about = self._hash_of(invocation)
        if self.is_changed:
            reasons.append(CHANGED)
            payload["description"] = tool.description
            about = f"{wanted}.{tool.definition}"  # a yes to what it was before is none to what it is now
        if reasons:
            payload["reason"] = "; ".join(reasons)
        if problem is not None:
            payload["problem"] = problem
        self._asked[wanted] += 1
        # People have said that this very call is made again: to edit it would make another one of it.
        is_fixed = self._effect.arguments_again() is not None
        schema = NOTHING_TO_EDIT if is_fixed else _shared_schema(tool)
        again = "" if self._asked[wanted] == 1 else f".{self._asked[wanted]}"
        action = await open_action(
            self._branch,
            f"{self._effect.ruled_at}?{about}{again}",
            approval_spec(approval, payload, argument_schema=schema),
            argument_hash=hash_of(arguments),
        )
        return await await_action(self._branch, action)

    async def _edited(self, invocation: ToolInvocation, edited: JsonObject) -> dict[str, JsonValue]:
        """Return edited arguments as the tool takes them. Raises `ToolError`."""
        put_back: Any = self._branch.run.tokens.put_back(edited, invocation.arguments)
        return await completed_aside(invocation.tool, put_back)

    def _hash_of(self, invocation: ToolInvocation) -> str:
        """Return a hash of what is agreed to: which tool, how far its effect can be taken back, and its arguments."""
        arguments = self._branch.run.tokens.hidden(invocation.arguments)
        return hash_of([invocation.tool.name, invocation.tool.effect, arguments])


def _shared_schema(tool: Tool) -> Mapping[str, Any] | None:
    """Return the schema that goes with a question to whoever answers it, unless it is too long for that."""
    schema = dict(tool.parameters)
    try:
        return schema if len(encode(schema)) <= MAX_SCHEMA_BYTES else None
    except (ResultNotSerializable, ContentTooLarge):
        return None


async def redacted_result(result: ToolResult, run: JobRun, operation_id: str) -> ToolResult:
    """Return a result without what the policy takes out of it; a long one is read in a thread."""
    recorded = run.history.decisions.get(operation_id)
    if recorded is None:
        return result
    kinds = sorted(
        {
            kind
            for (action, *_), decision in recorded.items()
            if action == PolicyAction.TOOL and not decision.get("dry_run")
            for kind in decision.get("constraints", {}).get("redact", ())
        }
    )
    return await redacted_result_of(result, tuple(kinds)) if kinds else result
