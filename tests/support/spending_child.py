"""A process with a thousand jobs that spend one dollar together, which kills itself with SIGKILL after so many answers.

Usage: `python -m support.spending_child DB WORLD KILL_AFTER`. Every answer of the vendor is a line in WORLD, written before
our side hears of it: the call, the answer's id, its kind and its cost in 10⁻¹⁰ dollars. The vendor begins to answer only
when every job that has not ended has a call with it; a line of the kind `together` says how many those were.
"""

import asyncio
import json
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent_runtime import Budget, ExecutionRequest, JobFilter, JobStatus, OperatorContext
from agent_runtime.storage.sqlite import SQLiteStorage
from llm_client import ExecutionEngine, FunctionProvider, Message, RequestSpec
from llm_client.engine.breaker import CircuitBreakerConfig
from llm_client.engine.retry import RetryConfig
from llm_client.errors import ProviderError, ProviderTimeout, ProviderUnavailable, RateLimited
from llm_client.messages import CompletionResult
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.usage import Usage
from support.kernels import QUICK, kernel

JOBS = 1000
CALLS = 20
"""How many calls each job would like to make; the dollar pays for a few of them."""
BUDGET = Budget(scope_id="tenant", max_cost_total=1)
MAX_TOKENS = 100
UNITS_PER_TOKEN = 20_000
"""So dear that two kills of a thousand calls each leave more than half of the dollar, and all calls would need many."""
ACTIVE = frozenset(status for status in JobStatus if not status.is_terminal)
PRICES = PriceBook({"function:m": ModelPrices.of(input=0, output=2)})


class Vendor:
    """Answers late, badly or not at all, and writes down what it bills."""

    def __init__(self, world: Path, kill_after: int) -> None:
        self._file = world.open("a", encoding="utf-8")
        self._answers = sum("answer-" in line for line in world.read_text().splitlines())
        self._kill_after = kill_after
        self._random = random.Random(self._answers)
        self._waiting = 0
        self._awaited: int | None = None
        self._open = asyncio.Event()

    def await_calls(self, count: int) -> None:
        """Answer nobody before so many calls are here at once."""
        self._awaited = count
        self._look()

    def _look(self) -> None:
        if self._waiting == self._awaited and not self._open.is_set():
            self._open.set()
            self._write("-", "-", "together", self._waiting)

    async def answer(self, spec: RequestSpec) -> CompletionResult:
        call = spec.messages[0].text
        self._waiting += 1
        self._look()
        await self._open.wait()
        chance = self._random.random()
        await asyncio.sleep(self._random.random() * 0.05)
        if chance < 0.05:
            self._bill(call, "refused", 0)
            raise RateLimited("busy", status=429)
        most = spec.max_tokens or MAX_TOKENS
        tokens = self._random.randint(most * 4 // 5, most)
        if chance < 0.10:
            self._bill(call, "lost", tokens)
            raise ProviderTimeout("the answer never came")
        if chance < 0.15:
            self._bill(call, "refused", 0)
            raise ProviderUnavailable("down", status=503)
        answer = self._bill(call, "answered", tokens)
        usage = Usage(output_tokens=tokens, requests=1)
        return CompletionResult(content="ok", usage=usage, request_id=answer, provider="function", model="m")

    def _bill(self, call: str, kind: str, tokens: int) -> str:
        self._answers += 1
        answer = f"answer-{self._answers}"
        self._write(call, answer, kind, tokens * UNITS_PER_TOKEN)
        if self._answers == self._kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    def _write(self, call: str, answer: str, kind: str, number: int) -> None:
        self._file.write(f"{call} {answer} {kind} {number}\n")
        self._file.flush()


async def spend(context: OperatorContext, given: Any) -> int:
    """Make one call after the other, and return how many were answered."""
    answered = 0
    for number in range(CALLS):
        spec = RequestSpec(messages=[Message.user(f"{given['name']}/{number}")], max_tokens=MAX_TOKENS)
        try:
            await context.model(spec)
        except ProviderError:
            continue
        answered += 1
    return answered


async def main(database: str, world: str, kill_after: str) -> None:
    """Run all jobs to their end, or go on with them."""
    vendor = Vendor(Path(world), int(kill_after))
    engine = ExecutionEngine(
        FunctionProvider(vendor.answer, model="m"),
        prices=PRICES,
        retry=RetryConfig(attempts=3, backoff=0.001),
        breaker_config=CircuitBreakerConfig(failure_threshold=10**9),
        max_concurrency=JOBS,
    )
    options = replace(QUICK, max_concurrency=JOBS, reservation_wait=10.0)
    storage = SQLiteStorage(database, durability="process")
    async with kernel(storage, engine=engine, operators=[spend], options=options) as k:
        k.ledger.set_budget(BUDGET)
        handles = await asyncio.gather(
            *(
                k.execute(
                    ExecutionRequest(
                        operator="spend",
                        scope_id="tenant",
                        input={"name": f"job-{n}"},
                        idempotency_key=str(n),
                    )
                )
                for n in range(JOBS)
            )
        )
        vendor.await_calls(await k.jobs.count(JobFilter(status=ACTIVE)))
        results = await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
        status = await k.ledger.status(BUDGET)
        told = {
            "jobs": await k.jobs.count(JobFilter()),
            "ended": [type(one).__name__ for one in results],
            "settled": str(status.settled),
            "reserved": str(status.reserved),
        }
        print(json.dumps(told))
    await storage.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
