"""openclaw #64293: two million tokens a day were spent while nothing happened."""

import pytest

from agent_runtime import DueTime, ExecutionRequest, JobFilter, Timing
from agent_runtime.operators.operator import AgentOperator
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.clock import FakeClock
from llm_client import Agent, FunctionProvider
from support.kernels import BOUND, kernel, until
from support.schedules import NINE

pytestmark = pytest.mark.timeout(BOUND * 3)


async def test_a_day_of_checks_without_news_asks_no_model_and_costs_nothing() -> None:
    asked: list[DueTime] = []
    calls: list[object] = []

    def is_ill(due: DueTime) -> bool:
        asked.append(due)
        return len(asked) == 97

    def answer(spec: object) -> str:
        calls.append(spec)
        return "seen to"

    clock, storage = FakeClock(NINE), MemoryStorage()
    duty = AgentOperator(Agent(provider=FunctionProvider(answer)), "duty")
    async with kernel(storage, clock=clock, operators=[duty], checks=[is_ill]) as k:
        request = ExecutionRequest(operator="duty", prompt="Something is wrong: look.")
        await k.schedules.put("health", request, Timing(cron="*/15 * * * *"), check="is_ill")
        for number in range(1, 97):
            clock.move(minutes=15)

            async def decided(number: int = number) -> bool:
                return len(asked) == number and len(await k.schedules.log("health", limit=200)) == number

            await until(decided)
        assert await k.jobs.list(JobFilter()) == []
        assert (await k.ledger.total()).total_tokens == 0
        assert calls == []
        clock.move(minutes=15)

        async def fired() -> bool:
            return [fire.outcome for fire in await k.schedules.log("health", limit=1)] == ["fired"]

        await until(fired)
        (job,) = await k.jobs.list(JobFilter())
        assert (await k.handle(job.job_id).result(timeout=BOUND)).content == "seen to"
        assert len(calls) == 1
