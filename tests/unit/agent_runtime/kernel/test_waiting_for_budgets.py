"""An empty budget for which jobs wait: until its window ends, or until somebody makes room."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from agent_runtime import (
    Budget,
    BudgetExceededError,
    BudgetSpec,
    ExecutionHandle,
    ExecutionRequest,
    JobBlocked,
    JobCancelled,
    OperatorContext,
    RuntimeKernel,
)
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.clock import FakeClock
from llm_client import Agent, ExecutionEngine, FunctionProvider, Message, RequestSpec, tool
from llm_client.messages import CompletionResult, ToolCall
from llm_client.tokens import TokenEstimator
from llm_client.usage import Usage
from support.kernels import BOUND, journal, kernel, opened, status_becomes, types

pytestmark = pytest.mark.timeout(BOUND * 3)


class Model:
    """Answers at once, and remembers whom."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.engine = ExecutionEngine(FunctionProvider(self._answer, model="m"))

    def _answer(self, spec: RequestSpec) -> CompletionResult:
        self.asked.append(str(spec.messages[0].content))
        return CompletionResult(content="ok", usage=Usage(input_tokens=9, output_tokens=1, requests=1))


async def ask(context: OperatorContext, name: str) -> str:
    try:
        return (await context.model(RequestSpec(messages=[Message.user(name)], max_tokens=50))).content
    except Exception as error:
        return f"saw {type(error).__name__}"


async def twice(context: OperatorContext, name: str) -> list[str]:
    return [await ask(context, name) for _ in range(2)]


async def both(context: OperatorContext, name: str) -> Any:
    """Ask in one branch, and sleep in another."""

    async def rest() -> str:
        await context.sleep(0.05)
        return str(await context.step(str, "rested", effect="idempotent"))

    return await context.gather(ask(context, name), rest())


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def storage(place: str, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(place, tmp_path) as storage:
        yield storage


def working(storage: Storage, model: Model, **options: Any) -> RuntimeKernel:
    return kernel(storage, engine=model.engine, operators=[ask, twice, both], dispatch="local", **options)


async def start(k: RuntimeKernel, name: str, operator: str = "ask", **values: Any) -> ExecutionHandle:
    return await k.execute(ExecutionRequest(operator=operator, input=name, **values))


def daily(requests: int = 1) -> Budget:
    return Budget(scope_id="default", max_requests_daily=requests, exceed_strategy="wait")


def total(requests: int = 1) -> Budget:
    return Budget(scope_id="default", max_requests_total=requests, exceed_strategy="wait")


async def test_a_job_waits_until_the_window_ends_and_its_code_sees_nothing_of_it(storage: Storage) -> None:
    model, clock = Model(), FakeClock()
    async with working(storage, model, clock=clock) as k:
        await k.ledger.save_budget(daily())
        await (await start(k, "first")).result(timeout=BOUND)
        handle = await start(k, "second")
        await status_becomes(handle, "waiting")
        assert model.asked == ["first"]
    async with working(storage, model, clock=clock) as k:  # it outlives its process
        handle = k.handle(handle.job_id)
        assert await handle.status() == "waiting"
        clock.move(days=1)
        assert (await handle.result(timeout=BOUND)).content == "ok"
        assert model.asked == ["first", "second"]
        assert (await k.ledger.status(daily())).settled == 1
        types = [event.type for event in await journal(handle)]
        assert "budget.denied" not in types
        assert await storage.timers_named("budget") == []


async def test_a_raised_limit_wakes_as_many_in_order_as_have_room(storage: Storage) -> None:
    model = Model()
    async with working(storage, model) as k:
        await k.ledger.save_budget(total())
        await (await start(k, "first")).result(timeout=BOUND)
        handles = []
        for number in range(5):
            handles.append(await start(k, f"w{number}"))
            await status_becomes(handles[-1], "blocked")
        with pytest.raises(JobBlocked, match="limit of 1 requests"):
            await handles[0].result(timeout=BOUND)
        await k.ledger.save_budget(total(3))
        for handle in handles[:2]:
            await handle.result(timeout=BOUND, wait_blocked=True)
        for handle in handles[2:]:
            await status_becomes(handle, "blocked")
        assert sorted(model.asked) == ["first", "w0", "w1"]
        await k.ledger.delete_budget(total().budget_id)
        for handle in handles[2:]:
            await handle.result(timeout=BOUND, wait_blocked=True)
        assert await storage.timers_named("budget") == []


async def test_a_runs_own_budget_blocks_it_and_it_can_be_cancelled(storage: Storage) -> None:
    model = Model()
    async with working(storage, model) as k:
        limits = BudgetSpec(max_turns=1, exceed_strategy="wait")
        handle = await start(k, "x", budgets=BudgetSpec(max_tokens=62, exceed_strategy="wait"))
        assert (await handle.result(timeout=BOUND)).content == "ok"
        again = await start(k, "y", "twice", budgets=limits)
        await status_becomes(again, "blocked")
        await again.cancel()
        with pytest.raises(JobCancelled):
            await again.result(timeout=BOUND, wait_blocked=True)
        assert await storage.timers_named("budget") == []


async def test_other_branches_go_on_and_the_call_is_made_where_it_stood(storage: Storage) -> None:
    model, clock = Model(), FakeClock()
    async with working(storage, model, clock=clock) as k:
        await k.ledger.save_budget(daily())
        await (await start(k, "first")).result(timeout=BOUND)
        handle = await start(k, "second", "both")
        await status_becomes(handle, "waiting")
        clock.move(seconds=1)

        async def rested() -> bool:
            return any(event.type == "step.completed" for event in await journal(handle))

        async with asyncio.timeout(BOUND):
            while not await rested():
                await asyncio.sleep(0.01)
        clock.move(days=1)
        assert (await handle.result(timeout=BOUND)).output == ["ok", "rested"]


class SlowEstimator(TokenEstimator):
    """Takes longer than a slice of the loop's time, so that whoever comes next has to wait for a turn."""

    def estimate(self, *args: Any, **options: Any) -> int:
        until = perf_counter() + 0.03
        while perf_counter() < until:
            pass
        return super().estimate(*args, **options)


async def test_a_branch_whose_turn_has_not_come_yet_is_waited_for(storage: Storage) -> None:
    """A call that waits for room leaves the memory with its job: not before all branches stand where something wakes them."""
    model, clock = Model(), FakeClock()
    model.engine.estimator = SlowEstimator()
    async with working(storage, model, clock=clock) as k:
        await k.ledger.save_budget(daily())
        await (await start(k, "first")).result(timeout=BOUND)
        handle = await start(k, "second", "both")
        await status_becomes(handle, "waiting")
        assert "timer.set" in await types(handle)
        clock.move(days=1)
        assert (await handle.result(timeout=BOUND)).output == ["ok", "rested"]


async def test_a_call_that_no_window_has_room_for_is_denied(storage: Storage) -> None:
    model = Model()
    async with working(storage, model) as k:
        await k.ledger.save_budget(
            Budget(scope_id="default", max_tokens_daily=10, exceed_strategy="wait", mode="estimate")
        )
        assert (await (await start(k, "x" * 400)).result(timeout=BOUND)).content == "saw BudgetExceededError"
        limits = BudgetSpec(max_turns=0, exceed_strategy="wait")
        handle = await start(k, "y", budgets=limits)
        assert (await handle.result(timeout=BOUND)).content == "saw BudgetExceededError"
    assert model.asked == []


async def test_a_tool_call_waits_too(storage: Storage) -> None:
    ran: list[int] = []

    @tool(effect="unsafe")
    async def pay(amount: int) -> str:
        """Pay."""
        ran.append(amount)
        return "paid"

    def answer(spec: RequestSpec) -> CompletionResult:
        if spec.messages[-1].role == "tool":
            return CompletionResult(content="done")
        calls = [ToolCall(id="1", name="pay", arguments={"amount": 3})]
        return CompletionResult(content="", tool_calls=calls, finish_reason="tool_calls")

    clock = FakeClock()
    agent = Agent(ExecutionEngine(FunctionProvider(answer)), tools=[pay])
    budget = Budget(scope_id="default", max_tool_calls_daily=1, exceed_strategy="wait")
    async with kernel(storage, agent=agent, dispatch="local", clock=clock) as k:
        k.ledger.set_budget(budget)
        assert (await (await k.execute(ExecutionRequest(prompt="a"))).result(timeout=BOUND)).content == "done"
        handle = await k.execute(ExecutionRequest(prompt="b"))
        await status_becomes(handle, "waiting")
        assert ran == [3]
        clock.move(days=1)
        assert (await handle.result(timeout=BOUND)).content == "done"
        assert ran == [3, 3]


async def test_without_being_asked_to_wait_a_job_fails_as_before(storage: Storage) -> None:
    model = Model()
    async with working(storage, model) as k:
        await k.ledger.save_budget(Budget(scope_id="default", max_requests_total=0))
        handle = await start(k, "x")
        assert (await handle.result(timeout=BOUND)).content == f"saw {BudgetExceededError.__name__}"
