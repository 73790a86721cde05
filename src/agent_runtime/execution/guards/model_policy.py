"""What a job's policy does to its model calls: refuse, ask a person, bound, redirect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agent_runtime.errors import ActionExpired, PolicyDenied
from agent_runtime.execution.approvals import Verdict, approval_spec
from agent_runtime.execution.branch import Branch
from agent_runtime.execution.operations.waits import await_action, open_action
from agent_runtime.execution.policy_enforcer import refusal_of
from agent_runtime.values.fingerprint import hash_of
from agent_runtime.values.policy import (
    UNCONSTRAINED,
    Approval,
    Constraints,
    PolicyAction,
    PolicyDecision,
    PolicyResult,
)
from llm_client.extra_fields import RULED_ON, models_instead, replaced_field
from llm_client.spec import RequestSpec
from llm_client.tools.server import declarations_of, declared_in


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVerdict:
    """What was decided about a model call: which model, within which bounds."""

    model: str
    constraints: Constraints = UNCONSTRAINED

    def applied(self, spec: RequestSpec, model: str) -> RequestSpec:
        """Return the request as it may leave, but for what is redacted; `model` is the one it would have asked."""
        if self.model != model:
            spec = spec.evolve(model=self.model)
        bounds = self.constraints
        if bounds.max_tokens is not None:
            wanted = spec.max_tokens
            spec = spec.evolve(
                max_tokens=bounds.max_tokens if wanted is None else min(wanted, bounds.max_tokens)
            )
        if bounds.drop_tools:
            spec = _without_tools(spec, bounds.drop_tools)
        return spec


async def judge_model(
    branch: Branch, place: str, provider: str, model: str, *, context_tokens: int
) -> ModelVerdict:
    """Ask the policy about a model, and about the one it forces instead, if it does; wait for a yes that it wants.

    Raises:
        PolicyDenied: The policy, or a person it asks, says no.
    """
    run, asked = branch.run, [model]
    bounds: list[Constraints] = []
    while True:
        operation_id = run.operation_id(place)
        result = await run.enforcer.decide(
            PolicyAction.MODEL,
            operation_id,
            asked[-1],
            f"{provider}:{asked[-1]}",
            context_tokens=context_tokens,
        )
        if result.decision is PolicyDecision.DENY:
            raise PolicyDenied(f"model {asked[-1]!r}: {refusal_of(result)}")
        if result.approval is not None:
            payload = {"model": asked[-1], "provider": provider}
            await _approve(branch, place, f"{provider}:{asked[-1]}", f"model {asked[-1]!r}", payload, result)
        bounds.append(result.constraints)
        forced = result.constraints.model
        if forced is None or forced == asked[-1]:
            return ModelVerdict(model=asked[-1], constraints=Constraints.tightest(bounds))
        if forced in asked:
            raise PolicyDenied(f"rules force models in a circle: {' → '.join([*asked, forced])}")
        asked.append(forced)


async def judge_models_instead(
    branch: Branch, place: str, provider: str, extra: Mapping[str, object], *, context_tokens: int
) -> dict[str, Constraints]:
    """Ask the policy about the models that a gateway may ask instead, as a request's `extra` names them; return their bounds.

    Raises:
        PolicyDenied: The policy, or a person it asks, says no to one of them, or has another one asked.
    """
    bounds: dict[str, Constraints] = {}
    for model in models_instead(extra):
        verdict = await judge_model(branch, place, provider, model, context_tokens=context_tokens)
        if verdict.model != model:
            raise PolicyDenied(
                f"model {model!r}: the policy has {verdict.model!r} asked instead, and a request's extra names it"
            )
        bounds[model] = verdict.constraints
    return bounds


def refuse_replaced(extra: Mapping[str, object], fields: frozenset[str] = RULED_ON) -> None:
    """Refuse a field of `extra` that takes the place of what rules look at. Raises `PolicyDenied`."""
    if extra and (field := replaced_field(extra, fields)) is not None:
        raise PolicyDenied(
            f"extra field {field!r} takes the place of what the policy rules on: say it in the request's own fields"
        )


async def judge_server_tool(
    branch: Branch, place: str, name: str, told: Mapping[str, object]
) -> tuple[str, ...]:
    """Ask the policy about a tool that the vendor runs, before it is offered: its calls are seen by nobody here.

    Args:
        branch: Where it waits for a yes that the policy wants.
        place: The model call's.
        name: The tool's.
        told: What the request tells it, which rules see as its arguments.

    Returns:
        Kinds of content to take out of the request: what the tool is asked, the vendor makes of it.

    Raises:
        PolicyDenied: The policy, or a person it asks, says no.
    """
    run, about, what = branch.run, hash_of(told), f"server tool {name!r}"
    operation_id = run.operation_id(place)
    result = await run.enforcer.decide(
        PolicyAction.TOOL, operation_id, name, arguments=told, argument_hash=about
    )
    if result.decision is PolicyDecision.DENY:
        raise PolicyDenied(f"{what}: {refusal_of(result)}")
    if result.approval is not None:
        payload = {"tool": name, "arguments": dict(told)}
        await _approve(branch, place, f"tool:{name}:{about}", what, payload, result)
    return result.constraints.redact


def server_tools_of(spec: RequestSpec) -> list[tuple[str, Mapping[str, object]]]:
    """Return the tools that a request has the vendor run, with what they are told; also those that its `extra` declares."""
    declared = [each for tool in spec.server_tools for each in declarations_of(tool)]
    return [*declared, *declared_in(spec.extra)] if spec.extra else declared


async def _approve(
    branch: Branch, place: str, about: str, what: str, payload: Mapping[str, object], result: PolicyResult
) -> None:
    """Ask a person whether a model may be asked, or be offered a tool."""
    spec = approval_spec(result.approval or Approval(), {**payload, "reason": refusal_of(result)})
    with branch.child(place, is_line=False) as own:
        action = await open_action(own, f"{branch.run.operation_id(place)}?{about}", spec)
        try:
            verdict = Verdict.of(await await_action(own, action))
        except ActionExpired as error:
            raise PolicyDenied(f"{what}: {error}") from error
    if not verdict.approved:
        raise PolicyDenied(verdict.refusal(what))


def is_dropped(name: str, patterns: Sequence[str]) -> bool:
    """Whether a tool is one that a model may not use."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _without_tools(spec: RequestSpec, patterns: Sequence[str]) -> RequestSpec:
    """Return a request without some tools. Raises `PolicyDenied` for one that its `extra` declares: that is the vendor's to read."""
    for name, _ in declared_in(spec.extra):
        if is_dropped(name, patterns):
            raise PolicyDenied(
                f"server tool {name!r}: it may not be used here, and a request's extra declares it"
            )
    left = tuple(tool for tool in spec.tools if not is_dropped(tool.name, patterns))
    at_vendor = tuple(
        tool
        for tool in spec.server_tools
        if not any(is_dropped(name, patterns) for name, _ in declarations_of(tool))
    )
    choice = spec.tool_choice
    named = choice is not None and choice not in ("auto", "none", "required")
    names = {tool.name for tool in (*left, *at_vendor)}
    if (named and choice not in names) or not names:
        choice = None
    return spec.evolve(tools=left, server_tools=at_vendor, tool_choice=choice)
