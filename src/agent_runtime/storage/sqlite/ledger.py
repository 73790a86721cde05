"""The ledger, budgets and policies, as they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

import orjson

from agent_runtime.ports.commit import StoredPolicy
from agent_runtime.storage import rows
from agent_runtime.storage.queries import list_ledger
from agent_runtime.storage.spent import spent_by
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import (
    DIALECT,
    decode,
    from_time,
)
from agent_runtime.storage.sqlite.view import counters_of
from agent_runtime.values.budget import Counters, LedgerEntry, LedgerFilter
from agent_runtime.values.opening import SpentBy
from agent_runtime.values.standing_budget import Budget


class LedgerReader:
    """Reads ledger entries and counters."""

    _reader: Reader

    async def counters(self, keys: Sequence[tuple[str, str]]) -> Sequence[Counters]:
        """Return counters of `(budget_id, window)` pairs."""

        def read(db: sqlite3.Connection) -> list[Counters]:
            found = (db.execute(sql.COUNTERS, key).fetchone() for key in keys)
            return [Counters() if row is None else counters_of(row) for row in found]

        return await self._reader.run(read)

    async def get_ledger_entry(self, scope_id: str, entry_id: str) -> LedgerEntry | None:
        """Return one entry of a scope, or `None`."""
        found = await self._reader.rows(
            f"SELECT {', '.join(rows.LEDGER)} FROM runtime_ledger WHERE event_id = ? AND scope_id = ?",  # noqa: S608
            (entry_id, scope_id),
        )
        return rows.ledger_entry(decode(rows.LEDGER, found[0])) if found else None

    async def ledger_entries(self, filter: LedgerFilter) -> Sequence[LedgerEntry]:  # noqa: A002
        """Return entries in the order they were written."""
        found = await self._reader.rows(*list_ledger(filter, DIALECT))
        return [rows.ledger_entry(decode(rows.LEDGER, row), place) for *row, place in found]

    async def ledger_positions(self) -> tuple[int, int]:
        """Return the positions of the first and the last ledger entry; with one writer, nothing comes in between later."""
        ((first, last),) = await self._reader.rows("SELECT min(id), max(id) FROM runtime_ledger")
        return (first or 0, last or 0)

    async def spent(self, since: datetime, *, after: int, upto: int) -> Sequence[SpentBy]:
        """Add up the entries at some positions."""
        places = {"since": from_time(since), "after": after, "upto": upto}
        found = await self._reader.rows(sql.SPENT_SINCE, places)
        return [spent_by(row) for row in found]


class RuleReader:
    """Reads standing budgets and policies."""

    _reader: Reader

    async def standing_budgets(self) -> Sequence[Budget]:
        """Return all standing budgets, by id."""
        found = await self._reader.rows("SELECT limits FROM runtime_budgets ORDER BY budget_id")
        return [Budget.from_dict(orjson.loads(limits)) for (limits,) in found]

    async def get_policy(self, name: str, version: str) -> StoredPolicy | None:
        """Return a version of a policy, or `None`."""
        found = await self._reader.rows(
            "SELECT document FROM runtime_policies WHERE name = ? AND version = ?", (name, version)
        )
        return StoredPolicy(name, version, orjson.loads(found[0][0])) if found else None
