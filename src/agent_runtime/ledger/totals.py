"""Ledger entries, added up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Final, Literal

from agent_runtime.errors import InvalidInput
from agent_runtime.time_zones import zone
from agent_runtime.values.budget import ADJUSTED, LedgerEntry

CHECK: Final = "budget_check"
"""Type of entries that record a decision, not a use."""

Group = Literal[
    "scope", "principal", "session", "model", "provider", "agent", "tool", "job", "day", "tier", "price"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotal:
    """Ledger entries, added up."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal = Decimal(0)
    """US dollars of everything that has a price."""
    entries: int = 0
    """Provider attempts and tool calls; corrections are not counted."""
    failed: int = 0
    uncertain: int = 0
    """Entries whose answer was lost, billed at the reserved maximum and not corrected since."""
    unpriced: int = 0
    """Entries without a known price: `cost` is a lower bound."""

    @property
    def total_tokens(self) -> int:
        """Input plus output."""
        return self.input_tokens + self.output_tokens

    def plus(self, entries: Iterable[LedgerEntry]) -> UsageTotal:
        """Return the total with more entries."""
        used = [entry for entry in entries if entry.type != CHECK]
        new = [entry for entry in used if entry.status != ADJUSTED]
        corrected = [entry.was for entry in used]
        return UsageTotal(
            input_tokens=self.input_tokens + sum(entry.input_tokens for entry in used),
            output_tokens=self.output_tokens + sum(entry.output_tokens for entry in used),
            cached_tokens=self.cached_tokens + sum(entry.cached_tokens for entry in used),
            reasoning_tokens=self.reasoning_tokens + sum(entry.reasoning_tokens for entry in used),
            cost=self.cost + sum((entry.cost for entry in used if entry.cost is not None), Decimal(0)),
            entries=self.entries + len(new),
            failed=self.failed + sum(entry.status == "failed" for entry in new),
            uncertain=self.uncertain + sum(entry.uncertain for entry in new) - corrected.count("uncertain"),
            unpriced=self.unpriced + sum(entry.cost is None for entry in new) - corrected.count("unpriced"),
        )


def sum_of(totals: Iterable[UsageTotal]) -> UsageTotal:
    """Return what several sums come to."""
    found = list(totals)
    return UsageTotal(
        **{field.name: sum(getattr(total, field.name) for total in found) for field in fields(UsageTotal)}
    )


def grouping(by: str, timezone: str = "UTC") -> Callable[[LedgerEntry], str]:
    """Return what names an entry's group. Raises `InvalidInput`."""
    if by == "day":
        local = zone(timezone)
        return lambda entry: entry.timestamp.astimezone(local).date().isoformat()
    if by not in list(_FIELDS):  # of anything, also of what has no hash
        raise InvalidInput(f"costs are grouped by {', '.join([*_FIELDS, 'day'])}")
    field = _FIELDS[by]
    return lambda entry: getattr(entry, field) or ""


_FIELDS: Final[Mapping[str, str]] = {
    "scope": "scope_id",
    "principal": "principal_id",
    "session": "session_id",
    "model": "model",
    "provider": "provider",
    "agent": "agent",
    "tool": "tool_name",
    "job": "job_id",
    "tier": "service_tier",
    "price": "price_source",
}
