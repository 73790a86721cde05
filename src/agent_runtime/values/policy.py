"""What a policy is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypedDict, Unpack

from agent_runtime.values.context import DEFAULT_SCOPE, ExecutionContext, PolicyRef
from llm_client.json_text import JsonObject, JsonValue


class PolicyAction(StrEnum):
    """What a rule can be about."""

    JOB = "job"
    """Starting an operator, as a job or as a child of one."""
    MODEL = "model"
    TOOL = "tool"
    CONNECTOR = "connector"
    """A source of data that a tool declares."""


class PolicyDecision(StrEnum):
    """An answer. Of several, the strongest counts: deny over approval over constrain over redact over allow."""

    ALLOW = "allow"
    REDACT = "redact"
    """Allowed, without what must not be seen."""
    CONSTRAIN = "constrain"
    """Allowed, within bounds."""
    REQUIRE_APPROVAL = "require_approval"
    """Allowed once a person has said yes."""
    DENY = "deny"

    @property
    def strength(self) -> int:
        """Place in the order in which decisions override each other."""
        return list(PolicyDecision).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Bounds of what is allowed."""

    max_tokens: int | None = None
    """Output bound of a model call, in tokens."""
    model: str | None = None
    """The model to ask instead."""
    drop_tools: tuple[str, ...] = ()
    """Patterns of tools that the model is not offered and may not call."""
    redact: tuple[str, ...] = ()
    """Kinds of content to take out: `secrets`, `email`, `phone`, `ssn`."""

    @classmethod
    def tightest(cls, bounds: Sequence[Constraints], *, model: str | None = None) -> Constraints:
        """Return what keeps all of these bounds: the smallest output, all tools to drop, everything to redact.

        Args:
            bounds: Each of them.
            model: The one to ask instead, on which they agree.
        """
        return cls(
            max_tokens=min((one.max_tokens for one in bounds if one.max_tokens is not None), default=None),
            model=model,
            drop_tools=tuple(sorted({name for one in bounds for name in one.drop_tools})),
            redact=tuple(sorted({kind for one in bounds for kind in one.redact})),
        )

    def __bool__(self) -> bool:
        return self != UNCONSTRAINED

    def to_dict(self) -> dict[str, JsonValue]:
        """Return what is set, as JSON values."""
        values: dict[str, Any] = {
            "max_tokens": self.max_tokens,
            "model": self.model,
            "drop_tools": list(self.drop_tools),
            "redact": list(self.redact),
        }
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_dict(cls, data: JsonObject) -> Constraints:
        """Build from what `to_dict` gave."""
        given: Mapping[str, Any] = data
        return cls(
            max_tokens=given.get("max_tokens"),
            model=given.get("model"),
            drop_tools=tuple(given.get("drop_tools", ())),
            redact=tuple(given.get("redact", ())),
        )


UNCONSTRAINED = Constraints()


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who has to say yes, and how fast."""

    timeout_seconds: float | None = None
    """After this long nobody has agreed; `None` waits for ever."""
    approvers: tuple[str, ...] | None = None
    """Principals who may answer; `None` is everybody who can see the question."""
    quorum: int = 1
    """Different approvers who must want the same; above 1 it needs `approvers`."""

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON values."""
        approvers = None if self.approvers is None else list(self.approvers)
        return {"timeout_seconds": self.timeout_seconds, "approvers": approvers, "quorum": self.quorum}

    @classmethod
    def from_dict(cls, data: JsonObject) -> Approval:
        """Build from what `to_dict` gave."""
        given: Mapping[str, Any] = data
        approvers = given.get("approvers")
        return cls(
            timeout_seconds=given["timeout_seconds"],
            approvers=None if approvers is None else tuple(approvers),
            quorum=given["quorum"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyContext:
    """On whose behalf something is asked, and how far its job has come."""

    scope_id: str = DEFAULT_SCOPE
    principal_id: str | None = None
    session_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    depth: int = 0
    """Ancestors above the job."""
    spend: Decimal = Decimal(0)
    """US dollars the job has spent so far."""
    turns: int = 0
    """Answers of models the job has had."""
    tool_calls: int = 0
    """Tool calls the job has made."""
    call_index: int = 0
    """Place of a tool call among those of the same model answer, from 0."""
    context_tokens: int = 0
    """Estimated size of a model call's input."""

    @classmethod
    def of(cls, context: ExecutionContext) -> PolicyContext:
        """Return what a policy needs to know of an execution's context."""
        return cls(
            scope_id=context.scope_id,
            principal_id=context.principal_id,
            session_id=context.session_id,
            tags=context.request.tags,
        )

    def evolve(self, **changes: Unpack[PolicyMeasures]) -> PolicyContext:
        """Return a copy with some fields changed."""
        return replace(self, **changes)


class CallMeasures(TypedDict, total=False):
    """What only the caller of an operation knows: fields of `PolicyContext`."""

    call_index: int
    context_tokens: int


class PolicyMeasures(CallMeasures, total=False):
    """What is known of a job beside what its row says: fields of `PolicyContext`."""

    spend: Decimal
    turns: int
    tool_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySubject:
    """One question to a policy."""

    action: PolicyAction
    names: tuple[str, ...]
    """What it is called; a model is called by its own name and as `provider:model`."""
    context: PolicyContext
    arguments: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its plain name."""
        return self.names[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResult:
    """A policy's answer, and why."""

    decision: PolicyDecision
    reason: str = ""
    rule: str | None = None
    """The rule that decided; `None` when none applied and the default did."""
    constraints: Constraints = UNCONSTRAINED
    approval: Approval | None = None
    """Set when the decision is `require_approval`."""
    policy: PolicyRef | None = None
    """The policy and version that answered."""
    dry_run: bool = False
    """The policy only watches: nothing is refused, asked or changed."""

    @property
    def allowed(self) -> bool:
        """Whether it may happen now. What needs an approval may not, yet."""
        return self.dry_run or self.decision not in (PolicyDecision.DENY, PolicyDecision.REQUIRE_APPROVAL)

    @property
    def enforced(self) -> PolicyResult:
        """What is to be done: the result itself, a plain yes when the policy only watches, a no to what nobody can give."""
        approval = self.approval
        if not self.dry_run and approval is not None and approval.quorum > 1 and approval.approvers is None:
            reason = f"a quorum of {approval.quorum} needs approvers, and no rule names any"
            return replace(self, decision=PolicyDecision.DENY, reason=reason, approval=None)
        if not self.dry_run:
            return self
        return PolicyResult(decision=PolicyDecision.ALLOW, rule=self.rule, policy=self.policy)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return it as JSON values, for the journal."""
        data: dict[str, Any] = {"decision": self.decision.value}
        if self.reason:
            data["reason"] = self.reason
        if self.rule is not None:
            data["rule"] = self.rule
        if self.constraints:
            data["constraints"] = self.constraints.to_dict()
        if self.approval is not None:
            data["approval"] = self.approval.to_dict()
        if self.policy is not None:
            data["policy"] = {"name": self.policy.name, "version": self.policy.version}
        if self.dry_run:
            data["dry_run"] = True
        return data

    @classmethod
    def from_dict(cls, data: JsonObject) -> PolicyResult:
        """Build from what `to_dict` gave."""
        given: Mapping[str, Any] = data
        approval, policy = given.get("approval"), given.get("policy")
        return cls(
            decision=PolicyDecision(given["decision"]),
            reason=given.get("reason", ""),
            rule=given.get("rule"),
            constraints=Constraints.from_dict(given.get("constraints", {})),
            approval=None if approval is None else Approval.from_dict(approval),
            policy=None if policy is None else PolicyRef(name=policy["name"], version=policy["version"]),
            dry_run=bool(given.get("dry_run")),
        )
