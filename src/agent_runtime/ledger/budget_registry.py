"""Which budgets there are, and which of them something that costs is counted in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agent_runtime.ledger.reservations import FAR, ApplicableBudget
from agent_runtime.ledger.windows import window_at
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.storage import Storage
from agent_runtime.time_zones import unknown_zone, unknown_zones
from agent_runtime.values.budget import Limits
from agent_runtime.values.context import BudgetSpec
from agent_runtime.values.standing_budget import EACH, Budget, WindowKind

MAX_KNOWN: Final = 10_000
"""Spenders whose budgets are remembered."""

_NEVER: Final[tuple[datetime, datetime, list[ApplicableBudget]]] = (FAR, FAR, [])
REFRESH_SECONDS: Final = 1.0
"""How old what is known of the stored budgets may be when a call is admitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spender:
    """On whose behalf something costs."""

    scope_id: str
    principal_id: str | None = None
    session_id: str | None = None


class BudgetRegistry:
    """Standing budgets: those set in this process, and those that are stored for everybody.

    Where both have the same id, the one set here holds here. Counters are shared either way.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._local: dict[str, Budget] = {}
        self._stored: dict[str, Budget] = {}
        self._by_scope: dict[str, list[Budget]] = {}
        self._known: dict[
            tuple[Spender, str | None, str | None], tuple[datetime, datetime, list[ApplicableBudget]]
        ] = {}
        """What was found for somebody, and from when until when it holds: a window is the same until it ends."""
        self._new_zones: set[str] = set()
        self._unknown_zones: frozenset[str] = frozenset()
        """Zones of budgets that are not known on this machine: only who spends from these budgets has to wait."""
        self._read_at: float | None = None
        self._reading: asyncio.Lock | None = None

    def set(self, budget: Budget) -> None:
        """Let a budget hold in this process from now on."""
        self._local[budget.budget_id] = budget
        self._index()

    def drop(self, budget_id: str) -> bool:
        """Forget a budget that was set in this process."""
        found = self._local.pop(budget_id, None)
        self._index()
        return found is not None

    def forget_stored(self) -> None:
        """Read the stored budgets again before the next use."""
        self._read_at = None

    async def refresh(self, storage: Storage) -> None:
        """Read the stored budgets, unless that was done a moment ago, and the time zones of all."""
        now = self._clock.monotonic()
        if self._read_at is None or now - self._read_at >= REFRESH_SECONDS:
            before = self._read_at
            if before is not None:  # what was read then holds for the others while one of us reads anew
                self._read_at = now
            try:
                stored = {budget.budget_id: budget for budget in await storage.standing_budgets()}
            except BaseException:
                self._read_at = before
                raise
            self._read_at = now
            if stored != self._stored:
                self._stored = stored
                self._index()
        if self._new_zones:
            await self._read_zones()

    async def _read_zones(self) -> None:
        """Read them once for all who ask, who go on in the order in which they came: the first of them has the room."""
        self._reading = self._reading or asyncio.Lock()
        async with self._reading:
            while self._new_zones:  # more may come while these are read
                zones = self._new_zones
                unknown = await unknown_zones(zones)
                if zones is self._new_zones:
                    self._unknown_zones, self._new_zones = unknown, set()

    def _index(self) -> None:
        self._by_scope = {}
        self._known = {}
        self._new_zones = {budget.timezone for budget in self.all()} - {"UTC"}
        for budget in self.all():
            self._by_scope.setdefault(_place(budget.scope_id), []).append(budget)

    def __bool__(self) -> bool:
        return bool(self._by_scope)

    def all(self) -> Sequence[Budget]:
        """Return every budget that holds in this process, by id."""
        return [budget for _, budget in sorted({**self._stored, **self._local}.items())]

    def applicable(
        self, spender: Spender, at: datetime, *, model: str | None = None, provider: str | None = None
    ) -> list[ApplicableBudget]:
        """Return the budgets, window by window, that a call of a model is counted in; without a model, a tool call.

        Raises:
            ConfigurationError: The time zone of one of them is not known here.
        """
        if not self._by_scope:
            return []
        asked = (spender, model, provider)
        since, until, known = self._known.get(asked, _NEVER)
        if since <= at < until:
            return list(known)
        found = self._find(spender, at, model, provider)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[asked] = (at, min((budget.until for budget in found), default=FAR), found)
        return list(found)

    def _find(
        self, spender: Spender, at: datetime, model: str | None, provider: str | None
    ) -> list[ApplicableBudget]:
        found: list[ApplicableBudget] = []
        places = dict.fromkeys((spender.scope_id, EACH))
        for budget in (budget for place in places for budget in self._by_scope.get(place, ())):
            counter_id = budget.counter_id(spender.scope_id, spender.principal_id, spender.session_id)
            if counter_id is not None and budget.counts_model(model, provider):
                if budget.timezone in self._unknown_zones and budget.depends_on_zone:
                    raise unknown_zone(budget.timezone)
                found += windows_of(budget, counter_id, at)
        return found


def _place(scope_id: str | None) -> str:
    return EACH if scope_id is None else scope_id


def windows_of(budget: Budget, counter_id: str, at: datetime) -> Iterable[ApplicableBudget]:
    """Return one applicable budget for each kind of window that has a limit."""
    for kind in WindowKind:
        limits = budget.limits(kind)
        if limits is None:
            continue
        window = window_at(kind, at, budget.timezone)
        yield ApplicableBudget(
            budget_id=counter_id,
            limits=limits,
            window=window.key,
            label=budget.label if kind is not WindowKind.REQUEST else f"{budget.label} per request",
            counted=kind is not WindowKind.REQUEST,
            hard=budget.mode == "hard",
            on_exceed=budget.exceed_strategy,
            degrade_to=budget.degrade_to,
            flag_unpriced=budget.unpriced == "flag",
            warning_threshold=budget.warning_threshold,
            forget_before=window.forget_before,
            until=window.ends_at or FAR,
        )


def run_budget(budget_id: str, spec: BudgetSpec) -> ApplicableBudget:
    """Return a run's own limits as a budget."""
    return ApplicableBudget(
        budget_id=budget_id,
        limits=Limits.of(spec),
        hard=spec.mode == "hard",
        flag_unpriced=spec.unpriced == "flag",
        on_exceed=spec.exceed_strategy,
    )
