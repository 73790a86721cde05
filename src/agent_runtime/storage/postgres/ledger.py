"""The ledger, budgets and policies, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from agent_runtime.ports.commit import StoredPolicy
from agent_runtime.storage import rows
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.locks import writers_gone
from agent_runtime.storage.postgres.transaction import counters_of, spent_rows
from agent_runtime.storage.postgres.values import (
    DIALECT,
    decode,
    from_json,
    to_text,
)
from agent_runtime.storage.queries import list_ledger
from agent_runtime.values.budget import Counters, LedgerEntry, LedgerFilter
from agent_runtime.values.opening import SpentBy
from agent_runtime.values.standing_budget import Budget

_LEDGER = ", ".join(rows.LEDGER)


class LedgerReader:
    """Reads ledger entries and counters."""

    _connections: Connections

    async def counters(self, keys: Sequence[tuple[str, str]]) -> Sequence[Counters]:
        """Return counters of `(budget_id, window)` pairs."""
        budgets, windows = [to_text(key[0]) for key in keys], [to_text(key[1]) for key in keys]
        found = await self._connections.fetch(sql.COUNTERS, budgets, windows)
        known = {(budget_id, window): counters_of(amounts) for budget_id, window, *amounts in found}
        return [known.get(key, Counters()) for key in zip(budgets, windows, strict=True)]

    async def get_ledger_entry(self, scope_id: str, entry_id: str) -> LedgerEntry | None:
        """Return one entry of a scope, or `None`."""
        statement = f"SELECT {_LEDGER} FROM runtime_ledger WHERE event_id = $1 AND scope_id = $2"  # noqa: S608
        found = await self._connections.fetch(statement, to_text(entry_id), to_text(scope_id))
        return _entry(tuple(found[0])) if found else None

    async def ledger_entries(self, filter: LedgerFilter) -> Sequence[LedgerEntry]:  # noqa: A002
        """Return entries in the order they were written."""
        text, parameters = list_ledger(filter, DIALECT)
        found = await self._connections.fetch(text, *parameters)
        return [_entry(tuple(row)[:-1], row[-1]) for row in found]

    async def ledger_positions(self) -> tuple[int, int]:
        """Return the positions of the first and the last ledger entry, once nothing can come to stand between them."""
        ((first, last),) = await self._connections.fetch(sql.LEDGER_POSITIONS)
        await writers_gone(self._connections, "runtime_ledger")
        return first, last

    async def spent(self, since: datetime, *, after: int, upto: int) -> Sequence[SpentBy]:
        """Add up the entries at some positions."""
        return spent_rows(await self._connections.fetch(sql.SPENT_SINCE, since, after, upto))


class RuleReader:
    """Reads standing budgets and policies."""

    _connections: Connections

    async def standing_budgets(self) -> Sequence[Budget]:
        """Return all standing budgets, by id."""
        found = await self._connections.fetch("SELECT limits FROM runtime_budgets ORDER BY budget_id")
        return [Budget.from_dict(from_json(limits)) for (limits,) in found]

    async def get_policy(self, name: str, version: str) -> StoredPolicy | None:
        """Return a version of a policy, or `None`."""
        found = await self._connections.fetch(
            "SELECT document FROM runtime_policies WHERE name = $1 AND version = $2",
            to_text(name),
            to_text(version),
        )
        return StoredPolicy(name, version, from_json(found[0][0])) if found else None


def _entry(row: Sequence[object], position: int | None = None) -> LedgerEntry:
    return rows.ledger_entry(decode(rows.LEDGER, row), position)
