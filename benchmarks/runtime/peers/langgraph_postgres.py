"""LangGraph with its Postgres saver, `durability="sync"`: a checkpoint is committed before the next step starts.

Connections are made as its documentation asks: `autocommit`, and statements prepared at their first use; the saver sends
what belongs together as one pipeline by itself. `shipped` is the asynchronous saver over a pool, `tuned` the synchronous
one in eight threads. A saver does one thing at a time, whatever its pool's size, because it holds a lock meanwhile; so
each thread of `tuned` has a saver and a connection of its own, under the same graph.
"""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

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

THREADS = 8
POOL_SIZE = 10
OPTIONS: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0}


async def _run_async(builder: Any, inputs: list[Any], in_flight: int) -> float:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    options = OPTIONS | {"row_factory": dict_row}
    async with AsyncConnectionPool(
        os.environ["DATABASE_URL"], min_size=POOL_SIZE, max_size=POOL_SIZE, kwargs=options
    ) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        graph = builder.compile(checkpointer=saver)
        slots = asyncio.Semaphore(in_flight)

        async def one(job: int, value: Any) -> None:
            async with slots:
                await graph.ainvoke(value, config(job), durability="sync")

        await one(0, inputs[0])
        with Stopwatch() as watch:
            await asyncio.gather(*(one(job, value) for job, value in enumerate(inputs, start=1)))
        return watch.seconds


def _run_sync(builder: Any, inputs: list[Any], in_flight: int) -> float:
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg import Connection
    from psycopg.rows import dict_row

    threads = min(in_flight, THREADS)
    mine = threading.local()
    with ExitStack() as stack:

        def compiled() -> Any:
            connection = stack.enter_context(
                Connection.connect(os.environ["DATABASE_URL"], row_factory=dict_row, **OPTIONS)
            )
            return builder.compile(checkpointer=PostgresSaver(connection))

        first = compiled()
        first.checkpointer.setup()
        graphs = [first, *(compiled() for _ in range(threads - 1))]

        def one(job: int, value: Any) -> None:
            mine.graph.invoke(value, config(job), durability="sync")

        def take_graph() -> None:
            mine.graph = graphs.pop()

        first.invoke(inputs[0], config(0), durability="sync")
        pool = stack.enter_context(ThreadPoolExecutor(threads, initializer=take_graph))
        with Stopwatch() as watch:
            list(pool.map(one, range(1, len(inputs) + 1), inputs))
        return watch.seconds


def _run(variant: str, builders: tuple[Any, Any], inputs: list[Any], in_flight: int) -> float:
    """Run the asynchronous graph as shipped, or the synchronous one."""
    if variant == "shipped":
        return asyncio.run(_run_async(builders[0], inputs, in_flight))
    return _run_sync(builders[1], inputs, in_flight)


def _steps(variant: str, jobs: int, steps: int, in_flight: int) -> Result:
    builders = steps_graph(async_step), steps_graph(step)
    seconds = _run(variant, builders, [steps_input(steps)] * jobs, in_flight)
    check_steps((jobs + 1) * steps)
    return Result(seconds, jobs * steps)


def sequential(variant: str) -> Result:
    return _steps(variant, workload.SEQUENTIAL_JOBS, workload.SEQUENTIAL_STEPS, in_flight=1)


def concurrent(variant: str) -> Result:
    return _steps(variant, workload.CONCURRENT_JOBS, workload.CONCURRENT_STEPS, workload.IN_FLIGHT)


def agent(variant: str) -> Result:
    builders = agent_graph(asynchronous=True), agent_graph(asynchronous=False)
    seconds = _run(variant, builders, [prompt()] * workload.AGENT_RUNS, 1)
    steps = 2 * workload.AGENT_TURNS - 1
    # A run stores a checkpoint for its input and one for its start besides those of its steps; one run was a warm-up.
    expect(_stored_checkpoints(), (steps + 2) * (workload.AGENT_RUNS + 1))
    return Result(seconds, steps * workload.AGENT_RUNS)


def _stored_checkpoints() -> int:
    from psycopg import Connection

    with Connection.connect(os.environ["DATABASE_URL"]) as connection:
        (count,) = connection.execute("SELECT count(*) FROM checkpoints").fetchone() or (0,)
        return int(count)


if __name__ == "__main__":
    workload.main({"sequential": sequential, "concurrent": concurrent, "agent": agent})
