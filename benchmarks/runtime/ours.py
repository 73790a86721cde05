"""agent-runtime on SQLite with `synchronous=FULL`, or on the Postgres database that `DATABASE_URL` names, as it comes.

On Postgres `shipped` brings jobs to workers through the shared queue, and `tuned` runs them in the one process there is,
as the peers do.

`sequential` takes steps of the class `read`, which are one commit each, like a peer's; `sequential-intent` takes steps
that write an intent first, which no peer does.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import workload
from workload import Result, Stopwatch, expect

executed = 0


@asynccontextmanager
async def started(variant: str, **options: Any) -> AsyncIterator[Any]:
    """Run a kernel on an empty store."""
    from agent_runtime import RuntimeKernel, open_storage

    storage = open_storage(os.environ.get("DATABASE_URL", "sqlite:///runs.db"))
    if storage.is_shared:
        await storage.setup()
    dispatch = "local" if variant == "tuned" else "auto"
    async with RuntimeKernel(storage=storage, dispatch=dispatch, **options) as kernel:
        yield kernel
    await storage.aclose()


async def numbered(number: int) -> dict[str, int | str]:
    global executed  # noqa: PLW0603 - counting the work is all this module does
    executed += 1
    return workload.step_result(number)


async def read_steps(context: Any, total: int) -> None:
    for number in range(total):
        await context.step(numbered, number, effect="read")


async def intent_steps(context: Any, total: int) -> None:
    for number in range(total):
        await context.step(numbered, number, effect="idempotent")


async def waiting(context: Any, given: Any) -> Any:
    from agent_runtime import ActionSpec

    return (await context.action(ActionSpec(type="input"))).resolution


async def _run(variant: str, operator: Any, total: int, jobs: int, in_flight: int) -> float:
    from agent_runtime import ExecutionRequest

    async with started(variant, operators={"job": operator}) as kernel:
        slots = asyncio.Semaphore(in_flight)

        async def one() -> None:
            async with slots:
                await (await kernel.execute(ExecutionRequest(operator="job", input=total))).result()

        await one()
        with Stopwatch() as watch:
            await asyncio.gather(*(one() for _ in range(jobs)))
        return watch.seconds


def _steps(variant: str, operator: Any, total: int, jobs: int, in_flight: int) -> Result:
    seconds = asyncio.run(_run(variant, operator, total, jobs, in_flight))
    expect(executed, total * (jobs + 1))
    return Result(seconds, total * jobs)


def sequential(variant: str) -> Result:
    return _steps(variant, read_steps, workload.SEQUENTIAL_STEPS, workload.SEQUENTIAL_JOBS, 1)


def sequential_intent(variant: str) -> Result:
    return _steps(variant, intent_steps, workload.SEQUENTIAL_STEPS, workload.SEQUENTIAL_JOBS, 1)


def concurrent(variant: str) -> Result:
    return _steps(
        variant, read_steps, workload.CONCURRENT_STEPS, workload.CONCURRENT_JOBS, workload.IN_FLIGHT
    )


async def no_steps(context: Any, total: int) -> None:
    """Do nothing."""


def empty(variant: str) -> Result:
    """Jobs without a step: what a job itself costs."""
    import agent_runtime  # noqa: F401 - not what is measured

    before = time.process_time()
    seconds = asyncio.run(_run(variant, no_steps, 0, workload.EMPTY_JOBS, workload.IN_FLIGHT))
    cpu_ms = (time.process_time() - before) / workload.EMPTY_JOBS * 1e3
    return Result(seconds, workload.EMPTY_JOBS, {"cpu_ms": cpu_ms})


def children(_: str) -> Result:
    """A parent of a thousand children that give four kilobytes each."""
    import children as family

    costs = asyncio.run(family.measure(os.environ.get("DATABASE_URL", "sqlite:///runs.db")))
    return Result(costs.seconds, family.CHILDREN, {"cpu_ms": costs.starting_ms + costs.ending_ms})


def _agent() -> Any:
    from llm_client import Agent, AgentConfig, ExecutionEngine, FunctionProvider, tool
    from llm_client.messages import CompletionResult, ToolCall

    @tool(effect="read")
    async def look_up(package: str) -> str:
        """Look a package up."""
        return workload.TOOL_RESULT

    async def model(spec: Any) -> Any:
        turn = sum(message.role == "assistant" for message in spec.messages) + 1
        if turn == workload.AGENT_TURNS:
            return workload.FINAL_ANSWER
        call = ToolCall(f"call-{turn}", "look_up", {"package": f"package-{turn}"})
        return CompletionResult(content=workload.THOUGHT, tool_calls=(call,), finish_reason="tool_calls")

    return Agent(
        engine=ExecutionEngine(FunctionProvider(model)),
        tools=[look_up],
        system_message=workload.SYSTEM_PROMPT,
        config=AgentConfig(max_turns=workload.AGENT_TURNS + 1),
    )


def agent(variant: str) -> Result:
    from agent_runtime import ExecutionRequest

    async def runs() -> float:
        async with started(variant, agent=_agent()) as kernel:

            async def one() -> None:
                handle = await kernel.execute(ExecutionRequest(prompt=workload.USER_PROMPT))
                expect((await handle.result()).turns, workload.AGENT_TURNS)

            await one()
            with Stopwatch() as watch:
                for _ in range(workload.AGENT_RUNS):
                    await one()
            return watch.seconds

    return Result(asyncio.run(runs()), workload.AGENT_RUNS * workload.AGENT_TURNS)


def turn(_: str) -> Result:
    """Agent runs of one turn without a runtime: what the loop itself costs."""
    from llm_client import Agent, ExecutionEngine, FunctionProvider

    count = 2_000

    async def runs() -> tuple[float, float]:
        agent = Agent(engine=ExecutionEngine(FunctionProvider(_answer)))
        times = []
        for _ in range(count + 100):
            start = time.perf_counter()
            await agent.run("hello")
            times.append(time.perf_counter() - start)
        return sum(times[100:]), statistics.median(times[100:])

    seconds, middle = asyncio.run(runs())
    return Result(seconds, count, {"median_us": middle * 1e6})


async def _answer(spec: Any) -> str:
    return "hello"


def suspended(_: str) -> Result:
    """Jobs that wait for a person: how long they take to park, what they hold, and how fast one wakes."""
    from agent_runtime import ExecutionRequest

    async def park() -> tuple[float, float, float]:
        async with started("shipped", operators={"job": waiting}) as kernel:
            first = await kernel.execute(ExecutionRequest(operator="job"))
            await _parked(kernel, 1)
            idle = workload.resident_mb()
            with Stopwatch() as watch:
                ids = [
                    (await kernel.execute(ExecutionRequest(operator="job"))).job_id
                    for _ in range(workload.SUSPENDED_JOBS - 1)
                ]
                await _parked(kernel, workload.SUSPENDED_JOBS)
            held = workload.resident_mb() - idle
            handle = kernel.handle(ids[len(ids) // 2])
            (action,) = await handle.get_pending_actions()
            with Stopwatch() as wake:
                await handle.resolve_action(action.action_id, {"value": "yes"})
                await handle.result()
            expect(await first.status() == "waiting_action", True)
            return watch.seconds, held, wake.seconds

    seconds, held, wake = asyncio.run(park())
    return Result(seconds, workload.SUSPENDED_JOBS, {"held_mb": held, "wake_ms": wake * 1e3})


async def _parked(kernel: Any, count: int) -> None:
    from agent_runtime import JobFilter, JobStatus

    wanted = JobFilter(status=frozenset({JobStatus.WAITING_ACTION}))
    while await kernel.jobs.count(wanted) < count:
        await asyncio.sleep(0.02)


def import_time(_: str) -> Result:
    with Stopwatch() as watch:
        from agent_runtime import ExecutionRequest, RuntimeKernel  # noqa: F401 - the import is what is measured
        from agent_runtime.storage.sqlite import SQLiteStorage  # noqa: F401
        from llm_client import Agent, ExecutionEngine  # noqa: F401
    return Result(watch.seconds, 1)


if __name__ == "__main__":
    workload.main(
        {
            "import": import_time,
            "turn": turn,
            "sequential": sequential,
            "sequential-intent": sequential_intent,
            "concurrent": concurrent,
            "empty": empty,
            "children": children,
            "agent": agent,
            "suspended": suspended,
        }
    )
