"""Reading the ledger: pages of entries, and what they add up to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, TypedDict

from agent_runtime.errors import InvalidInput
from agent_runtime.ledger.totals import CHECK, UsageTotal
from agent_runtime.ports.readers import LedgerReader
from agent_runtime.values.budget import LedgerEntry, LedgerFilter

PAGE: Final = 1000
"""Entries that are read at a time."""


class EntryFilters(TypedDict, total=False):
    """Which entries of the ledger are meant; what is left out is not looked at."""

    scope_id: str | None
    job_id: str | None
    principal_id: str | None
    type: str | None
    since: datetime | None
    until: datetime | None


async def entry_of(storage: LedgerReader, entry_id: str, scope_id: str | None) -> LedgerEntry:
    """Return one entry.

    Raises:
        InvalidInput: There is none, or several scopes have one and none is named.
    """
    wanted = LedgerFilter(scope_id=scope_id, entry_id=entry_id, limit=2)
    found = await storage.ledger_entries(wanted)
    if not found:
        raise InvalidInput(f"no ledger entry {entry_id!r}")
    if len(found) > 1:
        raise InvalidInput(f"several scopes have a ledger entry {entry_id!r}; say which one's is meant")
    return found[0]


async def page_of(
    storage: LedgerReader, filters: EntryFilters, after: LedgerEntry | None, limit: int
) -> Sequence[LedgerEntry]:
    """Return the entries that come after one, in the order they were written."""
    place = None if after is None else after.key if after.position is None else after.position
    return await storage.ledger_entries(LedgerFilter(**filters, after=place, limit=limit))


async def totals_of(
    storage: LedgerReader, filters: EntryFilters, group: Callable[[LedgerEntry], str]
) -> dict[str, UsageTotal]:
    """Add up the entries that match, group by group."""
    totals: dict[str, UsageTotal] = {}
    after: LedgerEntry | None = None
    while page := await page_of(storage, filters, after, PAGE):
        grouped: dict[str, list[LedgerEntry]] = {}
        for one in page:
            if one.type != CHECK:
                grouped.setdefault(group(one), []).append(one)
        for name, entries in grouped.items():
            totals[name] = totals.get(name, UsageTotal()).plus(entries)
        after = page[-1]
        if len(page) < PAGE:
            break
    return totals
