"""`Policy`: one version of a set of rules, which never changes, and how it decides.

Every rule that applies has a say, and the strongest decision counts, whatever the order of the rules: deny over approval
over constrain over redact over allow. Bounds add up: the smallest output, all tools to drop, everything to redact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from agent_runtime.errors import InvalidInput
from agent_runtime.policy.rule import PolicyRule
from agent_runtime.values.context import PolicyRef
from agent_runtime.values.person import person_key
from agent_runtime.values.policy import (
    UNCONSTRAINED,
    Approval,
    Constraints,
    PolicyAction,
    PolicyDecision,
    PolicyResult,
    PolicySubject,
)
from llm_client.json_text import JsonValue

Fallback = Literal["allow", "deny"]

DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class Consideration:
    """What one rule had to say, for an explanation."""

    rule: PolicyRule
    applies: bool
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a policy came to its answer. Its text is for people."""

    subject: PolicySubject
    result: PolicyResult
    considered: tuple[Consideration, ...]

    def for_who_asks(self) -> Explanation:
        """Return it without rules for others: what those say may name them."""
        context = self.subject.context
        return replace(
            self, considered=tuple(one for one in self.considered if one.rule.when.is_about(context))
        )

    def __str__(self) -> str:
        result = self.result
        lines = [f"{self.subject.action} {self.subject.name!r}: {result.decision}" + _because(result)]
        if result.approval is not None:
            lines.append(
                f"  asks {_asked(result.approval, of_tool=self.subject.action is PolicyAction.TOOL)}"
            )
        lines += [
            f"  {'*' if one.applies else ' '} {one.rule.name}: {one.rule.decision} – {one.why}"
            for one in self.considered
        ]
        return "\n".join(lines)


def _asked(approval: Approval, *, of_tool: bool) -> str:
    """Say who is asked, and how long that waits."""
    who = "anybody" if approval.approvers is None else ", ".join(approval.approvers)
    votes = f" ({approval.quorum} of them)" if approval.quorum > 1 else ""
    if approval.timeout_seconds is not None:
        return f"{who}{votes}, for {approval.timeout_seconds:g} seconds"
    return f"{who}{votes}, for ever" + (" unless the tool has an approval_timeout" if of_tool else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules under a name and a version.

    Args:
        name: By which requests choose it.
        rules: In any order.
        defaults: What holds where no rule permits or refuses, by action; `allow` for actions that are not named.
        given_version: A version of your own; by default it is a hash of the content.
        dry_run: Decide and report, but enforce nothing.
    """

    name: str = DEFAULT_NAME
    rules: Sequence[PolicyRule] = ()
    defaults: Mapping[PolicyAction, Fallback] = field(default_factory=dict)
    given_version: str | None = None
    dry_run: bool = False
    version: str = field(init=False)
    _by_action: Mapping[PolicyAction, tuple[PolicyRule, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names: set[str] = set()
        for rule in self.rules:
            if rule.name in names:
                raise InvalidInput(f"there are two rules named {rule.name!r}")
            names.add(rule.name)
        grouped = {
            action: tuple(rule for rule in self.rules if rule.action is action) for action in PolicyAction
        }
        object.__setattr__(self, "rules", tuple(self.rules))
        object.__setattr__(self, "_by_action", grouped)
        object.__setattr__(self, "version", self.given_version or self._fingerprint())

    @property
    def ref(self) -> PolicyRef:
        """Its name and version, as jobs keep them."""
        return PolicyRef(name=self.name, version=self.version)

    @property
    def governs(self) -> bool:
        """Whether it holds anything that could touch a job."""
        return bool(self.rules) or bool(self.defaults)

    def concerns(self, action: PolicyAction) -> bool:
        """Whether any rule or default can touch this kind of action."""
        return bool(self._by_action[action]) or self.defaults.get(action) == "deny"

    def decide(self, subject: PolicySubject) -> PolicyResult:
        """Answer one question."""
        return self._combined(subject, [r for r in self._by_action[subject.action] if r.applies_to(subject)])

    def explain(self, subject: PolicySubject) -> Explanation:
        """Answer one question, with what every rule had to say."""
        considered = tuple(_consider(rule, subject) for rule in self.rules)
        return Explanation(subject, self.decide(subject), considered)

    def _combined(self, subject: PolicySubject, applying: Sequence[PolicyRule]) -> PolicyResult:
        """Combine rules; their order does not matter."""
        permitted = any(rule.permits for rule in applying) or self.defaults.get(subject.action) != "deny"
        decision = max((rule.decision for rule in applying), key=_strength, default=PolicyDecision.ALLOW)
        if not permitted:
            return self._result(PolicyDecision.DENY, "no rule permits it", None)
        if decision is PolicyDecision.DENY:
            return self._result(decision, *_decisive(applying, decision))
        bounds = _merged_constraints([rule.constraints for rule in applying if rule.constraints])
        if isinstance(bounds, str):
            return self._result(PolicyDecision.DENY, bounds, None)
        approval = _merged_approval([rule.approval for rule in applying if rule.approval is not None])
        if isinstance(approval, str):
            return self._result(PolicyDecision.DENY, approval, None)
        return self._result(decision, *_decisive(applying, decision), bounds, approval)

    def _result(
        self,
        decision: PolicyDecision,
        reason: str,
        rule: str | None,
        constraints: Constraints = UNCONSTRAINED,
        approval: Approval | None = None,
    ) -> PolicyResult:
        return PolicyResult(
            decision=decision,
            reason=reason,
            rule=rule,
            constraints=constraints,
            approval=approval,
            policy=self.ref,
            dry_run=self.dry_run,
        )

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the policy as its file would hold it."""
        data: dict[str, Any] = {"policy": self.name}
        if self.given_version is not None:
            data["version"] = self.given_version
        if self.defaults:
            data["default"] = {action.value: fallback for action, fallback in self.defaults.items()}
        if self.dry_run:
            data["dry_run"] = True
        data["rules"] = [rule.to_dict() for rule in self.rules]
        return data

    def _fingerprint(self) -> str:
        """Return a hash of everything that matters to a decision; the order of the rules does not."""
        by_name = sorted(self.rules, key=lambda rule: rule.name)
        data = {**self.to_dict(), "rules": [rule.to_dict() for rule in by_name]}
        text = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(text, digest_size=6).hexdigest()


def _strength(decision: PolicyDecision) -> int:
    return decision.strength


def _decisive(applying: Iterable[PolicyRule], decision: PolicyDecision) -> tuple[str, str | None]:
    """Return the reason and name of the rule that stands for a decision: the first by name, so that order cannot matter."""
    found = sorted((rule for rule in applying if rule.decision is decision), key=lambda rule: rule.name)
    return (found[0].reason, found[0].name) if found else ("", None)


def _merged_constraints(bounds: Sequence[Constraints]) -> Constraints | str:
    if not bounds:
        return UNCONSTRAINED
    models = {one.model for one in bounds if one.model is not None}
    if len(models) > 1:
        return f"rules force different models: {', '.join(sorted(models))}"
    return Constraints.tightest(bounds, model=next(iter(models), None))


def _merged_approval(approvals: Sequence[Approval]) -> Approval | str | None:
    if not approvals:
        return None
    named = [
        {person_key(name): name for name in one.approvers} for one in approvals if one.approvers is not None
    ]
    shared = set.intersection(*(set(names) for names in named)) if named else None
    quorum = max(one.quorum for one in approvals)
    if shared is not None and len(shared) < quorum:
        return "rules ask for approvals that nobody can give together"
    times = [one.timeout_seconds for one in approvals if one.timeout_seconds is not None]
    return Approval(
        timeout_seconds=min(times, default=None),
        approvers=None
        if shared is None
        else tuple(sorted(min(names[key] for names in named) for key in shared)),
        quorum=quorum,
    )


def _consider(rule: PolicyRule, subject: PolicySubject) -> Consideration:
    if rule.action is not subject.action:
        return Consideration(rule, False, f"is about {rule.action}s")
    if not rule.is_about(subject):
        return Consideration(rule, False, f"is about {', '.join(rule.names)}")
    answer = rule.condition(subject)
    if answer is None:
        why = (
            "an argument cannot be compared, so it applies"
            if rule.restricts
            else "an argument cannot be compared"
        )
        return Consideration(rule, rule.restricts, why)
    return Consideration(rule, answer, "applies" if answer else "its conditions do not hold")


def _because(result: PolicyResult) -> str:
    parts = [f"rule {result.rule!r}" if result.rule else "", result.reason]
    said = ": ".join(part for part in parts if part)
    return f" ({said})" if said else ""
