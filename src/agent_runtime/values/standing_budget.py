"""Budgets that stand: what a tenant, a person, a session or a model may use per request, minute, hour, day, month, ever.

A run's own limits are a `BudgetSpec`; a standing budget holds for every run it matches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import orjson

from agent_runtime.errors import InvalidInput
from agent_runtime.values.budget import Limits
from agent_runtime.values.checks import MAX_COUNT, check_text, check_whole
from agent_runtime.values.money import MAX_DOLLARS, NO_LIMIT, Dollars, as_decimal, to_dollars, to_units
from llm_client.json_text import JsonObject, JsonValue
from llm_client.model_names import names_of_model, pattern_of_model

EACH: Final = "*"
"""As scope, principal or session: every one has a budget of its own."""

ExceedStrategy = Literal["deny", "degrade", "warn", "wait"]
BudgetMode = Literal["hard", "estimate"]
Unpriced = Literal["deny", "flag"]


class BudgetDecision(StrEnum):
    """What the budgets say to something that is going to cost."""

    ALLOW = "allow"
    WARN = "warn"
    """Allowed, but most of a budget is used, or one is exceeded that only warns."""
    DEGRADE = "degrade"
    """Only with the cheaper model the budget names."""
    DENY = "deny"

    @property
    def severity(self) -> int:
        """Place in the order in which decisions override each other."""
        return list(BudgetDecision).index(self)


class WindowKind(StrEnum):
    """The spans a limit can count in."""

    REQUEST = "request"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


_SUFFIX: Final[Mapping[WindowKind, str]] = {
    WindowKind.REQUEST: "per_request",
    WindowKind.MINUTE: "minute",
    WindowKind.HOUR: "hourly",
    WindowKind.DAY: "daily",
    WindowKind.MONTH: "monthly",
    WindowKind.TOTAL: "total",
}
_QUANTITIES: Final = ("tokens", "cost", "requests", "tool_calls", "turns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of everything that matches; `None` is no limit. Costs are US dollars: a float or text is taken as printed.

    Raises:
        InvalidInput: A limit is negative or too large, none is set, a name is empty, or the parts do not go together.
    """

    scope_id: str | None = None
    """The tenant; `"*"`: each tenant has one of its own; `None`: one for all together. With a person or a session `None`
    becomes `"*"`: two tenants may use the same name for theirs."""
    principal_id: str | None = None
    """A person of the scope; `"*"`: each has one of their own; `None`: one for all together."""
    session_id: str | None = None
    """A session of the scope; `"*"`: each has one of its own; `None`: one for all together."""
    model: str | None = None
    """Pattern of the models it counts, by name or `provider:model`; `None` counts all."""
    name: str | None = None
    """Tells budgets for the same people apart."""
    max_tokens_per_request: int | None = None
    max_tokens_minute: int | None = None
    max_tokens_hourly: int | None = None
    max_tokens_daily: int | None = None
    max_tokens_monthly: int | None = None
    max_tokens_total: int | None = None
    max_cost_per_request: Dollars = NO_LIMIT
    max_cost_minute: Dollars = NO_LIMIT
    max_cost_hourly: Dollars = NO_LIMIT
    max_cost_daily: Dollars = NO_LIMIT
    max_cost_monthly: Dollars = NO_LIMIT
    max_cost_total: Dollars = NO_LIMIT
    max_requests_minute: int | None = None
    max_requests_hourly: int | None = None
    max_requests_daily: int | None = None
    max_requests_monthly: int | None = None
    max_requests_total: int | None = None
    max_tool_calls_per_request: int | None = None
    """Tool calls of one model answer."""
    max_tool_calls_minute: int | None = None
    max_tool_calls_hourly: int | None = None
    max_tool_calls_daily: int | None = None
    max_tool_calls_monthly: int | None = None
    max_tool_calls_total: int | None = None
    max_turns_minute: int | None = None
    """Answers of models, counted as a run's `max_turns` are."""
    max_turns_hourly: int | None = None
    max_turns_daily: int | None = None
    max_turns_monthly: int | None = None
    max_turns_total: int | None = None
    warning_threshold: float = 0.8
    """Share of a limit from which on `budget.warned` is written, once per window."""
    exceed_strategy: ExceedStrategy = "deny"
    """`wait`: jobs wait until the window ends; where none does, they are blocked until somebody makes room."""
    degrade_to: str | None = None
    """Model of the same provider to ask when `exceed_strategy` is `degrade`."""
    mode: BudgetMode = "hard"
    """`hard` reserves an upper bound and refuses what has none; `estimate` reserves a calibrated estimate."""
    unpriced: Unpriced = "deny"
    """What to do about models without a known price, where a cost is limited."""
    timezone: str = "UTC"
    """In which hours, days and months begin."""

    def __post_init__(self) -> None:
        if self.scope_id is None and (self.principal_id is not None or self.session_id is not None):
            object.__setattr__(self, "scope_id", EACH)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("max_") and value is not None:
                object.__setattr__(self, field.name, _limit(field.name, value))
        if not any(
            field.name.startswith("max_") and getattr(self, field.name) is not None for field in fields(self)
        ):
            raise InvalidInput("a budget needs at least one limit")
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None:
                check_text(name, value)
        if not _is_number(self.warning_threshold) or not 0 < self.warning_threshold <= 1:
            raise InvalidInput(
                f"warning_threshold is a share above 0 up to 1, not {self.warning_threshold!r}"
            )
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InvalidInput(f"{name} is one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if (self.exceed_strategy == "degrade") != (self.degrade_to is not None):
            raise InvalidInput("exceed_strategy='degrade' and degrade_to belong together")

    @property
    def budget_id(self) -> str:
        """Its identity: setting another one for the same name, scope, principal, session and model replaces it."""
        parts = [self.name, self.scope_id, self.principal_id, self.session_id, self.model]
        return f"budget:{orjson.dumps(parts).decode()}"

    @property
    def label(self) -> str:
        """What people call it."""
        said = {
            "scope": self.scope_id,
            "principal": self.principal_id,
            "session": self.session_id,
            "model": self.model,
        }
        return self.name or " ".join(f"{key} {value}" for key, value in said.items() if value) or "everybody"

    @property
    def depends_on_zone(self) -> bool:
        """Whether it has a limit of a window that begins at another moment in another zone."""
        kinds = (WindowKind.HOUR, WindowKind.DAY, WindowKind.MONTH)
        return any(self.limits(kind) is not None for kind in kinds)

    def counter_id(self, scope_id: str, principal_id: str | None, session_id: str | None) -> str | None:
        """Return the name of the counters it uses for somebody, or `None` when it is not about them."""
        asked = (scope_id, principal_id, session_id)
        parts: list[Any] = [self.name]
        for own, value in zip((self.scope_id, self.principal_id, self.session_id), asked, strict=True):
            if own == EACH:
                parts.append([value])
            elif own is None or own == value:
                parts.append(own)
            else:
                return None
        return f"budget:{orjson.dumps([*parts, self.model]).decode()}"

    def counts_model(self, model: str | None, provider: str | None) -> bool:
        """Whether calls of a model count, however it is called; a budget of all models counts tool calls as well."""
        if self.model is None:
            return True
        if model is None:
            return False
        pattern = pattern_of_model(self.model)
        called = names_of_model((model, f"{provider or ''}:{model}"), restricts=True)
        return any(fnmatchcase(name, pattern) for name in called)

    def limits(self, kind: WindowKind) -> Limits | None:
        """Return the limits of one kind of window, if there are any."""
        found = {name: getattr(self, f"max_{name}_{_SUFFIX[kind]}", None) for name in _QUANTITIES}
        if all(value is None for value in found.values()):
            return None
        if found["cost"] is not None:
            found["cost"] = to_units(found["cost"])
        return Limits(**found)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return what is set, as JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: str(value) if isinstance(value, Decimal) else value
            for name, value in values.items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, data: JsonObject) -> Budget:
        """Build from what `to_dict` gave; unknown keys are ignored."""
        given: dict[str, Any] = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        return cls(**given)  # which checks them


_TEXTS: Final = ("scope_id", "principal_id", "session_id", "model", "name", "degrade_to", "timezone")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "exceed_strategy": ("deny", "degrade", "warn", "wait"),
    "mode": ("hard", "estimate"),
    "unpriced": ("deny", "flag"),
}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _limit(name: str, value: Any) -> int | Decimal:
    if not name.startswith("max_cost"):
        check_whole(name, value, most=MAX_COUNT)
        return int(value)
    try:
        limit = as_decimal(value)
    except (ArithmeticError, ValueError):
        limit = Decimal("NaN")
    if not limit.is_finite() or not 0 <= limit <= MAX_DOLLARS or to_dollars(to_units(limit)) != limit:
        raise InvalidInput(
            f"{name} is an amount of dollars from 0 to {MAX_DOLLARS:,} with at most 10 decimal places"
        )
    return limit


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """Where one limit stands in the current window. Costs are US dollars."""

    quantity: str
    """`tokens`, `cost`, `requests`, `tool_calls` or `turns`."""
    window: WindowKind
    starts_at: datetime | None = None
    """Of the window; `None` for `total`."""
    ends_at: datetime | None = None
    limit: int | Decimal
    settled: int | Decimal
    reserved: int | Decimal

    @property
    def left(self) -> int | Decimal:
        """What may still be reserved; negative when a vendor billed more than was reserved."""
        return self.limit - self.settled - self.reserved

    @property
    def share(self) -> float:
        """Used share of the limit."""
        used = float(self.settled + self.reserved)
        return used / float(self.limit) if self.limit else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """Where a budget stands. The plain attributes are those of the limit that is closest to its end."""

    budget: Budget
    lines: tuple[BudgetLine, ...]

    @property
    def tightest(self) -> BudgetLine:
        """The limit of which the largest share is used."""
        return max(self.lines, key=lambda line: line.share)

    @property
    def limit(self) -> int | Decimal:
        """Of the tightest limit."""
        return self.tightest.limit

    @property
    def settled(self) -> int | Decimal:
        """Spent, of the tightest limit."""
        return self.tightest.settled

    @property
    def reserved(self) -> int | Decimal:
        """Set aside for calls that run, of the tightest limit."""
        return self.tightest.reserved

    @property
    def left(self) -> int | Decimal:
        """Still to spend, of the tightest limit."""
        return self.tightest.left

    @property
    def window(self) -> WindowKind:
        """Window of the tightest limit."""
        return self.tightest.window
