"""The ledger by hand: budgets, questions, reservations, entries, corrections."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    AlreadySettled,
    Budget,
    BudgetDecision,
    BudgetExceededError,
    BudgetSpec,
    ExecutionContext,
    InMemoryLedgerWriter,
    InvalidInput,
    Ledger,
)
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.clock import FakeClock
from llm_client.errors import ConfigurationError
from llm_client.usage import Usage
from support.kernels import opened

ANN = ExecutionContext(scope_id="a", principal_id="ann", session_id="s1")
BOB = ExecutionContext(scope_id="a", principal_id="bob")


def usage(tokens: int = 10, cost: Any = "0.5") -> Usage:
    made = Usage(input_tokens=tokens - 4, output_tokens=4, requests=1)
    return made.with_cost(None if cost is None else Decimal(cost), None if cost is None else "test")


@pytest.fixture(params=["memory", "sqlite"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(request.param, tmp_path) as storage:
        yield storage


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(storage: Storage, clock: FakeClock) -> Ledger:
    return Ledger(StorageView(storage), clock=clock)


async def test_the_documented_example_works() -> None:
    ledger = Ledger(InMemoryLedgerWriter())
    ledger.set_budget(
        Budget(scope_id="tenant-123", max_tokens_daily=1000000, max_cost_daily=Decimal("100.00"))
    )
    ctx = ExecutionContext(scope_id="tenant-123", principal_id="user-456")

    assert await ledger.check_budget(ctx, pending_tokens=1000) == BudgetDecision.ALLOW
    assert await ledger.check_budget(ctx, pending_tokens=1_000_001) == BudgetDecision.DENY
    await ledger.record_model_usage(ctx, usage(900_000, "10"))
    assert await ledger.check_budget(ctx, pending_tokens=1000) == BudgetDecision.WARN
    assert await ledger.check_budget(ctx, pending_tokens=100_001) == BudgetDecision.DENY
    assert (await ledger.total(scope_id="tenant-123")).cost == Decimal(10)


@pytest.mark.parametrize(
    ("limits", "pending", "expected"),
    [
        ({"max_tokens_per_request": 5}, {"pending_tokens": 6}, "deny"),
        ({"max_tokens_per_request": 5}, {"pending_tokens": 5}, "allow"),
        ({"max_cost_per_request": "0.1"}, {"pending_cost": 0.2}, "deny"),
        ({"max_requests_daily": 0}, {}, "deny"),
        ({"max_tokens_total": 0}, {}, "deny"),
        ({"max_turns_daily": 0}, {}, "deny"),
        ({"max_turns_daily": 0}, {"pending_tool_calls": 1}, "allow"),
        ({"max_tool_calls_daily": 0}, {}, "allow"),
        ({"max_tool_calls_daily": 0}, {"pending_tool_calls": 1}, "deny"),
        ({"max_tokens_total": 0}, {"pending_tool_calls": 1}, "allow"),
        ({"max_tokens_total": 10, "warning_threshold": 0.5}, {"pending_tokens": 5}, "warn"),
        ({"max_tokens_total": 1, "exceed_strategy": "warn"}, {"pending_tokens": 5}, "warn"),
        (
            {"max_tokens_total": 1, "exceed_strategy": "degrade", "degrade_to": "m"},
            {"pending_tokens": 5},
            "degrade",
        ),
    ],
)
async def test_a_question_is_answered_by_limit_and_strategy(
    ledger: Ledger, limits: dict[str, Any], pending: dict[str, Any], expected: str
) -> None:
    ledger.set_budget(Budget(scope_id="a", **limits))

    assert await ledger.check_budget(ANN, **pending) == expected


async def test_a_warning_never_hides_a_refusal(ledger: Ledger) -> None:
    for strategy in ({"exceed_strategy": "warn"}, {"exceed_strategy": "degrade", "degrade_to": "m"}, {}):
        ledger.set_budget(Budget(scope_id="a", name=str(strategy), max_tokens_total=1, **strategy))  # type: ignore[arg-type]  # typed below

    found = await ledger.assess(ANN, 5)

    assert found.decision is BudgetDecision.DENY
    assert "its limit of 1 tokens would be passed" in found.reason


async def test_every_kind_of_budget_counts_at_once_and_only_what_it_is_about(ledger: Ledger) -> None:
    budgets = {
        "tenant": Budget(scope_id="a", max_tokens_total=10**6),
        "ann": Budget(scope_id="a", principal_id="ann", max_tokens_total=10**6),
        "session": Budget(scope_id="a", session_id="s1", max_tokens_total=10**6),
        "model": Budget(scope_id="a", model="gpt-*", max_tokens_total=10**6),
        "provider": Budget(scope_id="a", model="openai:*", max_tokens_total=10**6),
        "everybody": Budget(max_tokens_total=10**6),
        "other": Budget(scope_id="b", max_tokens_total=10**6),
    }
    for budget in budgets.values():
        ledger.set_budget(budget)
    await ledger.record_model_usage(ANN, usage(10), model="GPT-5", provider="openai")
    await ledger.record_model_usage(BOB, usage(7), model="claude", provider="anthropic")
    await ledger.record_tool_usage(BOB, "look", cost="0.1")

    settled = {name: (await ledger.status(budget)).settled for name, budget in budgets.items()}

    assert settled == {
        "tenant": 17,
        "ann": 10,
        "session": 10,
        "model": 10,
        "provider": 10,
        "everybody": 17,
        "other": 0,
    }


async def test_each_person_has_a_budget_of_their_own_where_one_says_so(ledger: Ledger) -> None:
    each = Budget(scope_id="*", principal_id="*", max_requests_total=1)
    ledger.set_budget(each)
    nobody = ExecutionContext(scope_id="a")
    for context in (ANN, BOB, nobody):
        await ledger.record_model_usage(context, usage())

    assert [await ledger.check_budget(context) for context in (ANN, BOB, nobody)] == ["deny"] * 3
    assert await ledger.check_budget(ExecutionContext(scope_id="b", principal_id="ann")) != "deny"
    assert (await ledger.status(each, ANN)).left == 0
    with pytest.raises(InvalidInput, match="whose is asked for"):
        await ledger.status(each)
    with pytest.raises(InvalidInput, match="not about this context"):
        await ledger.status(Budget(scope_id="b", max_requests_total=1), ANN)


async def test_windows_roll_over_and_a_reservation_settles_in_the_one_it_was_made_in(
    ledger: Ledger, clock: FakeClock
) -> None:
    budget = Budget(
        scope_id="a",
        max_requests_minute=1,
        max_requests_hourly=2,
        max_requests_daily=3,
        max_requests_monthly=4,
        max_requests_total=5,
    )
    ledger.set_budget(budget)
    held = await ledger.reserve(ANN, tokens=10, cost="0.5")
    assert await ledger.check_budget(ANN) == "deny"
    clock.move(minutes=1)
    assert await ledger.check_budget(ANN) != "deny"
    await ledger.settle(held, usage())
    assert await ledger.check_budget(ANN) != "deny"  # the minute that began counts nothing of the one before
    for step, decision in (
        ({"minutes": 1}, "deny"),  # two in this hour
        ({"hours": 1}, "allow"),
        ({"days": 1}, "allow"),
    ):
        if decision == "deny":
            await ledger.record_model_usage(ANN, usage())
        clock.move(**step)
        assert (await ledger.check_budget(ANN) == "deny") is (decision == "deny")
    lines = {line.window.value: line for line in (await ledger.status(budget)).lines}
    assert {name: line.settled for name, line in lines.items()} == {
        "minute": 0,
        "hour": 0,
        "day": 0,
        "month": 2,
        "total": 2,
    }
    assert lines["month"].starts_at is not None
    assert lines["month"].starts_at.isoformat() == "2026-03-01T00:00:00+00:00"
    assert (await ledger.status(budget)).tightest.window == "month"


async def test_old_minutes_leave_no_rows_behind(ledger: Ledger, clock: FakeClock, storage: Storage) -> None:
    ledger.set_budget(Budget(scope_id="a", max_requests_minute=10))
    keys = []
    for _ in range(150):
        await ledger.record_model_usage(ANN, usage())
        (window,) = ledger.accounts.registry.applicable(_spender(), clock.now(), model="m")
        keys.append(window.key)
        clock.move(minutes=1)

    kept = [counters for counters in await storage.counters(keys) if counters.settled]
    assert 60 <= len(kept) <= 63


def _spender() -> Any:
    from agent_runtime.ledger.budget_registry import Spender

    return Spender(scope_id="a", principal_id="ann")


async def test_money_adds_up_exactly(ledger: Ledger) -> None:
    budget = Budget(scope_id="a", max_cost_total=0.3)
    ledger.set_budget(budget)
    for _ in range(3):
        await ledger.record_model_usage(ANN, usage(cost="0.1"))

    status = await ledger.status(budget)

    assert (status.settled, status.left) == (Decimal("0.3"), Decimal(0))
    assert await ledger.check_budget(ANN, pending_cost="0.0000000001") == "deny"


async def test_reservations_of_many_at_once_never_pass_a_limit(ledger: Ledger) -> None:
    budget = Budget(scope_id="a", max_cost_total=1)
    ledger.set_budget(budget)

    outcomes = await asyncio.gather(
        *(ledger.reserve(ANN, tokens=5, cost="0.03") for _ in range(100)), return_exceptions=True
    )

    held = [one for one in outcomes if not isinstance(one, BaseException)]
    assert len(held) == 33
    assert all(isinstance(one, BudgetExceededError) for one in outcomes if isinstance(one, BaseException))
    status = await ledger.status(budget)
    assert (status.reserved, status.settled) == (Decimal("0.99"), 0)
    await asyncio.gather(*(ledger.settle(one, usage(cost="0.01")) for one in held[:30]))
    await asyncio.gather(*(ledger.release(one) for one in held[30:]))
    status = await ledger.status(budget)
    assert (status.reserved, status.settled) == (0, Decimal("0.30"))
    assert (await ledger.total()).entries == 30


async def test_a_reservation_is_settled_or_released_once(ledger: Ledger) -> None:
    budget = Budget(scope_id="a", max_cost_total=1)
    ledger.set_budget(budget)
    settled, released = [await ledger.reserve(ANN, tokens=5, cost="0.1") for _ in range(2)]
    outcomes = await asyncio.gather(
        *(ledger.settle(settled, usage(cost="0.05")) for _ in range(5)),
        ledger.release(settled),
        return_exceptions=True,
    )
    assert sum(isinstance(one, AlreadySettled) for one in outcomes) == 5
    await ledger.release(released)
    with pytest.raises(AlreadySettled):
        await ledger.settle(released, usage())

    assert (await ledger.status(budget)).left == Decimal("0.95")


async def test_a_forgotten_reservation_is_found_settled_as_uncertain_and_corrected(
    ledger: Ledger, clock: FakeClock
) -> None:
    budget = Budget(scope_id="a", max_cost_daily=1, max_cost_total=5)
    ledger.set_budget(budget)
    held = await ledger.reserve(ANN, tokens=100, cost="0.4", model="m", provider="p", expires_in=60)
    assert await ledger.expire_reservations() == 0
    clock.move(days=1)
    assert await ledger.expire_reservations() == 1
    assert await ledger.expire_reservations() == 0
    with pytest.raises(AlreadySettled):
        await ledger.settle(held, usage())
    (entry,) = await ledger.entries()
    assert (entry.uncertain, entry.cost, entry.model, entry.principal_id) == (
        True,
        Decimal("0.4"),
        "m",
        "ann",
    )
    total = await ledger.total()
    assert (total.cost, total.uncertain, total.entries) == (Decimal("0.4"), 1, 1)

    truth = await ledger.reconcile(entry.entry_id, usage(40, "0.1"))

    assert (truth.status, truth.cost, truth.total_tokens) == ("adjusted", Decimal("-0.3"), -60)
    total = await ledger.total()
    assert (total.cost, total.uncertain, total.entries, total.total_tokens) == (Decimal("0.1"), 0, 1, 40)
    lines = {line.window.value: line.settled for line in (await ledger.status(budget)).lines}
    assert lines == {"day": 0, "total": Decimal("0.1")}  # the day it was made in is over
    with pytest.raises(AlreadySettled):
        await ledger.reconcile(entry.entry_id, usage(40, "0.1"))
    with pytest.raises(InvalidInput, match="is certain"):
        await ledger.reconcile(truth.entry_id, usage())
    with pytest.raises(InvalidInput, match="no ledger entry"):
        await ledger.reconcile("x", usage())


async def test_an_unknown_price_is_null_and_flagged_until_it_is_known(ledger: Ledger) -> None:
    budget = Budget(scope_id="a", max_cost_total=1)
    ledger.set_budget(budget)
    held = await ledger.reserve(ANN, tokens=50, cost="0.4")
    entry = await ledger.settle(held, usage(20, None))
    assert entry.cost is None
    total = await ledger.total()
    assert (total.cost, total.unpriced) == (Decimal(0), 1)
    assert (await ledger.status(budget)).settled == Decimal(
        "0.4"
    )  # until the price is known, the maximum counts

    await ledger.reconcile(entry.entry_id, usage(20, "0.25"))

    total = await ledger.total()
    assert (total.cost, total.unpriced) == (Decimal("0.25"), 0)
    assert (await ledger.status(budget)).settled == Decimal("0.25")


async def test_an_entry_with_a_name_is_written_and_counted_once(ledger: Ledger) -> None:
    budget = Budget(scope_id="a", max_requests_total=10)
    ledger.set_budget(budget)

    made = await asyncio.gather(
        *(ledger.record_model_usage(ANN, usage(), entry_id="call-1") for _ in range(20))
    )

    assert {one.entry_id for one in made} == {"call-1"}
    assert (await ledger.status(budget)).settled == 1
    assert (await ledger.total()).entries == 1


async def test_a_required_budget_is_recorded_and_refused(ledger: Ledger) -> None:
    ledger.set_budget(Budget(scope_id="a", max_tokens_total=100))

    assert await ledger.require_budget(ANN, 10) == "allow"
    with pytest.raises(BudgetExceededError, match="limit of 100 tokens"):
        await ledger.require_budget(ANN, 101, "0.5")

    checks = await ledger.entries(type="budget_check")
    assert [check.metadata["decision"] for check in checks] == ["allow", "deny"]
    assert checks[1].metadata["pending"] == {"tokens": 101, "cost": "0.5"}
    assert (await ledger.total()).entries == 0


async def test_a_runs_own_budget_counts_as_well(ledger: Ledger) -> None:
    run = ExecutionContext(scope_id="a", job_id="job-1", budgets=BudgetSpec(max_tokens=15))
    await ledger.record_model_usage(run, usage(10))

    assert await ledger.check_budget(run, pending_tokens=6) == "deny"
    assert await ledger.check_budget(run, pending_tokens=5) == "warn"


async def test_a_stored_budget_holds_for_everybody_and_a_local_one_only_here(
    storage: Storage, clock: FakeClock
) -> None:
    here, there = (Ledger(StorageView(storage), clock=clock) for _ in range(2))
    stored = Budget(scope_id="a", max_requests_total=1)
    await here.save_budget(stored)
    here.set_budget(Budget(scope_id="a", name="local", max_tokens_total=1))

    assert await there.check_budget(ANN, pending_tokens=50) != "deny"
    assert await here.check_budget(ANN, pending_tokens=50) == "deny"
    await there.record_model_usage(ANN, usage())
    assert await there.check_budget(ANN) == "deny"
    await here.save_budget(Budget(scope_id="a", max_requests_total=2))
    clock.move(seconds=2)
    assert await there.check_budget(ANN) != "deny"
    assert [budget.max_requests_total for budget in await there.budgets()] == [2]
    await here.delete_budget(stored.budget_id)
    assert await there.budgets(scope_id="a") == []
    assert here.drop_budget(Budget(scope_id="a", name="local", max_tokens_total=9).budget_id)


async def test_a_turn_is_an_answer(ledger: Ledger) -> None:
    budget = Budget(scope_id="a", max_turns_daily=2)
    ledger.set_budget(budget)
    answered, lost = [await ledger.reserve(ANN, tokens=5) for _ in range(2)]
    tool = await ledger.reserve(ANN, requests=0, tool_calls=1)
    with pytest.raises(BudgetExceededError):
        await ledger.reserve(ANN, tokens=5)

    await ledger.settle(answered, usage())
    await ledger.settle(lost)
    await ledger.release(tool)

    (line,) = (await ledger.status(budget)).lines
    assert (line.quantity, line.settled, line.reserved, line.left) == ("turns", 1, 0, 1)


async def test_a_budget_that_is_stored_late_counts_what_was_spent_since_its_windows_began(
    ledger: Ledger, clock: FakeClock
) -> None:
    await ledger.record_model_usage(ANN, usage(10, "0.3"), model="m")
    clock.move(days=1)
    await ledger.record_model_usage(ANN, usage(20, "0.4"), model="m")
    await ledger.record_model_usage(BOB, usage(30, "0.1"), model="other")
    in_flight = await ledger.reserve(ANN, tokens=50, cost="0.9")
    tenant = Budget(scope_id="a", max_cost_daily=1, max_cost_monthly=2, max_turns_total=9, model="m")
    each = Budget(scope_id="a", principal_id="*", max_tokens_total=100)

    await ledger.change_budgets(save=[tenant, each])
    await ledger.settle(in_flight, usage(50, "0.9"))  # nobody had set it aside in these budgets

    lines = {line.window.value: line.settled for line in (await ledger.status(tenant)).lines}
    assert lines == {"day": Decimal("0.4"), "month": Decimal("0.7"), "total": 2}
    assert [(await ledger.status(each, who)).left for who in (ANN, BOB)] == [70, 70]
    assert await ledger.check_budget(ANN, pending_tokens=71) == "deny"
    assert await ledger.check_budget(ANN, pending_cost="0.61", model="m") == "deny"
    assert await ledger.check_budget(ANN, pending_cost="0.60", model="m") != "deny"


async def test_a_limit_that_is_stored_again_counts_nothing_twice(ledger: Ledger, clock: FakeClock) -> None:
    first = Budget(scope_id="a", max_cost_daily=1)
    await ledger.save_budget(first)
    held = await ledger.reserve(ANN, cost="0.4")
    clock.move(days=1)
    await ledger.settle(held, usage(cost="0.4"))  # counts for yesterday

    second = Budget(scope_id="a", max_cost_daily=2, max_cost_monthly=5)
    await ledger.save_budget(second)

    lines = {line.window.value: line.settled for line in (await ledger.status(second)).lines}
    assert lines == {"day": 0, "month": Decimal("0.4")}
    await ledger.delete_budget(second.budget_id)
    await ledger.save_budget(second)
    lines = {line.window.value: line.settled for line in (await ledger.status(second)).lines}
    assert lines["month"] == Decimal("0.4")


async def test_costs_are_added_up_by_group(ledger: Ledger, clock: FakeClock) -> None:
    await ledger.record_model_usage(ANN, usage(cost="0.1"), model="m1")
    await ledger.record_model_usage(BOB, usage(cost="0.2"), model="m2")
    clock.move(hours=11, minutes=30)  # half past eleven at night in UTC: tomorrow in Berlin
    await ledger.record_model_usage(ANN, usage(cost="0.4"), model="m1")

    async def costs(by: str, **filters: Any) -> dict[str, str]:
        return {
            name: str(total.cost.normalize()) for name, total in (await ledger.costs(by, **filters)).items()
        }

    assert await costs("model") == {"m1": "0.5", "m2": "0.2"}
    assert await costs("principal") == {"ann": "0.5", "bob": "0.2"}
    assert await costs("day") == {"2026-03-14": "0.7"}
    assert await costs("day", timezone="Europe/Berlin") == {"2026-03-14": "0.3", "2026-03-15": "0.4"}
    assert await costs("scope", principal_id="bob") == {"a": "0.2"}
    with pytest.raises(InvalidInput, match="grouped by"):
        await ledger.costs("mood")


async def test_totals_read_every_page(ledger: Ledger) -> None:
    for number in range(1003):
        await ledger.record_tool_usage(ANN, "t", cost="0.001", entry_id=f"e{number}")

    total = await ledger.total()

    assert (total.entries, total.cost) == (1003, Decimal("1.003"))


class LateFirst(ThreadPoolExecutor):
    """Threads of which the first comes back last."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        first = not self._threads
        return super().submit(lambda: (time.sleep(0.1 if first else 0), fn(*args, **kwargs))[1])


async def test_who_comes_first_has_the_room_while_time_zones_are_read() -> None:
    ledger = Ledger(InMemoryLedgerWriter())
    ledger.set_budget(Budget(scope_id="a", max_cost_daily=1, timezone="Indian/Kerguelen"))
    asyncio.get_running_loop().set_default_executor(LateFirst(max_workers=4))

    first, *others = await asyncio.gather(
        *(ledger.reserve(each, cost=1) for each in (ANN, BOB, BOB)), return_exceptions=True
    )

    assert not isinstance(first, BaseException)
    assert [type(other) for other in others] == [BudgetExceededError] * 2


async def test_a_budget_in_an_unknown_zone_is_refused(ledger: Ledger) -> None:
    lost = Budget(scope_id="a", max_cost_daily=1, timezone="Mars/Olympus")

    with pytest.raises(ConfigurationError, match="Mars/Olympus"):
        ledger.set_budget(lost)
    with pytest.raises(ConfigurationError):
        await ledger.save_budget(lost)
    assert await ledger.budgets() == []


async def test_nothing_negative_makes_room(ledger: Ledger) -> None:
    budget = Budget(scope_id="a", max_cost_daily=10)  # type: ignore[arg-type]  # whole dollars
    ledger.set_budget(budget)
    below = Usage(input_tokens=-50, requests=1).with_cost(Decimal(-50), "test")
    held = await ledger.reserve(ANN, cost=1)

    for wrong in (
        ledger.reserve(ANN, tokens=-1, cost="-1000"),
        ledger.reserve(ANN, tool_calls=-1),
        ledger.reserve(ANN, cost="nan"),
        ledger.reserve(ANN, cost="1e400"),
        ledger.record_model_usage(ANN, below),
        ledger.record_tool_usage(ANN, "search", cost=-1),
        ledger.record_connector_usage(ANN, "files", cost="-0.01"),
        ledger.settle(held, below),
    ):
        with pytest.raises(InvalidInput):
            await wrong

    assert [(line.settled, line.reserved) for line in (await ledger.status(budget)).lines] == [(0, 1)]
    assert await ledger.entries() == []


async def test_a_budget_that_is_stored_again_knows_what_was_spent_without_it(ledger: Ledger) -> None:
    budget = Budget(scope_id="a", max_cost_daily=100)  # type: ignore[arg-type]  # whole dollars
    elsewhere = replace(budget, timezone="Pacific/Auckland")
    await ledger.record_model_usage(ANN, usage(cost=10))
    await ledger.save_budget(budget)
    await ledger.delete_budget(budget.budget_id)
    await ledger.record_model_usage(ANN, usage(cost=1000))

    await ledger.save_budget(budget)
    assert (await ledger.status(budget)).settled == 1010
    await ledger.save_budget(elsewhere)
    await ledger.record_model_usage(ANN, usage(cost=5))
    await ledger.save_budget(budget)
    assert (await ledger.status(budget)).settled == 1015
