"""A tool's result shares a commit with the request that follows it, and is on record before anybody but the model sees it."""

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import Any

import pytest

from agent_runtime import (
    Budget,
    BudgetExceededError,
    BudgetSpec,
    ExecutionContext,
    ExecutionRequest,
    JobFilter,
    Ledger,
    OperatorContext,
    RuntimeEvent,
)
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import commit_of
from llm_client import (
    Agent,
    AgentConfig,
    ExecutionEngine,
    FunctionProvider,
    ScriptedProvider,
    Tool,
    tool,
    ungoverned,
)
from llm_client.engine.hooks import HookEvent
from llm_client.messages import CompletionResult, ToolCall
from llm_client.spec import RequestSpec
from support.kernels import BOUND, kernel, run_key, types, until
from support.operators import asking
from support.slow_storage import SlowStorage

pytestmark = pytest.mark.timeout(BOUND * 3)


class Commits:
    """A listener that remembers which events were written together."""

    def __init__(self) -> None:
        self.written: list[list[str]] = []

    def committed(self, commit: Commit, first_seq: int) -> None:
        self.written.append([str(event.type) for event in commit.events])

    def signals_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        pass

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        pass

    def having(self, type_: str) -> list[list[str]]:
        return [events for events in self.written if type_ in events]


@tool(effect="unsafe")
async def book(seat: str) -> str:
    """Book a seat."""
    return f"booked {seat}"


def call(seat: str = "1A") -> ToolCall:
    return ToolCall("call", "book", {"seat": seat})


def agent(*script: Any, tools: Sequence[Tool] = (book,), **options: Any) -> Agent:
    return Agent(engine=ExecutionEngine(ScriptedProvider(script)), tools=tools, **options)


def occupying(engine: ExecutionEngine, occupied: asyncio.Event) -> Tool:
    """Return a tool that lets somebody outside of the job take the engine's only slot."""
    others: list[asyncio.Task[CompletionResult]] = []

    async def outside() -> CompletionResult:
        with ungoverned("somebody who has nothing to do with the job"):
            return await engine.complete(asking("occupy"))

    @tool(name="book", effect="unsafe")
    async def occupy(seat: str) -> str:
        """Book a seat, slowly."""
        others.append(asyncio.get_running_loop().create_task(outside(), context=Context()))
        await occupied.wait()
        return seat

    return occupy


async def watched() -> tuple[MemoryStorage, Commits]:
    storage, commits = MemoryStorage(), Commits()
    await storage.open()
    storage.listen(commits)
    return storage, commits


async def test_a_tools_result_is_written_with_the_request_that_follows() -> None:
    storage, commits = await watched()
    async with kernel(storage, agent=agent(call("1A"), call("1B"), "done")) as k:
        handle = await k.execute(ExecutionRequest(prompt="two seats", budgets=BudgetSpec(max_tokens=100_000)))
        assert (await handle.result(timeout=BOUND)).content == "done"
    (counters,) = await storage.counters([run_key(handle.job_id)])
    assert counters.settled.tool_calls == 2
    assert commits.having("tool.completed") == [["tool.completed", "model.started"]] * 2
    assert commits.having("tool.started") == [["tool.started"]] * 2


async def test_results_of_parallel_calls_do_not_wait_for_each_other() -> None:
    storage, commits = await watched()
    async with kernel(storage, agent=agent([call("1A"), call("1B")], "done")) as k:
        await (await k.execute(ExecutionRequest(prompt="two seats"))).result(timeout=BOUND)
    assert commits.having("tool.completed") == [["tool.completed"]] * 2


async def test_a_result_is_on_record_when_the_agent_returns() -> None:
    """The run ends at its bound, right after the tool: nothing follows, and the operator sees the result."""
    storage, seen = MemoryStorage(), list[str]()
    bounded = agent(call(), config=AgentConfig(max_turns=1))

    async def operator(context: OperatorContext, given: object) -> str:
        result = await bounded.run("a seat")
        seen.extend(str(event.type) for event in await storage.events(str(context.job_id)))
        return result.status

    async with kernel(storage, operators={"book": operator}) as k:
        result = await (await k.execute(ExecutionRequest(operator="book"))).result(timeout=BOUND)
    assert result.output == "max_turns"
    assert seen[-1] == "tool.completed"


async def test_a_result_that_a_stream_shows_is_written_at_once() -> None:
    storage, commits = await watched()
    streaming = agent(call(), "done")

    async def operator(context: OperatorContext, given: object) -> int:
        return len([event async for event in streaming.stream("a seat") if event.text == "tool_result"])

    async with kernel(storage, operators={"book": operator}) as k:
        result = await (await k.execute(ExecutionRequest(operator="book"))).result(timeout=BOUND)
    assert result.output == 1
    assert commits.having("tool.completed") == [["tool.completed"]]


async def test_a_result_is_on_record_before_a_context_window_sees_it() -> None:
    storage, seen = MemoryStorage(), list[str]()

    class Window:
        async def fit(self, conversation: Any, messages: Any, *, limit: int, measure: Any) -> Any:
            (job,) = await storage.list_jobs(JobFilter())
            seen.extend(str(event.type) for event in await storage.events(job.job_id))
            return messages

    config = AgentConfig(max_tokens=300, reserve_tokens=295)
    narrow = agent(call(), "done", config=config, window=Window())
    async with kernel(storage, agent=narrow) as k:
        await (await k.execute(ExecutionRequest(prompt="a seat"))).result(timeout=BOUND)
    assert seen[-1] == "tool.completed"


async def test_a_result_that_no_request_follows_at_once_is_written_alone() -> None:
    """The next request waits for a slot of the engine: a crash meanwhile must not lose what the tool has done."""
    occupied, release = asyncio.Event(), asyncio.Event()

    async def model(spec: RequestSpec) -> str | ToolCall:
        if spec.messages[-1].text == "occupy":
            occupied.set()
            await release.wait()
        return call() if spec.messages[-1].text == "a seat" else "done"

    engine = ExecutionEngine(FunctionProvider(model), max_concurrency=1)

    async with kernel(agent=Agent(engine=engine, tools=[occupying(engine, occupied)])) as k:
        handle = await k.execute(ExecutionRequest(prompt="a seat"))

        async def written() -> bool:
            return "tool.completed" in await types(handle)

        await until(written)
        assert (await types(handle)).count("model.started") == 1
        release.set()
        assert (await handle.result(timeout=BOUND)).content == "done"


async def test_an_agent_returns_only_when_the_result_that_is_being_written_is_on_record() -> None:
    """No request follows in time, so the result is written alone; the agent's time runs out while it is."""
    storage, given_up = SlowStorage(commit_of("tool.completed")), asyncio.Event()
    occupied, released = asyncio.Event(), list[bool]()

    async def model(spec: RequestSpec) -> str | ToolCall:
        if spec.messages[-1].text == "occupy":
            occupied.set()
            await storage.release.wait()
        return call()

    def noted(event: HookEvent) -> None:
        if event.name == "request.end" and event.data["error"] is not None:
            given_up.set()

    engine = ExecutionEngine(FunctionProvider(model), max_concurrency=1, hooks=[noted])
    booking = Agent(
        engine=engine,
        tools=[occupying(engine, occupied)],
        config=AgentConfig(timeout=1.5),  # long enough for a slow machine to come to the tool
        use_middleware=False,
    )

    async def operator(context: OperatorContext, given: object) -> str:
        result = await booking.run("a seat")
        released.append(storage.release.is_set())
        return result.status

    async with kernel(storage, operators={"book": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="book"))
        async with asyncio.timeout(BOUND):
            await storage.written.wait()
            await given_up.wait()
        for _ in range(100):  # whatever the agent can do meanwhile, it does
            await asyncio.sleep(0)
        storage.release.set()
        assert (await handle.result(timeout=BOUND)).output == "timeout"
    assert released == [True]


async def test_a_request_that_is_refused_does_not_take_the_result_before_it_along() -> None:
    """Another process uses up the budget while the tool runs: the commit of the next intent is refused."""
    storage = MemoryStorage()
    await storage.open()
    budget = Budget(scope_id="default", max_requests_total=2)
    elsewhere = Ledger(StorageView(storage))
    elsewhere.set_budget(budget)

    @tool(name="book", effect="unsafe")
    async def spend(seat: str) -> str:
        """Use up what is left."""
        await elsewhere.reserve(ExecutionContext(scope_id="default"))
        return seat

    booking = agent(call(), "never", tools=[spend])

    async def operator(context: OperatorContext, given: object) -> str:
        with pytest.raises(BudgetExceededError):
            await booking.run("a seat")
        return "nothing left"

    async with kernel(storage, operators={"book": operator}) as k:
        k.ledger.set_budget(budget)
        handle = await k.execute(ExecutionRequest(operator="book"))
        assert (await handle.result(timeout=BOUND)).output == "nothing left"
        assert (await types(handle)).count("tool.completed") == 1
