"""`PolicyRule`: the one form in which every rule is applied, stored and explained."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from agent_runtime.errors import InvalidInput
from agent_runtime.policy.comparisons import Answer
from agent_runtime.policy.conditions import ALWAYS, Globs, When, globs
from agent_runtime.values.checks import check_seconds, check_whole
from agent_runtime.values.person import check_approvers
from agent_runtime.values.policy import (
    UNCONSTRAINED,
    Approval,
    Constraints,
    PolicyAction,
    PolicyDecision,
    PolicySubject,
)
from llm_client.json_text import JsonObject, JsonValue
from llm_client.model_names import names_of_model, pattern_of_model

REDACTIONS: Final = ("secrets", "email", "phone", "ssn")
"""What a rule can take out: credentials and card numbers by their shapes and names, and personal data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """One rule: about what, when, and what then.

    Args:
        name: Unique within a policy; shown with every decision.
        action: What it is about.
        names: Patterns of the tools, models, operators or connectors it is about. Those of models ignore case and match
            a model's own name or `provider:model`.
        when: Further conditions.
        decision: What then.
        reason: For people, and for a model whose tool call is refused.
        constraints: For `constrain` and `redact`.
        approval: For `require_approval`.
        permits: Whether a constraint is a permission as well, where the default is to deny. Redaction never is.
    """

    name: str
    action: PolicyAction
    names: Globs = ("*",)
    when: When = ALWAYS
    decision: PolicyDecision = PolicyDecision.ALLOW
    reason: str = ""
    constraints: Constraints = UNCONSTRAINED
    approval: Approval | None = None
    permits: bool = True
    _patterns: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "action", _as_action(self.action))
        object.__setattr__(self, "decision", as_decision(self.decision))
        object.__setattr__(self, "names", globs(self.names))
        if not self.name or not self.names:
            raise InvalidInput("a rule needs a name and something it is about")
        folds = self.action is PolicyAction.MODEL
        object.__setattr__(
            self, "_patterns", tuple(pattern_of_model(name) if folds else name for name in self.names)
        )
        if self.decision is PolicyDecision.REDACT:
            object.__setattr__(self, "permits", False)
        if self.decision is PolicyDecision.REQUIRE_APPROVAL and self.approval is None:
            object.__setattr__(self, "approval", Approval())
        self._check_constraints()
        self._check_approval()

    def _check_constraints(self) -> None:
        bounds = self.constraints
        if self.decision is PolicyDecision.CONSTRAIN:
            if not (bounds.max_tokens or bounds.model or bounds.drop_tools):
                raise InvalidInput("constrain needs max_tokens, force_model or drop_tools")
            if self.action is not PolicyAction.MODEL:
                raise InvalidInput(
                    "constrain is for models: only they have output, a choice of model and tools"
                )
        elif self.decision is PolicyDecision.REDACT:
            if not bounds.redact:
                raise InvalidInput(f"redact needs what to take out: {', '.join(REDACTIONS)}")
            if self.action not in (PolicyAction.MODEL, PolicyAction.TOOL):
                raise InvalidInput("redact is for models and tools")
        elif bounds:
            raise InvalidInput(f"{self.decision} takes no constraints")
        if bounds.max_tokens is not None and bounds.max_tokens < 1:
            raise InvalidInput("max_tokens is at least 1")
        if unknown := sorted(set(bounds.redact) - set(REDACTIONS)):
            raise InvalidInput(f"{unknown[0]!r} cannot be redacted; use {', '.join(REDACTIONS)}")

    def _check_approval(self) -> None:
        approval = self.approval
        if approval is None:
            return
        if self.decision is not PolicyDecision.REQUIRE_APPROVAL:
            raise InvalidInput(f"approvers, quorum and timeout_seconds mean nothing for {self.decision}")
        if self.action is PolicyAction.CONNECTOR:
            raise InvalidInput("an approval is for jobs, models and tools, not for connectors")
        check_whole("quorum", approval.quorum, least=1)
        if approval.timeout_seconds is not None:
            check_seconds("timeout_seconds", approval.timeout_seconds, zero=False)
        if approval.approvers is not None:  # without them another rule may name some, and both then hold
            check_approvers(approval.approvers, approval.quorum)

    @property
    def restricts(self) -> bool:
        """Whether it takes something away, and so applies when a comparison cannot tell."""
        return self.decision is not PolicyDecision.ALLOW

    def is_about(self, subject: PolicySubject) -> bool:
        """Whether the rule is about this subject, whatever its conditions say."""
        if subject.action is not self.action:
            return False
        given = (
            names_of_model(subject.names, self.restricts)
            if self.action is PolicyAction.MODEL
            else subject.names
        )
        return any(fnmatchcase(name, pattern) for pattern in self._patterns for name in given)

    def condition(self, subject: PolicySubject) -> Answer:
        """Whether its conditions hold; `None` when that cannot be told."""
        return self.when.holds(subject, permits=not self.restricts)

    def applies_to(self, subject: PolicySubject) -> bool:
        """Whether the rule decides about this subject."""
        if not self.is_about(subject):
            return False
        answer = self.condition(subject)
        return self.restricts if answer is None else answer

    def rules(self) -> tuple[PolicyRule, ...]:
        """Return itself: like every rule, it can be added to an engine."""
        return (self,)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the rule as it would stand in a policy file."""
        data: dict[str, Any] = {"name": self.name, self.action.value: list(self.names)}
        if self.when != ALWAYS:
            data["when"] = self.when.to_dict()
        data["decision"] = self.decision.value
        if self.reason:
            data["reason"] = self.reason
        bounds = self.constraints.to_dict()
        if "model" in bounds:
            bounds["force_model"] = bounds.pop("model")
        data |= bounds
        if self.approval is not None:
            data |= {name: value for name, value in self.approval.to_dict().items() if value is not None}
        if not self.permits:
            data["permits"] = False
        return data


def as_decision(value: object) -> PolicyDecision:
    """Read a decision. Raises `InvalidInput`."""
    try:
        return PolicyDecision(value if isinstance(value, str) else "")
    except ValueError:
        raise InvalidInput(f"{value!r} is no decision; use one of {', '.join(PolicyDecision)}") from None


def _as_action(value: Any) -> PolicyAction:
    try:
        return PolicyAction(value)
    except ValueError:
        raise InvalidInput(f"{value!r} is not one of {', '.join(PolicyAction)}") from None


def constraints_of(data: JsonObject) -> Constraints:
    """Read the bounds that stand beside a decision in a policy file. Raises `InvalidInput`."""
    max_tokens, model = data.get("max_tokens"), data.get("force_model")
    if max_tokens is not None and (not isinstance(max_tokens, int) or isinstance(max_tokens, bool)):
        raise InvalidInput(f"max_tokens is a whole number, not {max_tokens!r}")
    if model is not None and not isinstance(model, str):
        raise InvalidInput(f"force_model is a model's name, not {model!r}")
    return Constraints(
        max_tokens=max_tokens,
        model=model,
        drop_tools=globs(data.get("drop_tools", ())),
        redact=globs(data.get("redact", ())),
    )


def approval_of(data: JsonObject) -> Approval | None:
    """Read who has to say yes, where a policy file names it. Raises `InvalidInput`."""
    given = {name: data[name] for name in ("timeout_seconds", "approvers", "quorum") if name in data}
    if not given:
        return None
    seconds, quorum = given.get("timeout_seconds"), given.get("quorum", 1)
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
        raise InvalidInput(f"timeout_seconds is a number, not {seconds!r}")
    if isinstance(quorum, bool) or not isinstance(quorum, int):
        raise InvalidInput(f"quorum is a whole number, not {quorum!r}")
    approvers = None if given.get("approvers") is None else globs(given["approvers"])
    if quorum > 1:
        check_approvers(approvers, quorum)
    return Approval(
        timeout_seconds=None if seconds is None else float(seconds), approvers=approvers, quorum=quorum
    )
