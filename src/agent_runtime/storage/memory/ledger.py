"""The ledger, budgets and policies, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from agent_runtime.ports.commit import StoredPolicy
from agent_runtime.storage.memory.commit import spent_since
from agent_runtime.storage.memory.state import State
from agent_runtime.values.budget import NOTHING, Counters, EntryKey, LedgerEntry, LedgerFilter
from agent_runtime.values.opening import SpentBy
from agent_runtime.values.standing_budget import Budget


class LedgerReader:
    """Reads ledger entries and counters."""

    _state: State

    async def counters(self, keys: Sequence[tuple[str, str]]) -> Sequence[Counters]:
        """Return counters of `(budget_id, window)` pairs."""
        nothing = Counters(settled=NOTHING, reserved=NOTHING)
        return [self._state.counters.get(key, nothing) for key in keys]

    async def get_ledger_entry(self, scope_id: str, entry_id: str) -> LedgerEntry | None:
        """Return one entry of a scope, or `None`."""
        return self._state.ledger.get(EntryKey(scope_id, entry_id))

    async def ledger_entries(self, filter: LedgerFilter) -> Sequence[LedgerEntry]:  # noqa: A002
        """Return entries in the order they were written."""
        entries = list(enumerate(self._state.ledger.values(), self._state.forgotten + 1))
        if isinstance(filter.after, int):
            entries = entries[max(0, filter.after - self._state.forgotten) :]
        elif filter.after is not None:
            places = (place for place, (_, entry) in enumerate(entries) if entry.key == filter.after)
            entries = entries[next(places, len(entries)) + 1 :]
        found = (replace(entry, position=at) for at, entry in entries if filter.matches(entry))
        return [entry for entry, _ in zip(found, range(filter.limit), strict=False)]

    async def ledger_positions(self) -> tuple[int, int]:
        """Return the positions of the first and the last ledger entry."""
        state = self._state
        return (state.forgotten + 1, state.last_position) if state.ledger else (0, 0)

    async def spent(self, since: datetime, *, after: int, upto: int) -> Sequence[SpentBy]:
        """Return what entries at some positions have spent."""
        return spent_since(self._state, since, after, upto)


class RuleReader:
    """Reads standing budgets and policies."""

    _state: State

    async def standing_budgets(self) -> Sequence[Budget]:
        """Return all standing budgets, by id."""
        return [budget for _, budget in sorted(self._state.budgets.items())]

    async def get_policy(self, name: str, version: str) -> StoredPolicy | None:
        """Return a version of a policy, or `None`."""
        return self._state.policies.get((name, version))
