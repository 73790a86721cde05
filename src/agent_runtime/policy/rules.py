"""The documented kinds of rules. Each is a short way to write one or several `PolicyRule`s."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Protocol

from agent_runtime.errors import InvalidInput
from agent_runtime.policy.comparisons import Tests
from agent_runtime.policy.conditions import ALWAYS, Globs, When, globs
from agent_runtime.policy.rule import PolicyRule, as_decision
from agent_runtime.values.money import as_decimal
from agent_runtime.values.person import check_approvers
from agent_runtime.values.policy import UNCONSTRAINED, Approval, Constraints, PolicyAction, PolicyDecision


class Rule(Protocol):
    """What can be added to an engine."""

    def rules(self) -> tuple[PolicyRule, ...]:
        """Return the rule in the form in which it is applied."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolPolicy:
    """What tools may do.

    With `allowed_scopes` or `allowed_principals` the tools are refused to everybody else, and `decision` holds for
    those who are named.
    """

    tool_patterns: Globs
    decision: PolicyDecision | str = PolicyDecision.ALLOW
    allowed_scopes: Globs | None = None
    allowed_principals: Globs | None = None
    require_approval: bool = False
    """The same as `decision="require_approval"`."""
    approvers: Iterable[str] | None = None
    quorum: int = 1
    approval_timeout_seconds: float | None = None
    arguments: Mapping[str, Tests] = field(default_factory=dict)
    """Paths and tests that must hold for `decision`, besides `when`."""
    when: When = ALWAYS
    reason: str = ""
    name: str = ""

    def rules(self) -> tuple[PolicyRule, ...]:
        """Return the rule in the form in which it is applied."""
        when = replace(self.when, arguments={**self.when.arguments, **self.arguments})
        return _named_rules(self, PolicyAction.TOOL, globs(self.tool_patterns), when)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPolicy:
    """Which models may be asked, by whom, and within which bounds. A bound makes the decision `constrain`."""

    model_patterns: Globs
    decision: PolicyDecision | str = PolicyDecision.ALLOW
    allowed_scopes: Globs | None = None
    allowed_principals: Globs | None = None
    require_approval: bool = False
    approvers: Iterable[str] | None = None
    quorum: int = 1
    approval_timeout_seconds: float | None = None
    max_tokens: int | None = None
    """Output bound, in tokens."""
    force_model: str | None = None
    """The model to ask instead, of the same provider."""
    drop_tools: Globs = ()
    """Tools that these models are not offered."""
    when: When = ALWAYS
    reason: str = ""
    name: str = ""

    def rules(self) -> tuple[PolicyRule, ...]:
        """Return the rule in the form in which it is applied."""
        bounds = Constraints(
            max_tokens=self.max_tokens, model=self.force_model, drop_tools=globs(self.drop_tools)
        )
        return _named_rules(self, PolicyAction.MODEL, globs(self.model_patterns), self.when, bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataAccessPolicy:
    """Which sources of data may be used, by whom. Tools name theirs with `@tool(connectors=…)`."""

    connector_patterns: Globs
    decision: PolicyDecision | str = PolicyDecision.ALLOW
    allowed_scopes: Globs | None = None
    allowed_principals: Globs | None = None
    when: When = ALWAYS
    reason: str = ""
    name: str = ""

    def rules(self) -> tuple[PolicyRule, ...]:
        """Return the rule in the form in which it is applied."""
        return _named_rules(self, PolicyAction.CONNECTOR, globs(self.connector_patterns), self.when)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintPolicy:
    """How far one job may go. Counts are refused when they would be passed; no bound is a permission.

    A job that goes on as a new one (`continue_as_new`) counts turns and tool calls from the beginning; what it has spent, and what the
    run's own budget limits, stays counted.
    """

    max_turns: int | None = None
    """Model calls."""
    max_tool_calls: int | None = None
    max_tool_calls_per_turn: int | None = None
    max_context_tokens: int | None = None
    """Estimated input of one model call."""
    max_output_tokens: int | None = None
    """Output of one model call; longer requests are cut, not refused."""
    max_spend: Decimal | float | str | None = None
    """US dollars after which no further call is made."""
    max_depth: int | None = None
    """Ancestors a job may have."""
    when: When = ALWAYS
    name: str = "constraints"

    def rules(self) -> tuple[PolicyRule, ...]:
        """Return one rule for each bound."""
        spend = None if self.max_spend is None else str(as_decimal(self.max_spend))
        bounds: list[tuple[str, PolicyAction, str, Any]] = [
            ("max_turns", PolicyAction.MODEL, "turns", _least(self.max_turns)),
            ("max_tool_calls", PolicyAction.TOOL, "tool_calls", _least(self.max_tool_calls)),
            (
                "max_tool_calls_per_turn",
                PolicyAction.TOOL,
                "call_index",
                _least(self.max_tool_calls_per_turn),
            ),
            ("max_context_tokens", PolicyAction.MODEL, "context_tokens", _above(self.max_context_tokens)),
            ("max_spend", PolicyAction.MODEL, "spend", _least(spend)),
            ("max_depth", PolicyAction.JOB, "depth", _above(self.max_depth)),
        ]
        found = [
            PolicyRule(
                name=f"{self.name}: {bound}",
                action=action,
                when=replace(self.when, measures={**self.when.measures, measure: tests}),
                decision=PolicyDecision.DENY,
                reason=f"{bound} is {next(iter(tests.values()))}",
            )
            for bound, action, measure, tests in bounds
            if tests is not None
        ]
        if self.max_output_tokens is not None:
            capped = PolicyRule(
                name=f"{self.name}: max_output_tokens",
                action=PolicyAction.MODEL,
                when=self.when,
                decision=PolicyDecision.CONSTRAIN,
                constraints=Constraints(max_tokens=self.max_output_tokens),
                permits=False,
            )
            found.append(capped)
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionPolicy:
    """What is taken out of what models read and of what tools give back."""

    secrets: bool = True
    """Keys, tokens, passwords, card numbers."""
    emails: bool = True
    ssns: bool = True
    phones: bool = False
    model_patterns: Globs = ("*",)
    tool_patterns: Globs = ("*",)
    when: When = ALWAYS
    name: str = "redaction"

    def rules(self) -> tuple[PolicyRule, ...]:
        """Return one rule for models and one for tools."""
        kinds = {"secrets": self.secrets, "email": self.emails, "phone": self.phones, "ssn": self.ssns}
        bounds = Constraints(redact=tuple(kind for kind, wanted in kinds.items() if wanted))
        about = (
            (PolicyAction.MODEL, globs(self.model_patterns)),
            (PolicyAction.TOOL, globs(self.tool_patterns)),
        )
        return tuple(
            PolicyRule(
                name=f"{self.name}: {action}s",
                action=action,
                names=names,
                when=self.when,
                decision=PolicyDecision.REDACT,
                constraints=bounds,
                permits=False,
            )
            for action, names in about
            if names
        )


def _named_rules(
    policy: ToolPolicy | ModelPolicy | DataAccessPolicy,
    action: PolicyAction,
    names: tuple[str, ...],
    when: When,
    bounds: Constraints = UNCONSTRAINED,
) -> tuple[PolicyRule, ...]:
    """Return the rule for those who are named, and the refusals of everybody else."""
    decision = _decision(policy, bounds)
    name = policy.name or f"{action} {', '.join(names)}: {decision}"
    scopes = None if policy.allowed_scopes is None else globs(policy.allowed_scopes)
    people = None if policy.allowed_principals is None else globs(policy.allowed_principals)
    if (scopes is not None and when.scopes is not None) or (
        people is not None and when.principals is not None
    ):
        raise InvalidInput("name the scopes and principals either as allowed ones or in `when`, not twice")
    found = []
    if scopes is not None:
        outside = When(except_scopes=scopes)
        found.append(
            _refusal(f"{name} (other scopes)", action, names, outside, f"only for {', '.join(scopes)}")
        )
        when = replace(when, scopes=scopes)
    if people is not None:
        others = When(except_principals=people)
        found.append(
            _refusal(f"{name} (other people)", action, names, others, f"only for {', '.join(people)}")
        )
        when = replace(when, principals=people)
    approval = None
    if decision is PolicyDecision.REQUIRE_APPROVAL and not isinstance(policy, DataAccessPolicy):
        approval = Approval(
            timeout_seconds=policy.approval_timeout_seconds,
            approvers=None if policy.approvers is None else tuple(policy.approvers),
            quorum=policy.quorum,
        )
        if approval.quorum > 1:
            check_approvers(approval.approvers, approval.quorum)
    rule = PolicyRule(
        name=name,
        action=action,
        names=names,
        when=when,
        decision=decision,
        reason=policy.reason,
        constraints=bounds,
        approval=approval,
    )
    return (rule, *found)


def _decision(policy: ToolPolicy | ModelPolicy | DataAccessPolicy, bounds: Constraints) -> PolicyDecision:
    if not isinstance(policy, DataAccessPolicy) and policy.require_approval:
        return PolicyDecision.REQUIRE_APPROVAL
    if bounds and policy.decision == PolicyDecision.ALLOW:
        return PolicyDecision.CONSTRAIN
    return as_decision(policy.decision)


def _refusal(name: str, action: PolicyAction, names: tuple[str, ...], when: When, reason: str) -> PolicyRule:
    return PolicyRule(
        name=name, action=action, names=names, when=when, decision=PolicyDecision.DENY, reason=reason
    )


def _least(bound: int | str | None) -> dict[str, Any] | None:
    return None if bound is None else {">=": bound}


def _above(bound: int | None) -> dict[str, Any] | None:
    return None if bound is None else {">": bound}
