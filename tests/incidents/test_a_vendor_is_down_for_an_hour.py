"""A vendor is down for an hour, in the middle of the night.

Reported of many systems: the client's retries last for seconds, so every run that is under way when a vendor goes down
fails, and people restart them by hand in the morning – with what they had done being done again. Here an hour passes in
which nobody answers, for a hundred jobs that had already acted; afterwards every job has succeeded, each effect has
happened once, every answer was paid once, and the vendor was not run over when it came back.
"""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import ExecutionRequest, JobFilter, JobStatus, OperatorContext
from agent_runtime.storage.memory import MemoryStorage
from llm_client import CircuitBreakerConfig, ExecutionEngine, FunctionProvider, RequestSpec, RetryConfig
from llm_client.errors import ProviderUnavailable
from support.kernels import BOUND, QUICK, kernel
from support.operators import asking
from support.soak.virtual import LoopClock, run_in_virtual_time

pytestmark = pytest.mark.timeout(BOUND * 9)
HOUR = 3600.0
DOWN = HOUR - 0.001
"""The last attempt is made after an hour, which a clock of microseconds may have over a moment before the loop's has."""
JOBS = 100


class Vendor:
    """Is down until an hour has passed since the first request, then answers within a second."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.refused: list[float] = []
        self.answered: list[float] = []
        self.in_flight = self.most_in_flight = 0

    async def answer(self, spec: RequestSpec) -> str:
        now = asyncio.get_running_loop().time()
        self.began = now if self.began is None else self.began
        if now - self.began < DOWN:
            self.refused.append(now)
            raise ProviderUnavailable("down", status=503)
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        await asyncio.sleep(1)
        self.in_flight -= 1
        self.answered.append(now)
        return "back"


def test_a_hundred_jobs_outlive_an_hour_without_a_vendor() -> None:
    vendor, done = Vendor(), Counter[str]()

    async def act(what: str) -> None:
        done[what] += 1

    async def operator(context: OperatorContext, given: int) -> Any:
        await context.step(act, f"before {given}")
        answer = (await context.model(asking(str(given)))).content
        await context.step(act, f"after {given}")
        return answer

    async def main() -> None:
        engine = ExecutionEngine(
            FunctionProvider(vendor.answer), retry=RetryConfig(), breaker_config=CircuitBreakerConfig()
        )
        options = replace(QUICK, sweep_interval=5.0)  # an hour is long for looking five times a second
        async with kernel(
            MemoryStorage(), engine=engine, operators=[operator], clock=LoopClock(), options=options
        ) as k:
            requests = [ExecutionRequest(operator="operator", input=number) for number in range(JOBS)]
            handles = [await k.execute(request) for request in requests]
            results = await asyncio.gather(*(handle.result(timeout=4 * HOUR) for handle in handles))
            assert [result.output for result in results] == ["back"] * JOBS
            assert set(done.values()) == {1}
            assert len(done) == 2 * JOBS
            entries = await k.ledger.entries(limit=100_000)
            paid = Counter(entry.job_id for entry in entries if entry.total_tokens)
            assert (len(paid), set(paid.values())) == (JOBS, {1})
            assert len({entry.entry_id for entry in entries}) == len(entries)
            assert await k.jobs.count(JobFilter(status=frozenset({JobStatus.SUCCEEDED}))) == JOBS

    run_in_virtual_time(main())
    assert len(vendor.answered) == JOBS
    assert len(vendor.refused) < 4 * JOBS  # the breaker keeps them off: a few probes and no stampede
    assert vendor.answered[-1] - vendor.answered[0] > 5  # one after the other, not all at once
