"""The workflows that DBOS runs, whatever database it writes to."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import workload
from workload import Result, Stopwatch, expect

executed = 0
Launcher = Callable[[str], AbstractContextManager[Any]]
"""Starts the variant of DBOS that is asked for in this process, where there can be one, and stops it."""


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


def _steps(launched: Launcher, variant: str, jobs: int, steps: int, in_flight: int) -> Result:
    with launched(variant) as dbos:

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


def _sequential(launched: Launcher, variant: str) -> Result:
    return _steps(launched, variant, workload.SEQUENTIAL_JOBS, workload.SEQUENTIAL_STEPS, in_flight=1)


def _concurrent(launched: Launcher, variant: str) -> Result:
    return _steps(launched, variant, workload.CONCURRENT_JOBS, workload.CONCURRENT_STEPS, workload.IN_FLIGHT)


def _agent(launched: Launcher, variant: str) -> Result:
    with launched(variant) as dbos:

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


def cases(launched: Launcher) -> dict[str, Callable[[str], Result]]:
    """Return the cases by name."""
    return {
        "sequential": lambda variant: _sequential(launched, variant),
        "concurrent": lambda variant: _concurrent(launched, variant),
        "agent": lambda variant: _agent(launched, variant),
    }
