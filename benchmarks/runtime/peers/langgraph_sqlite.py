"""LangGraph with its SQLite saver; with `durability="sync"` a checkpoint is on disk before the next step starts.

`shipped` is the asynchronous saver, `tuned` the synchronous one with `invoke` and a small thread pool, which spares the
hop to aiosqlite's thread.
"""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, closing
from typing import Any, TypedDict

import workload
from langgraph_graphs import (
    agent_graph,
    async_step,
    check_steps,
    config,
    prompt,
    step,
    steps_graph,
    steps_input,
)
from workload import Result, Stopwatch, expect


class SuspendState(TypedDict):
    answer: str


async def _run_async(builder: Any, inputs: list[Any], in_flight: int, durability: str) -> float:
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async with AsyncExitStack() as stack:
        saver = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string("checkpoints.db"))
        graph = builder.compile(checkpointer=saver)
        slots = asyncio.Semaphore(in_flight)

        async def one(job: int, value: Any) -> None:
            async with slots:
                await graph.ainvoke(value, config(job), durability=durability)

        await one(0, inputs[0])
        with Stopwatch() as watch:
            await asyncio.gather(*(one(job, value) for job, value in enumerate(inputs, start=1)))
        return watch.seconds


def _run_sync(builder: Any, inputs: list[Any], in_flight: int, durability: str) -> float:
    from langgraph.checkpoint.sqlite import SqliteSaver

    with ExitStack() as stack:
        connection = sqlite3.connect("checkpoints.db", check_same_thread=False)
        stack.callback(connection.close)
        graph = builder.compile(checkpointer=SqliteSaver(connection))
        pool = stack.enter_context(ThreadPoolExecutor(min(in_flight, 8)))

        def one(job: int, value: Any) -> None:
            graph.invoke(value, config(job), durability=durability)

        one(0, inputs[0])
        with Stopwatch() as watch:
            list(pool.map(one, range(1, len(inputs) + 1), inputs))
        return watch.seconds


def _steps(variant: str, jobs: int, steps: int, in_flight: int, durability: str) -> Result:
    inputs = [steps_input(steps)] * jobs
    if variant == "shipped":
        seconds = asyncio.run(_run_async(steps_graph(async_step), inputs, in_flight, durability))
    else:
        seconds = _run_sync(steps_graph(step), inputs, in_flight, durability)
    check_steps((jobs + 1) * steps)
    return Result(seconds, jobs * steps)


def sequential(variant: str, durability: str = "sync") -> Result:
    return _steps(variant, workload.SEQUENTIAL_JOBS, workload.SEQUENTIAL_STEPS, 1, durability)


def concurrent(variant: str, durability: str = "sync") -> Result:
    return _steps(
        variant, workload.CONCURRENT_JOBS, workload.CONCURRENT_STEPS, workload.IN_FLIGHT, durability
    )


def agent(variant: str, durability: str = "sync") -> Result:
    inputs = [prompt()] * workload.AGENT_RUNS
    if variant == "shipped":
        seconds = asyncio.run(_run_async(agent_graph(asynchronous=True), inputs, 1, durability))
    else:
        seconds = _run_sync(agent_graph(asynchronous=False), inputs, 1, durability)
    steps = 2 * workload.AGENT_TURNS - 1
    # A run stores a checkpoint for its input and one for its start besides those of its steps; one run was a warm-up.
    expect(_stored_checkpoints(), (steps + 2) * (workload.AGENT_RUNS + 1))
    return Result(seconds, steps * workload.AGENT_RUNS)


def _stored_checkpoints() -> int:
    with closing(sqlite3.connect("checkpoints.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM checkpoints").fetchone()[0])


def suspended(_: str) -> Result:
    """Jobs that wait for a person: how long they take to park, what they hold, and how fast one wakes."""
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Command, interrupt

    builder = StateGraph(SuspendState)
    builder.add_node("ask", lambda state: state | {"answer": interrupt("go on?")})
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    connection = sqlite3.connect("checkpoints.db", check_same_thread=False)
    graph = builder.compile(checkpointer=SqliteSaver(connection))
    graph.invoke({"answer": ""}, config(0), durability="sync")
    idle = workload.resident_mb()
    with Stopwatch() as watch:
        for job in range(1, workload.SUSPENDED_JOBS + 1):
            graph.invoke({"answer": ""}, config(job), durability="sync")
    held = workload.resident_mb() - idle
    with Stopwatch() as wake:
        state = graph.invoke(Command(resume="yes"), config(workload.SUSPENDED_JOBS // 2), durability="sync")
    expect(int(state["answer"] == "yes"), 1)
    connection.close()
    return Result(watch.seconds, workload.SUSPENDED_JOBS, {"held_mb": held, "wake_ms": wake.seconds * 1e3})


def import_time(_: str) -> Result:
    with Stopwatch() as watch:
        import langgraph.checkpoint.sqlite.aio
        import langgraph.graph  # noqa: F401 - the import is what is measured
    return Result(watch.seconds, 1)


if __name__ == "__main__":
    workload.main(
        {
            "import": import_time,
            "sequential": sequential,
            "concurrent": concurrent,
            "agent": agent,
            "suspended": suspended,
        }
    )
