"""What is spent, reserved and allowed, in the units that counters add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from agent_runtime.values.checks import check_texts, check_time, check_whole
from agent_runtime.values.context import DEFAULT_SCOPE, BudgetSpec
from agent_runtime.values.money import to_units

DIMENSIONS = ("tokens", "cost", "requests", "tool_calls", "turns")


class Amount(NamedTuple):
    """Quantities of everything a budget counts; `cost` in 10⁻¹⁰ dollars. May be negative, to take back.

    A tuple, because some dozens are made for every model call.
    """

    tokens: int = 0
    cost: int = 0
    """10⁻¹⁰ dollars."""
    requests: int = 0
    tool_calls: int = 0
    turns: int = 0

    def __add__(self, other: Amount) -> Amount:  # type: ignore[override]  # adds up, where a tuple appends
        if other is NOTHING:
            return self
        if self is NOTHING:
            return other
        return Amount(
            self.tokens + other.tokens,
            self.cost + other.cost,
            self.requests + other.requests,
            self.tool_calls + other.tool_calls,
            self.turns + other.turns,
        )

    def __neg__(self) -> Amount:
        return Amount(-self.tokens, -self.cost, -self.requests, -self.tool_calls, -self.turns)

    def __bool__(self) -> bool:
        return any(iter(self))

    def to_dict(self) -> dict[str, int]:
        """Return the non-zero quantities."""
        return {name: value for name, value in zip(DIMENSIONS, self, strict=True) if value}


NOTHING = Amount()

ADJUSTED = "adjusted"
"""Status of an entry that corrects another one."""


class Limits(NamedTuple):
    """Upper bounds for settled plus reserved; `None` is no bound."""

    tokens: int | None = None
    cost: int | None = None
    requests: int | None = None
    tool_calls: int | None = None
    turns: int | None = None

    @classmethod
    def of(cls, spec: BudgetSpec) -> Limits:
        """Return what a run's budget bounds (its running time is kept by the kernel)."""
        return cls(
            tokens=spec.max_tokens,
            cost=None if spec.max_cost is None else to_units(spec.max_cost),
            tool_calls=spec.max_tool_calls,
            turns=spec.max_turns,
        )

    def exceeded_by(self, used: Amount, asked: Amount) -> str | None:
        """Return the first dimension that `asked` adds to and that would pass its bound, if any."""
        for place, limit in enumerate(self):
            if limit is not None and 0 < asked[place] > limit - used[place]:
                return DIMENSIONS[place]
        return None


class Charge(NamedTuple):
    """A change of one budget's counters, made in the commit that records its cause.

    With `limits`, the commit is refused (`BudgetRejected`) when settled + reserved would pass them in a quantity that
    `reserve` and `settle` add to.
    """

    budget_id: str
    window: str = ""
    """Start of the window as ISO text; empty for budgets without one."""
    reserve: Amount = NOTHING
    settle: Amount = NOTHING
    limits: Limits | None = None
    forget_before: str = ""
    """When the window is a new one: older ones of its kind before this key, in which nothing is reserved, are deleted."""


def run_budget_id(scope_id: str, run: str) -> str:
    """Return the name of a run's own counters, from its chain or the id a caller has given: others may give the same."""
    return f"run:{orjson.dumps([scope_id, run]).decode()}"


class Counters(NamedTuple):
    """Where a budget's counters stand in one window."""

    settled: Amount = NOTHING
    reserved: Amount = NOTHING


class EntryKey(NamedTuple):
    """Names a ledger entry: two tenants may give theirs the same id."""

    scope_id: str
    entry_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One provider attempt or tool call, and what it cost. Append-only."""

    entry_id: str
    """Unique per attempt in its scope: operation id and attempt number."""
    type: str
    """`model_usage`, `embedding_usage`, `tool_usage`, `connector_usage` or `budget_check`."""
    job_id: str | None = None
    scope_id: str = DEFAULT_SCOPE
    principal_id: str | None = None
    session_id: str | None = None
    run_id: str | None = None
    agent: str | None = None
    provider: str | None = None
    model: str | None = None
    tool_name: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal | None = Decimal(0)
    """US dollars, exact to ten decimal places; `None` when no price is known."""
    price_source: str | None = None
    """Where the price comes from and its version; `vendor` where the vendor said the cost."""
    status: str = "completed"
    """`completed`, `failed`, or `adjusted`: the difference to an earlier entry, named in `metadata`, found out later."""
    uncertain: bool = False
    """The answer was lost; the cost is the reserved maximum."""
    duration_ms: int | None = None
    timestamp: datetime
    metadata: Mapping[str, Any] = field(default_factory=dict)
    position: int | None = field(default=None, compare=False)
    """Where it stands among all entries, once it was read from a list."""

    @property
    def key(self) -> EntryKey:
        """Names it among the entries of all scopes."""
        return EntryKey(self.scope_id, self.entry_id)

    @property
    def total_tokens(self) -> int:
        """Input plus output."""
        return self.input_tokens + self.output_tokens

    @property
    def service_tier(self) -> str | None:
        """The tier whose price was taken, such as `standard` or `priority`; `None` where nothing was said of it."""
        tier = self.metadata.get("service_tier")
        return tier if isinstance(tier, str) else None

    @property
    def was(self) -> str | None:
        """What the entry was that this one corrects: `uncertain` or `unpriced`; `None` of one that corrects nothing."""
        was = self.metadata.get("was") if self.status == ADJUSTED else None
        return was if isinstance(was, str) else None

    @property
    def units(self) -> int | None:
        """Its cost as storages keep it, in 10⁻¹⁰ dollars."""
        return None if self.cost is None else to_units(self.cost)

    @property
    def counted(self) -> Amount:
        """What a budget counts of it. An unknown price counts as nothing, a request that was refused as none."""
        asked = self.type in ("model_usage", "embedding_usage") and self.status != "adjusted"
        refused = self.status == "failed" and not (self.uncertain or self.total_tokens or self.cost)
        return Amount(
            tokens=self.total_tokens,
            cost=self.units or 0,
            requests=int(asked and not refused),
            tool_calls=int(self.type == "tool_usage" and self.status != "adjusted"),
            turns=int(self.type == "model_usage" and self.status == "completed" and not self.uncertain),
        )


LedgerEvent = LedgerEntry
"""An entry, as the documents this product was described with call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFilter:
    """Which ledger entries to list: in the order they were written, `limit` at a time."""

    scope_id: str | None = None
    entry_id: str | None = None
    job_id: str | None = None
    principal_id: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Entries of this very moment are left out."""
    corrections: bool = False
    """Only what was found out later about earlier entries."""
    after: EntryKey | int | None = None
    """Key or position of the last entry of the page before. Only a position leads on when that entry was pruned meanwhile."""
    limit: int = 1000

    def __post_init__(self) -> None:
        check_texts(self, "scope_id", "entry_id", "job_id", "principal_id", "type")
        check_time("since", self.since)
        check_time("until", self.until)
        check_whole("limit", self.limit)

    def matches(self, entry: LedgerEntry) -> bool:
        """Whether an entry is one of those asked for, wherever it stands in the list."""
        return (
            self.scope_id in (None, entry.scope_id)
            and self.entry_id in (None, entry.entry_id)
            and self.job_id in (None, entry.job_id)
            and self.principal_id in (None, entry.principal_id)
            and self.type in (None, entry.type)
            and (self.since is None or entry.timestamp >= self.since)
            and (self.until is None or entry.timestamp < self.until)
            and (not self.corrections or entry.status == ADJUSTED)
        )
