"""What one process knows of budgets."""

from __future__ import annotations

from collections.abc import Sequence

from agent_runtime.ledger.budget_registry import BudgetRegistry
from agent_runtime.ledger.counter_cache import MAX_KEYS, CounterCache
from agent_runtime.ledger.reservations import ApplicableBudget, Key
from agent_runtime.ledger.waiting_line import WaitingLine
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.storage import Storage
from agent_runtime.values.budget import Charge, Counters


class BudgetAccounts:
    """Which budgets there are, where their counters were last seen, who waits for room in them, and what people were told.

    Args:
        storage: Where budgets and counters are kept.
        clock: How long what is known of stored budgets holds.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self.storage = storage
        self.registry = BudgetRegistry(clock)
        self.line = WaitingLine()
        """Calls that wait for what others have reserved."""
        self._counters = CounterCache()
        self._told: dict[Key, None] = {}
        """Stages of limits of which people have been told."""

    async def refresh(self) -> None:
        """Learn of standing budgets that others have stored or changed."""
        await self.registry.refresh(self.storage)

    def known(self, budgets: Sequence[ApplicableBudget]) -> list[Counters] | None:
        """Return where counters were last seen, or `None` when one was never read; what is not counted has zeros."""
        known = self._counters.known(_keys(budgets))
        return None if known is None else _with_zeros(budgets, known)

    async def read(self, budgets: Sequence[ApplicableBudget], *, fresh: bool = False) -> list[Counters]:
        """Return counters, as last seen or as they are."""
        return _with_zeros(budgets, await self._counters.read(self.storage, _keys(budgets), fresh=fresh))

    def forget(self, budgets: Sequence[ApplicableBudget]) -> None:
        """Read the counters of these budgets again before their next use."""
        self._counters.forget(_keys(budgets))

    def changed(self) -> None:
        """Learn that budgets have been stored or deleted here."""
        self._counters.forget_all()
        self.registry.forget_stored()
        self.line.call_everybody()

    def charged(self, charges: Sequence[Charge]) -> None:
        """Learn of charges that have been committed here."""
        self._counters.note(charges)
        self.line.given_back(
            (charge.budget_id, charge.window)
            for charge in charges
            if min(*charge.reserve, *charge.settle) < 0
        )

    def was_recorded(self, stage: Key) -> bool:
        """Whether it is written that a budget has come to a stage."""
        return stage in self._told

    def note_recorded(self, stage: Key) -> None:
        """Remember that this is written."""
        if len(self._told) > MAX_KEYS:
            self._told.clear()
        self._told[stage] = None


def _keys(budgets: Sequence[ApplicableBudget]) -> list[Key]:
    return [budget.key for budget in budgets if budget.counted]


def _with_zeros(budgets: Sequence[ApplicableBudget], counters: Sequence[Counters]) -> list[Counters]:
    found = iter(counters)
    return [next(found) if budget.counted else Counters() for budget in budgets]
