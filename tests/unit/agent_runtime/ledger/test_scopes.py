"""Two tenants use the same names: neither sees, pays for or is denied by what the other one does."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from agent_runtime import (
    Budget,
    BudgetExceededError,
    BudgetSpec,
    ExecutionContext,
    InvalidInput,
    Ledger,
)
from agent_runtime.kernel.stores import StorageView
from llm_client.usage import Usage
from support.kernels import opened

OURS = ExecutionContext(scope_id="a", principal_id="ann", session_id="s1")
THEIRS = ExecutionContext(scope_id="b", principal_id="ann", session_id="s1")
TEN = Usage(input_tokens=6, output_tokens=4, requests=1).with_cost(Decimal("0.5"), "test")
ONE = Usage(input_tokens=1, requests=1).with_cost(Decimal("0.1"), "test")


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    """A kind of storage, or the address of a Postgres database."""
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def ledger(place: str, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened(place, tmp_path) as storage:
        yield Ledger(StorageView(storage))


async def test_an_entry_id_names_an_entry_of_its_scope(ledger: Ledger) -> None:
    ours = await ledger.record_model_usage(OURS, TEN, entry_id="invoice-7")
    theirs = await ledger.record_model_usage(THEIRS, ONE, entry_id="invoice-7")
    again = await ledger.record_model_usage(THEIRS, TEN, entry_id="invoice-7")
    assert (theirs.scope_id, theirs.cost, again) == ("b", Decimal("0.1"), theirs)
    assert [(await ledger.total(scope_id=scope)).cost for scope in "ab"] == [ours.cost, theirs.cost]
    pages = [await ledger.entries(after=after, limit=1) for after in (None, ours, theirs)]
    assert [list(page) for page in pages] == [[ours], [theirs], []]
    assert list(await ledger.entries(scope_id="b", after="invoice-7")) == []
    with pytest.raises(InvalidInput, match="several scopes"):
        await ledger.entries(after="invoice-7")


async def test_a_correction_reaches_the_entry_of_its_scope_alone(ledger: Ledger) -> None:
    unpriced = Usage(input_tokens=6, output_tokens=4, requests=1)
    for context in (OURS, THEIRS):
        await ledger.record_model_usage(context, unpriced, entry_id="call")
    with pytest.raises(InvalidInput, match="no ledger entry"):
        await ledger.reconcile("call", TEN, scope_id="c")
    with pytest.raises(InvalidInput, match="several scopes"):
        await ledger.reconcile("call", TEN)
    assert (await ledger.reconcile("call", TEN, scope_id="b")).scope_id == "b"
    assert [(await ledger.total(scope_id=scope)).unpriced for scope in "ab"] == [1, 0]
    assert (await ledger.reconcile("call", TEN, scope_id="a")).scope_id == "a"


async def test_a_run_id_names_a_run_of_its_scope(ledger: Ledger) -> None:
    limits = BudgetSpec(max_cost=Decimal("0.5"))
    ours = ExecutionContext(scope_id="a", run_id="nightly", budgets=limits)
    theirs = ExecutionContext(scope_id="b", run_id="nightly", budgets=limits)
    await ledger.record_model_usage(ours, TEN)
    with pytest.raises(BudgetExceededError):
        await ledger.reserve(ours, cost="0.1")
    await ledger.release(await ledger.reserve(theirs, cost="0.5"))


@pytest.mark.parametrize(
    "whose", [{"session_id": "*"}, {"session_id": "s1"}, {"principal_id": "*"}, {"principal_id": "ann"}]
)
async def test_a_person_and_a_session_are_those_of_their_scope(ledger: Ledger, whose: dict[str, str]) -> None:
    budget = Budget(max_cost_total=Decimal("0.5"), **whose)
    ledger.set_budget(budget)
    await ledger.record_model_usage(OURS, TEN)
    with pytest.raises(BudgetExceededError):
        await ledger.reserve(OURS, cost="0.1")
    await ledger.release(await ledger.reserve(THEIRS, cost="0.5"))
    with pytest.raises(InvalidInput, match="whose"):
        await ledger.status(budget)
    assert [(await ledger.status(budget, one)).settled for one in (OURS, THEIRS)] == [Decimal("0.5"), 0]


async def test_a_budget_of_everybody_counts_all_scopes_together(ledger: Ledger) -> None:
    budget = Budget(max_cost_total=1)
    ledger.set_budget(budget)
    for context in (OURS, THEIRS):
        await ledger.record_model_usage(context, TEN)
    assert (await ledger.status(budget)).settled == 1
