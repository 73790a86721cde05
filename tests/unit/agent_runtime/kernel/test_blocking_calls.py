"""Ordinary code inside a job that asks agents and models: its calls are the job's, on the job's event loop."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ActionSpec, ActionType, BudgetSpec, ExecutionRequest, OperatorContext
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.values.budget import run_budget_id
from llm_client import (
    LLM,
    Agent,
    AgentConfig,
    ExecutionEngine,
    FunctionProvider,
    ScriptedProvider,
    ToolCall,
    tool,
)
from llm_client.spec import RequestSpec
from support.kernels import BOUND, kernel, opened, pending, status_becomes, types

pytestmark = pytest.mark.timeout(BOUND * 3)


class Inner:
    """A model for calls from ordinary code, and the loops it was asked on."""

    def __init__(self) -> None:
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.engine = ExecutionEngine(FunctionProvider(self._answer))
        self.agent = Agent(engine=self.engine)
        self.llm = LLM(self.engine)

    async def _answer(self, spec: RequestSpec) -> str:
        self.loops.append(asyncio.get_running_loop())
        return f"answer to {spec.messages[-1].text}"


def by_agent(inner: Inner, question: str) -> str:
    return inner.agent.run_sync(question).content


def by_llm(inner: Inner, question: str) -> str:
    return inner.llm.inference(question)


BLOCKING = [by_agent, by_llm]


@pytest.mark.parametrize("ask", BLOCKING)
async def test_a_blocking_call_in_a_step_is_the_jobs_own(ask: Callable[[Inner, str], str]) -> None:
    """Asked and billed once, recorded below the step, and recalled."""
    inner = Inner()

    def question(text: str) -> str:
        return ask(inner, text)

    async def operator(context: OperatorContext, given: Any) -> str:
        said = await context.step(question, "why", effect="unsafe")
        await context.action(ActionSpec(type=ActionType.CONFIRM))
        return str(said)

    async with kernel(MemoryStorage(), operators={"ask": operator}) as k:
        handle = await k.execute(ExecutionRequest(operator="ask", budgets=BudgetSpec(max_tokens=100_000)))
        asked = await pending(handle)
        await status_becomes(handle, "waiting_action")
        await k.actions.resolve_by_id(asked.action_id, {"confirmed": True})
        assert (await handle.result(timeout=BOUND)).output == "answer to why"
        entries = await k.ledger.entries(job_id=handle.job_id, type="model_usage")
        (counters,) = await k.storage.counters([(run_budget_id("default", handle.job_id), "")])
        order = await types(handle)
    assert inner.loops == [asyncio.get_running_loop()]
    assert [entry.status for entry in entries] == ["completed"]
    assert counters.settled.requests == 1
    assert order.index("step.started") < order.index("model.completed") < order.index("step.completed")


@pytest.mark.parametrize("ask", BLOCKING)
async def test_a_blocking_call_in_a_tool_is_the_jobs_own(ask: Callable[[Inner, str], str]) -> None:
    inner = Inner()

    @tool(effect="unsafe")
    def consult(question: str) -> str:
        """Ask somebody else."""
        return ask(inner, question)

    provider = ScriptedProvider([ToolCall("1", "consult", {"question": "why"}), "so"])
    async with kernel(MemoryStorage(), agent=Agent(provider=provider, tools=[consult])) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        assert (await handle.result(timeout=BOUND)).content == "so"
        assert len(await k.ledger.entries(job_id=handle.job_id, type="model_usage")) == 3
    assert provider.requests[1].messages[-1].text == "answer to why"
    assert inner.loops == [asyncio.get_running_loop()]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_loop_of_its_own_in_a_jobs_thread_is_refused_with_the_remedy(
    kind: str, tmp_path: Path
) -> None:
    inner = Inner()

    def question() -> str:
        try:
            return asyncio.run(inner.agent.run("why")).content
        except Exception as error:
            return str(error)

    async with opened(kind, tmp_path) as storage, kernel(storage, operators=[ask_in_a_loop]) as k:
        ASK.append(question)
        handle = await k.execute(ExecutionRequest(operator="ask_in_a_loop"))
        result = await handle.result(timeout=BOUND)
        ASK.clear()
    assert "run_sync" in str(result.output)
    assert inner.loops == []


ASK: list[Callable[[], str]] = []


async def ask_in_a_loop(context: OperatorContext, given: Any) -> str:
    return str(await context.step(ASK[0], name="question", effect="read"))


async def test_a_tool_that_ran_out_of_time_takes_its_blocking_call_along() -> None:
    """Its thread cannot be stopped, but what it asks for can: nothing is paid for a tool that nobody waits for."""
    cut, asked_again = threading.Event(), list[BaseException]()

    async def never(_spec: RequestSpec) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()
        return "never"

    inner = Agent(provider=FunctionProvider(never))

    @tool(effect="read")
    def consult() -> str:
        """Ask somebody else."""
        try:
            return inner.run_sync("why").content
        except BaseException as error:
            asked_again.append(error)
            raise

    provider = ScriptedProvider([ToolCall("1", "consult", {}), "so"])
    outer = Agent(provider=provider, tools=[consult], config=AgentConfig(tool_timeout=0.05))
    async with kernel(MemoryStorage(), agent=outer) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        assert (await handle.result(timeout=BOUND)).content == "so"
    assert await asyncio.to_thread(cut.wait, BOUND)
    assert "did not finish" in provider.requests[1].messages[-1].text
