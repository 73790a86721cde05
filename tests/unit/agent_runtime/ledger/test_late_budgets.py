"""A budget that is stored when the ledger is long: nobody waits for the adding up, and nothing is missed by it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import Budget, ExecutionContext, Ledger
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ledger import opening
from agent_runtime.ports.storage import Storage
from agent_runtime.values.opening import SpentBy
from llm_client.usage import Usage
from support.kernels import BOUND, opened

pytestmark = pytest.mark.timeout(BOUND * 3)
ANN = ExecutionContext(scope_id="a", principal_id="ann")
CALL = Usage(input_tokens=9, output_tokens=1, requests=1).with_cost(Decimal("0.5"), "test")
BUDGET = Budget(scope_id="a", max_cost_daily=10_000, max_requests_total=10_000)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def storage(place: str, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(place, tmp_path) as storage:
        yield storage


class SlowSums:
    """A storage whose ledger takes long to add up."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def spent(self, since: datetime, *, after: int, upto: int) -> Sequence[SpentBy]:
        found = await self._inner.spent(since, after=after, upto=upto)
        self.asked.set()
        await self.go_on.wait()
        return found


async def test_others_spend_while_the_ledger_is_added_up_and_it_counts(storage: Storage) -> None:
    slow: Any = SlowSums(storage)
    spender, people = Ledger(StorageView(storage)), Ledger(StorageView(slow))
    await spender.record_model_usage(ANN, CALL)
    storing = asyncio.create_task(people.save_budget(BUDGET))
    async with asyncio.timeout(BOUND):
        await slow.asked.wait()
        lost = await spender.settle(await spender.reserve(ANN, tokens=10, cost="0.7"))
        await spender.record_model_usage(ExecutionContext(scope_id="b"), CALL)
        await spender.reconcile(lost.entry_id, CALL)
        slow.go_on.set()
        await storing
    status = await spender.status(BUDGET)
    assert {line.window.value: line.settled for line in status.lines} == {"day": Decimal(1), "total": 2}


async def test_nothing_is_lost_or_counted_twice_while_a_budget_comes_and_goes(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "PAGE", 7)
    ledger = Ledger(StorageView(storage))
    each = Budget(scope_id="a", principal_id="*", max_cost_total=10_000)

    async def spend(who: str) -> None:
        for _ in range(25):
            await ledger.record_model_usage(ExecutionContext(scope_id="a", principal_id=who), CALL)

    async def come_and_go() -> None:
        for _ in range(8):
            await ledger.save_budget(BUDGET)
            await ledger.change_budgets(save=[each], delete=[BUDGET.budget_id])
            await ledger.delete_budget(each.budget_id)

    people = [f"p{number}" for number in range(4)]
    await asyncio.gather(*(spend(who) for who in people), come_and_go())
    await ledger.change_budgets(save=[BUDGET, each])
    settled = {line.window.value: line.settled for line in (await ledger.status(BUDGET)).lines}
    assert settled == {"day": Decimal(50), "total": 100}
    for who in people:
        context = ExecutionContext(scope_id="a", principal_id=who)
        assert (await ledger.status(each, context)).settled == Decimal("12.5")


async def test_many_spenders_are_lifted_a_few_at_a_time(storage: Storage) -> None:
    ledger = Ledger(StorageView(storage))
    people = [ExecutionContext(scope_id="a", principal_id=f"p{number}") for number in range(450)]
    await asyncio.gather(*(ledger.record_model_usage(who, CALL) for who in people))
    each = Budget(scope_id="a", principal_id="*", max_cost_total=10_000)
    await ledger.save_budget(each)
    found = await asyncio.gather(*(ledger.status(each, who) for who in people))
    assert {status.settled for status in found} == {Decimal("0.5")}
