"""One tenant's budget is in a time zone that this machine does not know: nobody else is concerned."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent_runtime import (
    Budget,
    ExecutionContext,
    ExecutionHandle,
    ExecutionRequest,
    JobBlocked,
    Ledger,
    RuntimeKernel,
)
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.examples import commit
from llm_client import Agent, ExecutionEngine, ScriptedProvider, tool
from llm_client.errors import ConfigurationError
from llm_client.messages import ToolCall
from support.kernels import BOUND, kernel, opened, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 3)
THERE = Budget(scope_id="a", max_requests_daily=5, timezone="Mars/Olympus")
"""As another machine, whose table of zones is newer, has stored it."""


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def storage(place: str, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(place, tmp_path) as storage:
        await storage.commit(commit(budgets=[THERE]))
        yield storage


async def start(k: RuntimeKernel, scope: str) -> ExecutionHandle:
    return await k.execute(ExecutionRequest(prompt="hi", scope_id=scope))


async def test_only_who_spends_from_it_is_blocked_until_it_is_mended(storage: Storage) -> None:
    agent = Agent(ExecutionEngine(ScriptedProvider(["for b", "for a"])))
    async with kernel(storage, agent=agent, dispatch="local") as k:
        ours, theirs = await start(k, "a"), await start(k, "b")
        assert (await theirs.result(timeout=BOUND)).content == "for b"
        with pytest.raises(JobBlocked, match="Mars/Olympus"):
            await ours.result(timeout=BOUND)
        assert await k.ledger.entries(scope_id="a") == []
        mended = Budget(scope_id="a", max_requests_daily=5, timezone="Europe/Berlin")
        await k.ledger.save_budget(mended)
        await k.jobs.resume(ours.job_id)
        assert (await ours.result(timeout=BOUND, wait_blocked=True)).content == "for a"
        assert (await k.ledger.status(mended)).settled == 1


async def test_a_tool_call_waits_as_well(storage: Storage) -> None:
    ran: list[int] = []

    @tool(effect="unsafe")
    async def pay(amount: int) -> str:
        """Pay."""
        ran.append(amount)
        return "paid"

    provider = ScriptedProvider([ToolCall(id="1", name="pay", arguments={"amount": 3}), "done"])
    limits = Budget(scope_id="c", max_tool_calls_daily=5, model=None, timezone="Mars/Olympus")
    async with kernel(storage, agent=Agent(ExecutionEngine(provider), tools=[pay]), dispatch="local") as k:
        await storage.commit(commit(budgets=[limits]))
        k.ledger.accounts.registry.forget_stored()
        handle = await start(k, "c")
        await status_becomes(handle, "blocked")
        assert ran == []


async def test_a_zone_that_nobody_knows_is_refused_where_it_is_set(storage: Storage) -> None:
    ledger = Ledger(StorageView(storage))
    ledger.set_budget(Budget(scope_id="b", max_requests_daily=5, timezone="Asia/Tokyo"))
    with pytest.raises(ConfigurationError, match="Mars/Olympus"):
        ledger.set_budget(THERE)
    with pytest.raises(ConfigurationError, match="Mars/Olympus"):
        await ledger.save_budget(Budget(scope_id="c", max_requests_daily=5, timezone="Mars/Olympus"))
    assert [budget.scope_id for budget in await ledger.budgets()] == ["a", "b"]
    await ledger.reserve(ExecutionContext(scope_id="b"))
    with pytest.raises(ConfigurationError, match="Mars/Olympus"):
        await ledger.check_budget(ExecutionContext(scope_id="a"))


async def test_a_limit_without_days_needs_no_zone(storage: Storage) -> None:
    lasting = Budget(scope_id="d", max_requests_total=5, max_requests_minute=5, timezone="Mars/Olympus")
    await storage.commit(commit(budgets=[lasting]))
    await Ledger(StorageView(storage)).reserve(ExecutionContext(scope_id="d"))
