"""`Ledger`: what was spent, entry by entry and in sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from agent_runtime.ledger.store import LedgerWriter
from agent_runtime.values.budget import LedgerEntry
from agent_runtime.values.money import to_dollars

_PAGE = 1000


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
    failed: int = 0
    uncertain: int = 0
    """Entries whose answer was lost, billed at the reserved maximum."""
    unpriced: int = 0
    """Entries without a known price: `cost` is a lower bound."""

    @property
    def total_tokens(self) -> int:
        """Input plus output."""
        return self.input_tokens + self.output_tokens


class Ledger:
    """Reads the append-only ledger.

    Args:
        writer: Where its entries are kept.
    """

    def __init__(self, writer: LedgerWriter) -> None:
        self._storage = writer.storage

    async def entries(
        self,
        *,
        scope_id: str | None = None,
        job_id: str | None = None,
        principal_id: str | None = None,
        type: str | None = None,  # noqa: A002 -- the documented name
        since: datetime | None = None,
        until: datetime | None = None,
        after: str | None = None,
        limit: int = _PAGE,
    ) -> Sequence[LedgerEntry]:
        """Return entries in the order they were written; `after` is the last entry id of the page before."""
        return await self._storage.ledger_entries(
            scope_id=scope_id,
            job_id=job_id,
            principal_id=principal_id,
            type=type,
            since=since,
            until=until,
            after=after,
            limit=limit,
        )

    async def total(
        self,
        *,
        scope_id: str | None = None,
        job_id: str | None = None,
        principal_id: str | None = None,
        type: str | None = None,  # noqa: A002
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> UsageTotal:
        """Add up the entries that match."""
        total = UsageTotal()
        after: str | None = None
        while True:
            page = await self.entries(
                scope_id=scope_id,
                job_id=job_id,
                principal_id=principal_id,
                type=type,
                since=since,
                until=until,
                after=after,
            )
            total = _added(total, page)
            if len(page) < _PAGE:
                return total
            after = page[-1].entry_id


def _added(total: UsageTotal, entries: Sequence[LedgerEntry]) -> UsageTotal:
    return UsageTotal(
        input_tokens=total.input_tokens + sum(entry.input_tokens for entry in entries),
        output_tokens=total.output_tokens + sum(entry.output_tokens for entry in entries),
        cached_tokens=total.cached_tokens + sum(entry.cached_tokens for entry in entries),
        reasoning_tokens=total.reasoning_tokens + sum(entry.reasoning_tokens for entry in entries),
        cost=total.cost + to_dollars(sum(entry.cost or 0 for entry in entries)),
        entries=total.entries + len(entries),
        failed=total.failed + sum(entry.status == "failed" for entry in entries),
        uncertain=total.uncertain + sum(entry.uncertain for entry in entries),
        unpriced=total.unpriced + sum(entry.cost is None for entry in entries),
    )
