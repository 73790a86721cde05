"""What a job has cost, as its result, its prices and its budgets tell it."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import (
    Budget,
    BudgetExceededError,
    BudgetSpec,
    ExecutionHandle,
    ExecutionRequest,
    OperatorContext,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.clock import FakeClock
from llm_client import Agent, ExecutionEngine, FunctionProvider, Message, RequestSpec, tool
from llm_client.engine.cache.memory import MemoryCache
from llm_client.messages import CompletionResult, ToolCall
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.usage import Usage
from support.kernels import BOUND, journal, kernel

pytestmark = pytest.mark.timeout(BOUND * 3)

PRICES = PriceBook(
    {
        "function:big": ModelPrices.of(input=1000, output=1000),
        "function:free": ModelPrices.of(input=0, output=0),
    }
)
"""Dollars per million tokens: a token of the big model costs a tenth of a cent."""


def made(model: str = "big", *, prices: PriceBook | None = PRICES, **options: Any) -> ExecutionEngine:
    answer = CompletionResult(content="ok", usage=Usage(input_tokens=9, output_tokens=1, requests=1))
    return ExecutionEngine(FunctionProvider(lambda _: answer, model=model), prices=prices, **options)


def spec(text: str = "hi") -> RequestSpec:
    return RequestSpec(messages=[Message.user(text)], max_tokens=50)


async def ask(context: OperatorContext, given: Any) -> str:
    return (await context.model(spec())).content


async def told(handle: ExecutionHandle) -> list[tuple[str, str]]:
    return [
        (event.data["stage"], event.data["quantity"])
        for event in await journal(handle)
        if event.type == "budget.warned"
    ]


async def test_what_costs_nothing_fits_a_limit_that_is_overrun() -> None:
    async def both(context: OperatorContext, given: Any) -> list[str]:
        free = made("free")
        await context.model(spec())
        return [(await free.complete(spec())).content for _ in range(2)]

    budget = Budget(scope_id="default", max_cost_total="0.001", unpriced="flag")
    async with kernel(MemoryStorage(), engine=made(), operators=[both, ask]) as k:
        k.ledger.set_budget(Budget(scope_id="default", max_cost_total=1))
        await (await k.execute(ExecutionRequest(operator="ask"))).result()  # 0.01 dollars
        k.ledger.set_budget(budget)
        refused = await k.execute(ExecutionRequest(operator="both"))
        with pytest.raises(BudgetExceededError):
            await refused.result()

        async def only_free(context: OperatorContext, given: Any) -> str:
            return (await made("free").complete(spec())).content

        k.operators.add(only_free)
        handle = await k.execute(ExecutionRequest(operator="only_free"))
        assert (await handle.result()).content == "ok"
        assert (await k.ledger.status(budget)).left == Decimal("-0.009")


async def test_a_job_answered_from_the_cache_costs_nothing() -> None:
    engine = made(cache=MemoryCache())
    async with kernel(MemoryStorage(), engine=engine, operators=[ask]) as k:
        results = [await (await k.execute(ExecutionRequest(operator="ask"))).result() for _ in range(2)]
    assert [result.cost for result in results] == [Decimal("0.01"), Decimal(0)]


async def test_a_parents_result_names_what_its_descendants_have_used_beside_its_own() -> None:
    async def grandparent(context: OperatorContext, given: Any) -> None:
        await ask(context, None)
        await context.gather(context.child("parent"), context.child("ask"))

    async def parent(context: OperatorContext, given: Any) -> None:
        for _ in range(2):
            await context.child("ask")

    async with kernel(MemoryStorage(), engine=made(), operators=[grandparent, parent, ask]) as k:
        result = await (await k.execute(ExecutionRequest(operator="grandparent"))).result(timeout=BOUND)
    assert (result.cost, result.usage.total_tokens) == (Decimal("0.01"), 10)
    assert (result.children_usage.cost, result.children_usage.total_tokens) == (Decimal("0.03"), 30)


async def test_the_kernels_prices_hold_for_every_engine_of_a_job() -> None:
    ours = PriceBook({"function:big": ModelPrices.of(input=5000, output=5000)})
    unpriced = PriceBook({})
    agent = Agent(made(prices=unpriced))

    async def operator(context: OperatorContext, given: Any) -> str:
        await context.model(spec())
        return (await agent.run("hi")).content

    async with kernel(MemoryStorage(), engine=made(), operators=[operator], prices=ours) as k:
        budgets = BudgetSpec(max_cost=10)  # without a price the agent's call would be refused
        handle = await k.execute(ExecutionRequest(operator="operator", budgets=budgets))
        assert (await handle.result()).cost == Decimal("0.10")
        entries = await k.ledger.entries(job_id=handle.job_id)
        assert [entry.cost for entry in entries] == [Decimal("0.05")] * 2


async def test_a_budget_tells_at_its_threshold_at_its_limit_and_at_the_first_overrun() -> None:
    clock = FakeClock()
    budget = Budget(scope_id="default", max_requests_daily=3, exceed_strategy="warn", warning_threshold=0.6)
    async with kernel(MemoryStorage(), engine=made(), operators=[ask], clock=clock) as k:
        k.ledger.set_budget(budget)

        async def stages() -> list[str]:
            handle = await k.execute(ExecutionRequest(operator="ask"))
            await handle.result()
            return [stage for stage, _ in await told(handle)]

        assert [await stages() for _ in range(6)] == [[], ["threshold"], ["limit"], ["overrun"], [], []]
        clock.move(days=1)
        assert [await stages() for _ in range(3)] == [[], ["threshold"], ["limit"]]
        assert (await k.ledger.status(budget)).settled == 3


async def test_a_call_that_jumps_over_a_stage_tells_it_too_and_limit_by_limit() -> None:
    budget = Budget(scope_id="default", max_tokens_daily=10, max_cost_daily="0.008", exceed_strategy="warn")
    async with kernel(MemoryStorage(), engine=made(), operators=[ask]) as k:
        k.ledger.set_budget(budget)
        handle = await k.execute(ExecutionRequest(operator="ask"))
        await handle.result()
        assert await told(handle) == [
            ("threshold", "tokens"),
            ("limit", "tokens"),
            ("threshold", "cost"),
            ("limit", "cost"),
            ("overrun", "cost"),
        ]


async def test_what_is_only_reserved_is_not_told() -> None:
    gate, asked = asyncio.Event(), asyncio.Event()

    async def slow(given: RequestSpec) -> CompletionResult:
        asked.set()
        await gate.wait()
        return CompletionResult(content="ok", usage=Usage(input_tokens=9, output_tokens=1, requests=1))

    engine = ExecutionEngine(FunctionProvider(slow, model="big"), prices=PRICES)
    async with kernel(MemoryStorage(), engine=engine, operators=[ask]) as k:
        k.ledger.set_budget(
            Budget(scope_id="default", max_tokens_daily=120, mode="estimate", warning_threshold=0.4)
        )
        handle = await k.execute(ExecutionRequest(operator="ask"))
        async with asyncio.timeout(BOUND):
            await asked.wait()
        assert await told(handle) == []
        gate.set()
        await handle.result()
        assert await told(handle) == []


async def test_a_stage_is_told_once_by_all_processes_together() -> None:
    storage = MemoryStorage()
    budget = Budget(scope_id="default", max_requests_daily=10, warning_threshold=0.1)
    found = []
    for _ in range(3):
        async with kernel(storage, engine=made(), operators=[ask]) as k:
            k.ledger.set_budget(budget)
            handle = await k.execute(ExecutionRequest(operator="ask"))
            await handle.result()
            found += await told(handle)
    assert found == [("threshold", "requests")]


async def test_tool_calls_are_told_of_as_well() -> None:
    @tool(effect="read")
    async def look(n: int) -> str:
        """Look."""
        return "seen"

    calls = [ToolCall(id=str(n), name="look", arguments={"n": n}) for n in range(3)]
    answers = [
        CompletionResult(content="", tool_calls=calls, finish_reason="tool_calls"),
        CompletionResult(content="ok"),
    ]
    agent = Agent(ExecutionEngine(FunctionProvider(lambda _: answers.pop(0))), tools=[look])
    async with kernel(MemoryStorage(), agent=agent) as k:
        k.ledger.set_budget(Budget(scope_id="default", max_tool_calls_daily=4, warning_threshold=0.5))
        handle = await k.execute(ExecutionRequest(prompt="go"))
        await handle.result()
        assert await told(handle) == [("threshold", "tool_calls")]
