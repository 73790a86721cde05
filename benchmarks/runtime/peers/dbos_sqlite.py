"""DBOS on SQLite. `shipped` is its default: rollback journal and default threads; `tuned` is WAL and eight threads.

Both write with `synchronous=FULL`, as the programs they are compared with do.
"""

import asyncio
from contextlib import contextmanager
from typing import Any

import workload
from workload import Result, Stopwatch, expect

executed = 0


@contextmanager
def _launched(variant: str) -> Any:
    """Start DBOS in this process (there can be one), yield it, and stop it."""
    import sqlalchemy
    from dbos import DBOS

    config: dict[str, Any] = {
        "name": "bench",
        "system_database_url": "sqlite:///dbos.sqlite",
        "log_level": "ERROR",
    }
    config |= {"application_version": "bench", "executor_id": "bench"}
    if variant == "tuned":
        engine = sqlalchemy.create_engine("sqlite:///dbos.sqlite", connect_args={"timeout": 30})

        @sqlalchemy.event.listens_for(engine, "connect")
        def use_wal(connection: Any, _: Any) -> None:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        config |= {"system_database_engine": engine, "max_executor_threads": 8}
    DBOS(config=config)
    try:
        yield DBOS
    finally:
        DBOS.destroy()


def _count() -> None:
    global executed  # noqa: PLW0603 - counting the work is all this module does
    executed += 1


async def _run_all(dbos: Any, workflow: Any, arguments: list[Any], in_flight: int) -> float:
    dbos.launch()
    slots = asyncio.Semaphore(in_flight)

    async def one(argument: Any) -> None:
        async with slots:
            await workflow(argument)

    await one(arguments[0])
    with Stopwatch() as watch:
        await asyncio.gather(*map(one, arguments))
    return watch.seconds


def _steps(variant: str, jobs: int, steps: int, in_flight: int) -> Result:
    with _launched(variant) as dbos:

        @dbos.step()
        async def step(number: int) -> dict[str, Any]:
            _count()
            return workload.step_result(number)

        @dbos.workflow()
        async def job(total: int) -> None:
            for number in range(total):
                await step(number)

        seconds = asyncio.run(_run_all(dbos, job, [steps] * jobs, in_flight))
    expect(executed, (jobs + 1) * steps)
    return Result(seconds, jobs * steps)


def sequential(variant: str) -> Result:
    return _steps(variant, workload.SEQUENTIAL_JOBS, workload.SEQUENTIAL_STEPS, in_flight=1)


def concurrent(variant: str) -> Result:
    return _steps(variant, workload.CONCURRENT_JOBS, workload.CONCURRENT_STEPS, workload.IN_FLIGHT)


def agent(variant: str) -> Result:
    with _launched(variant) as dbos:

        @dbos.step()
        async def model(messages: list[dict[str, Any]]) -> dict[str, Any]:
            _count()
            turn = sum(message["role"] == "assistant" for message in messages) + 1
            if turn == workload.AGENT_TURNS:
                return {"role": "assistant", "content": workload.FINAL_ANSWER}
            call = {"id": f"call-{turn}", "name": "look_up", "arguments": {"package": f"package-{turn}"}}
            return {"role": "assistant", "content": workload.THOUGHT, "tool_calls": [call]}

        @dbos.step()
        async def look_up(package: str) -> str:
            _count()
            return workload.TOOL_RESULT if package else ""

        @dbos.workflow()
        async def run(prompt: str) -> str:
            messages: list[dict[str, Any]] = [
                {"role": "system", "content": workload.SYSTEM_PROMPT},
                {"role": "user", "content": prompt},
            ]
            while True:
                answer = await model(messages)
                messages.append(answer)
                if "tool_calls" not in answer:
                    return str(answer["content"])
                for call in answer["tool_calls"]:
                    content = await look_up(**call["arguments"])
                    messages.append({"role": "tool", "tool_call_id": call["id"], "content": content})

        seconds = asyncio.run(_run_all(dbos, run, [workload.USER_PROMPT] * workload.AGENT_RUNS, in_flight=1))
    per_run = 2 * workload.AGENT_TURNS - 1
    expect(executed, per_run * (workload.AGENT_RUNS + 1))
    return Result(seconds, per_run * workload.AGENT_RUNS)


def import_time(_: str) -> Result:
    with Stopwatch() as watch:
        import dbos  # noqa: F401 - the import is what is measured
    return Result(watch.seconds, 1)


if __name__ == "__main__":
    workload.main({"import": import_time, "sequential": sequential, "concurrent": concurrent, "agent": agent})
