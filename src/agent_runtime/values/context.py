"""Who runs something, within which limits, under which policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from agent_runtime.values.money import as_decimal
from llm_client.spec import RequestContext

DEFAULT_SCOPE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSpec:
    """Limits of one run, its children included; `None` is no limit."""

    max_tokens: int | None = None
    max_cost: Decimal | None = None
    """US dollars; a float or text is accepted and taken at its printed value."""
    max_tool_calls: int | None = None
    max_turns: int | None = None
    """Model calls."""
    max_runtime_seconds: float | None = None
    """Active time; waiting for people, timers and children does not count."""
    mode: Literal["estimate", "hard"] = "estimate"
    """`estimate` reserves a calibrated estimate of the input; `hard` an upper bound, and refuses what has none."""
    unpriced: Literal["deny", "flag"] = "deny"
    """What to do about models without a known price when `max_cost` is set."""

    def __post_init__(self) -> None:
        if self.max_cost is not None:
            object.__setattr__(self, "max_cost", as_decimal(self.max_cost))

    def to_dict(self) -> dict[str, Any]:
        """Return the limits that are set, as JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        if self.max_cost is not None:
            values["max_cost"] = str(self.max_cost)
        plain = {"mode": "estimate", "unpriced": "deny"}
        return {name: value for name, value in values.items() if value not in (None, plain.get(name))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BudgetSpec:
        """Build from what `to_dict` gave; unknown keys are ignored."""
        return cls(**{name: data[name] for name in cls.__slots__ if name in data})


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRef:
    """The policy a job was admitted under."""

    name: str
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunVersions:
    """What a run was made with."""

    runtime_version: str | None = None
    operator_version: str | None = None
    model_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionContext:
    """The universal context of everything that runs."""

    scope_id: str = DEFAULT_SCOPE
    """Tenant."""
    principal_id: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    job_id: str | None = None
    request: RequestContext = field(default_factory=RequestContext)
    budgets: BudgetSpec | None = None
    policy_ref: PolicyRef | None = None
    versions: RunVersions | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def child(self) -> ExecutionContext:
        """Return the context of a nested operation."""
        return replace(self, request=self.request.child())

    def with_job(self, job_id: str) -> ExecutionContext:
        """Return a copy that belongs to a job."""
        return replace(self, job_id=job_id, request=self.request.with_job(job_id))

    def to_request_context(self) -> RequestContext:
        """Return what `llm_client` needs to know of this context."""
        return replace(
            self.request,
            tenant_id=self.scope_id,
            user_id=self.principal_id,
            session_id=self.session_id,
            job_id=self.job_id,
        )
