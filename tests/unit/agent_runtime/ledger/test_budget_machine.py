"""Budgets against a naive model: concurrent reservers, failures, killed holders, windows that roll over.

The model keeps a list of everything that was ever set aside or spent, with the minute and the day it happened in, and adds
it up from scratch. After every step the ledger must say the same, and no limit may be passed.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent_runtime import Budget, BudgetExceededError, ExecutionContext, Ledger, Reservation
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.testing.clock import FakeClock
from llm_client.usage import Usage

BERLIN = ZoneInfo("Europe/Berlin")
EVE_OF_SUMMER_TIME = datetime(2026, 3, 28, 21, 59, 30, tzinfo=UTC)
CENT = Decimal("0.01")
TENANT = Budget(
    scope_id="a",
    max_cost_minute="0.20",
    max_cost_daily="0.50",
    max_tokens_total=600,
    max_requests_minute=6,
    timezone="Europe/Berlin",
)
PERSON = Budget(scope_id="a", principal_id="*", max_cost_total="0.40", max_tokens_daily=300)
LIMITS: dict[tuple[str, str, str], Any] = {
    ("tenant", "minute", "cost"): Decimal("0.20"),
    ("tenant", "day", "cost"): Decimal("0.50"),
    ("tenant", "total", "tokens"): 600,
    ("tenant", "minute", "requests"): 6,
    ("person", "total", "cost"): Decimal("0.40"),
    ("person", "day", "tokens"): 300,
}
people = st.sampled_from(["ann", "bob"])
amounts = st.tuples(st.integers(0, 120), st.integers(0, 15))


@dataclass(eq=False)
class Use:
    """Something set aside or spent, as the model remembers it."""

    who: str
    at: datetime
    tokens: int
    cost: Decimal
    requests: int = 1
    reserved: bool = True


@dataclass
class Naive:
    """Adds up everything from scratch."""

    uses: list[Use] = field(default_factory=list)

    def total(
        self, budget: str, window: str, quantity: str, who: str, at: datetime, *, reserved: bool
    ) -> Any:
        def same(use: Use) -> bool:
            if budget == "person" and use.who != who:
                return False
            zone = BERLIN if budget == "tenant" else UTC
            if window == "day":
                return use.at.astimezone(zone).date() == at.astimezone(zone).date()
            return window == "total" or use.at.replace(second=0) == at.replace(second=0)

        return sum(getattr(use, quantity) for use in self.uses if use.reserved is reserved and same(use))

    def fits(self, who: str, at: datetime, tokens: int, cost: Decimal) -> bool:
        asked = {"tokens": tokens, "cost": cost, "requests": 1}
        return all(
            not asked[quantity]
            or sum(
                self.total(budget, window, quantity, who, at, reserved=reserved) for reserved in (True, False)
            )
            + asked[quantity]
            <= limit
            for (budget, window, quantity), limit in LIMITS.items()
        )


class BudgetMachine(RuleBasedStateMachine):
    """Two people of one tenant, and any number of processes."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock(EVE_OF_SUMMER_TIME)
        self.naive = Naive()
        self.held: list[tuple[Reservation, Use]] = []

    def run(self, awaitable: Any) -> Any:
        async def wait() -> Any:
            return await awaitable

        return self.runner.run(wait())

    def make_storage(self) -> Storage:
        return MemoryStorage()

    @initialize()
    def begin(self) -> None:
        self.storage = self.make_storage()
        self.run(self.storage.open())
        self.new_process()

    def new_process(self) -> None:
        self.ledger = Ledger(StorageView(self.storage), clock=self.clock)
        for budget in (TENANT, PERSON):
            self.ledger.set_budget(budget)

    async def reserve(self, who: str, tokens: int, cents: int) -> tuple[Reservation, Use] | None:
        context = ExecutionContext(scope_id="a", principal_id=who)
        try:
            made = await self.ledger.reserve(context, tokens=tokens, cost=cents * CENT, expires_in=90)
        except BudgetExceededError:
            return None
        use = Use(who, self.clock.now(), tokens, cents * CENT)
        self.naive.uses.append(use)
        return made, use

    @rule(who=people, amount=amounts)
    def reserve_one(self, who: str, amount: tuple[int, int]) -> None:
        tokens, cents = amount
        expected = self.naive.fits(who, self.clock.now(), tokens, cents * CENT)
        made = self.run(self.reserve(who, tokens, cents))
        assert (made is not None) == expected
        if made is not None:
            self.held.append(made)

    @rule(asked=st.lists(st.tuples(people, amounts), min_size=2, max_size=6))
    def reserve_at_once(self, asked: list[tuple[str, tuple[int, int]]]) -> None:
        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*(self.reserve(who, *amount) for who, amount in asked))

        self.held += [made for made in self.run(all_of_them()) if made is not None]

    def take(self, index: int) -> tuple[Reservation, Use]:
        return self.held.pop(index % len(self.held))

    @precondition(lambda self: self.held)
    @rule(index=st.integers(0, 99), share=st.floats(0, 1))
    def settle(self, index: int, share: float) -> None:
        reservation, use = self.take(index)
        tokens, cost = (
            int(use.tokens * share),
            (use.cost * Decimal(str(round(share, 2)))).quantize(Decimal("1e-6")),
        )
        usage = Usage(input_tokens=tokens, requests=1).with_cost(cost, "test")
        entry = self.run(self.ledger.settle(reservation, usage))
        assert not entry.uncertain
        use.tokens, use.cost, use.reserved = tokens, cost, False

    @precondition(lambda self: self.held)
    @rule(index=st.integers(0, 99))
    def lose_the_answer(self, index: int) -> None:
        reservation, use = self.take(index)
        assert self.run(self.ledger.settle(reservation)).uncertain
        use.reserved = False

    @precondition(lambda self: self.held)
    @rule(index=st.integers(0, 99))
    def give_back(self, index: int) -> None:
        reservation, use = self.take(index)
        self.run(self.ledger.release(reservation))
        self.naive.uses.remove(use)

    @rule()
    def kill_the_process(self) -> None:
        """Whoever held reservations is gone; another process finds them once they have expired."""
        self.held = []
        self.new_process()

    @rule(seconds=st.sampled_from([1, 29, 60, 100, 1800, 3600, 7200, 86_400]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.move(seconds=seconds)
        now = self.clock.now()
        self.run(self.ledger.expire_reservations())
        for use in self.naive.uses:
            if use.reserved and (now - use.at).total_seconds() >= 90:
                use.reserved = False
        self.held = [(made, use) for made, use in self.held if use.reserved]

    @invariant()
    def the_ledger_says_what_the_model_says_and_no_limit_is_passed(self) -> None:
        if not hasattr(self, "ledger"):
            return
        now = self.clock.now()
        for who in ("ann", "bob"):
            context = ExecutionContext(scope_id="a", principal_id=who)
            for name, budget in (("tenant", TENANT), ("person", PERSON)):
                for line in self.run(self.ledger.status(budget, context)).lines:
                    key = (name, line.window.value, line.quantity)
                    assert line.limit == LIMITS[key]
                    assert line.settled == self.naive.total(*key, who, now, reserved=False), key
                    assert line.reserved == self.naive.total(*key, who, now, reserved=True), key
                    assert line.settled + line.reserved <= line.limit, key

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            total = self.run(self.ledger.total())
            spent = [use for use in self.naive.uses if not use.reserved]
            assert (total.entries, total.cost) == (len(spent), sum(use.cost for use in spent))
            self.run(self.storage.aclose())
        self.runner.close()


class SQLiteBudgetMachine(BudgetMachine):
    """The same on a file."""

    def make_storage(self) -> Storage:
        self._folder = TemporaryDirectory()
        return SQLiteStorage(Path(self._folder.name) / "runs.db", durability="process")

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _case(machine: type[BudgetMachine], examples: int) -> Callable[[], None]:
    case = machine.TestCase
    case.settings = settings(
        max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return pytest.mark.timeout(180)(case)  # type: ignore[no-any-return]  # a unittest case, which pytest collects


TestBudgetsInMemory = _case(BudgetMachine, 60)
TestBudgetsOnSQLite = _case(SQLiteBudgetMachine, 8)
