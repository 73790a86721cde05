"""Who runs something, within which limits, under which policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal, TypeVar

from agent_runtime.errors import InvalidInput
from agent_runtime.values.checks import MAX_COUNT, check_choice, check_seconds, check_texts, check_whole
from agent_runtime.values.money import MAX_DOLLARS, NO_LIMIT, Dollars, as_decimal
from llm_client.json_text import JsonObject, JsonValue
from llm_client.spec import RequestContext

T = TypeVar("T")

DEFAULT_SCOPE = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSpec:
    """Limits of one run, its children included; `None` is no limit.

    Raises:
        InvalidInput: A limit is no number, negative, or larger than a storage can hold; it names the field.
    """

    max_tokens: int | None = None
    max_cost: Dollars = NO_LIMIT
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

    exceed_strategy: Literal["deny", "wait"] = "deny"
    """`wait`: the job is blocked where it would fail, until somebody makes room."""

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_tool_calls", "max_turns"):
            value = getattr(self, name)
            if value is not None:
                check_whole(name, value, most=MAX_COUNT)
        if self.max_cost is not None:
            object.__setattr__(self, "max_cost", _dollars(self.max_cost))
        if self.max_runtime_seconds is not None:
            check_seconds("max_runtime_seconds", self.max_runtime_seconds)
        check_choice("mode", self.mode, ("estimate", "hard"))
        check_choice("unpriced", self.unpriced, ("deny", "flag"))
        check_choice("exceed_strategy", self.exceed_strategy, ("deny", "wait"))

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the limits that are set, as JSON values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        if self.max_cost is not None:
            values["max_cost"] = str(self.max_cost)
        plain = {"mode": "estimate", "unpriced": "deny", "exceed_strategy": "deny"}
        return {name: value for name, value in values.items() if value not in (None, plain.get(name))}

    @classmethod
    def from_dict(cls, data: JsonObject) -> BudgetSpec:
        """Build from what `to_dict` gave; unknown keys are ignored."""
        given: dict[str, Any] = {name: data[name] for name in cls.__slots__ if name in data}
        return cls(**given)  # which checks them


def _dollars(given: Any) -> Decimal:
    try:
        amount = as_decimal(given)
    except (ArithmeticError, ValueError):
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= MAX_DOLLARS:
        raise InvalidInput(f"max_cost is an amount of dollars from 0 to {MAX_DOLLARS:,}")
    return amount


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRef:
    """The policy a job was admitted under."""

    name: str
    version: str | None = None

    def __post_init__(self) -> None:
        check_texts(self, "name", "version")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunVersions:
    """What a run was made with."""

    runtime_version: str | None = None
    operator_version: str | None = None
    model_version: str | None = None

    def __post_init__(self) -> None:
        check_texts(self, "runtime_version", "operator_version", "model_version")


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


def execution_of(context: T) -> T:
    """Return a context as it was given, but of an operator's the execution's that it holds: users pass either."""
    execution: T = getattr(context, "execution_ctx", context)
    return execution
