"""Code inside a job that drops the job's context: its calls would be seen by no rule, no budget and no journal."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agent_runtime import (
    ExecutionRequest,
    JobBlocked,
    OperatorContext,
    PolicyEngine,
    RuntimeKernel,
    ToolPolicy,
)
from agent_runtime.storage.memory import MemoryStorage
from llm_client import (
    LLM,
    Agent,
    ConfigurationError,
    ExecutionEngine,
    FunctionProvider,
    Message,
    RequestSpec,
    ToolCall,
    UngovernedCall,
    tool,
    ungoverned,
)
from support.kernels import BOUND, kernel

pytestmark = pytest.mark.timeout(BOUND * 3)

SPEC = RequestSpec(messages=[Message.user("hi")])


class World:
    """A model that calls `send` whenever it may, and what was asked and sent."""

    def __init__(self) -> None:
        self.asked = 0
        self.sent: list[str] = []

        @tool
        def send(to: str) -> str:
            """Send something."""
            self.sent.append(to)
            return "sent"

        async def answer(spec: RequestSpec) -> Any:
            self.asked += 1
            if spec.messages[-1].role != "tool" and spec.tools:
                return ToolCall("call_1", "send", {"to": "somebody"})
            return "done"

        self.send = send
        self.engine = ExecutionEngine(FunctionProvider(answer))
        self.other = ExecutionEngine(FunctionProvider(answer))
        """One that no kernel was given."""
        self.agent = Agent(engine=self.engine, tools=[send])


Escape = Callable[[World], Awaitable[Any]]


async def in_the_loops_pool(world: World) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, world.agent.run_sync, "go")


async def in_a_pool_of_its_own(world: World) -> Any:
    pool = ThreadPoolExecutor(1)
    try:
        return await asyncio.wrap_future(pool.submit(LLM(world.engine).inference, "go"))
    finally:
        pool.shutdown(wait=False)


async def in_a_loop_of_its_own(world: World) -> Any:
    def run() -> Any:
        return asyncio.run(world.engine.complete(SPEC))

    return await asyncio.get_running_loop().run_in_executor(None, run)


async def in_a_fresh_context(world: World) -> Any:
    return await asyncio.get_running_loop().create_task(
        world.engine.complete(SPEC), context=contextvars.Context()
    )


async def as_a_stream(world: World) -> Any:
    async def read() -> list[Any]:
        return [event async for event in world.agent.stream("go")]

    return await asyncio.get_running_loop().create_task(read(), context=contextvars.Context())


async def embeddings(world: World) -> Any:
    return await asyncio.get_running_loop().create_task(
        world.engine.embed(["hi"]), context=contextvars.Context()
    )


async def with_a_tool_of_the_kernels(world: World) -> Any:
    """The engine is nobody's, the tool is the kernel's."""
    agent = Agent(engine=world.other, tools=[world.send])
    return await asyncio.get_running_loop().run_in_executor(None, agent.run_sync, "go")


ESCAPES = [
    in_the_loops_pool, in_a_pool_of_its_own, in_a_loop_of_its_own, in_a_fresh_context, as_a_stream, embeddings,
    with_a_tool_of_the_kernels,
]  # fmt: skip


def governed(world: World, operator: Any, **options: Any) -> RuntimeKernel:
    given = {
        "agent": world.agent,
        "policy_engine": PolicyEngine([ToolPolicy(tool_patterns="send", decision="deny")]),
        **options,
    }
    return kernel(MemoryStorage(), operators={"op": operator}, **given)


@pytest.mark.parametrize("escape", ESCAPES)
async def test_a_call_without_the_jobs_context_is_refused(escape: Escape) -> None:
    world = World()
    refused: list[str] = []

    async def operator(_: OperatorContext, __: Any) -> None:
        with pytest.raises(UngovernedCall) as caught:
            await escape(world)
        refused.append(str(caught.value))

    async with governed(world, operator) as k:
        await (await k.execute(ExecutionRequest(operator="op"))).result()

    assert not world.sent
    assert world.asked == (1 if escape is with_a_tool_of_the_kernels else 0)
    assert "ungoverned(" in refused[0]  # it says how to opt out


async def test_what_a_job_has_called_is_the_kernels_although_it_was_not_given() -> None:
    world = World()

    async def operator(_: OperatorContext, __: Any) -> None:
        await world.other.complete(SPEC)
        with pytest.raises(UngovernedCall):
            await asyncio.get_running_loop().run_in_executor(None, LLM(world.other).inference, "go")

    async with kernel(MemoryStorage(), operators={"op": operator}) as k:
        await (await k.execute(ExecutionRequest(operator="op"))).result()

    assert world.asked == 1


async def test_an_escape_that_nobody_catches_blocks_the_job_and_says_what_to_do() -> None:
    world = World()

    async def operator(_: OperatorContext, __: Any) -> None:
        await in_the_loops_pool(world)

    async with governed(world, operator) as k:
        handle = await k.execute(ExecutionRequest(operator="op"))
        with pytest.raises(JobBlocked, match="ungoverned"):
            await handle.result()


async def test_threads_that_carry_the_context_are_the_jobs_own() -> None:
    world = World()

    async def operator(_: OperatorContext, __: Any) -> str:
        carried = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(LLM(world.engine).inference, "one")
        return str(await loop.run_in_executor(None, carried.run, LLM(world.engine).inference, "two"))

    async with governed(world, operator) as k:
        result = await (await k.execute(ExecutionRequest(operator="op"))).result()
        journal = await k.storage.events(result.job_id)

    assert result.content == "done"
    assert [event.type for event in journal].count("model.completed") == world.asked == 2


async def test_who_says_why_may_call_without_being_seen() -> None:
    world = World()

    def warm_up() -> str:
        with ungoverned("fills the vendor's cache before the first job"):
            return LLM(world.engine).inference("go")

    async def operator(_: OperatorContext, __: Any) -> str:
        return str(await asyncio.get_running_loop().run_in_executor(None, warm_up))

    async with governed(world, operator) as k:
        assert (await (await k.execute(ExecutionRequest(operator="op"))).result()).content == "done"
        with pytest.raises(UngovernedCall):  # what was said holds in its body alone
            await world.engine.complete(SPEC)


@pytest.mark.parametrize("reason", ["", "  ", None])
async def test_an_exception_without_a_reason_is_none(reason: Any) -> None:
    with pytest.raises(ConfigurationError), ungoverned(reason):
        raise AssertionError("the body ran")


async def test_an_exception_lets_nothing_out_of_a_job() -> None:
    world = World()

    async def operator(_: OperatorContext, __: Any) -> str:
        with ungoverned("I would like to send something"):
            return (await world.agent.run("go")).content

    async with governed(world, operator) as k:
        result = await (await k.execute(ExecutionRequest(operator="op"))).result()
        journal = await k.storage.events(result.job_id)

    assert not world.sent
    assert "policy.decided" in [event.type for event in journal]


async def test_before_and_after_its_kernel_and_beside_one_that_only_submits_an_engine_is_free() -> None:
    world = World()

    async def operator(_: OperatorContext, __: Any) -> None: ...

    storage = MemoryStorage()
    k = kernel(storage, agent=world.agent, operators={"op": operator})
    await world.engine.complete(SPEC)
    async with k:
        with pytest.raises(UngovernedCall):
            await world.engine.complete(SPEC)
        assert (await world.other.complete(SPEC)).content == "done"  # it belongs to nobody
    await world.engine.complete(SPEC)
    async with kernel(storage, agent=world.agent, worker=False):
        await world.engine.complete(SPEC)

    assert world.asked == 4


def test_a_kernel_whose_event_loop_has_ended_holds_nothing_back() -> None:
    world = World()
    k = kernel(MemoryStorage(), agent=world.agent)
    asyncio.run(k.start())

    assert LLM(world.engine).inference("go") == "done"


async def test_an_agent_that_becomes_an_operator_later_belongs_to_the_kernel_as_well() -> None:
    world = World()
    async with kernel(MemoryStorage()) as k:
        await world.engine.complete(SPEC)
        k.operators.add(world.agent, "late")
        with pytest.raises(UngovernedCall):
            await world.engine.complete(SPEC)
