"""What budgets cost: reservations a second, and what one run budget and one tenant budget add to a durable model call."""

import asyncio
from typing import Any

import workload
from workload import Result, Stopwatch, expect

RESERVATIONS, IN_FLIGHT = 10_000, 100
CALLS, ROUNDS = 100, 15
DATABASE = "sqlite:///runs.db"


async def _reserve(url: str | None) -> tuple[float, float]:
    """Set aside and give back, a hundred at a time; return the seconds of each half."""
    from agent_runtime import Budget, ExecutionContext, Ledger, open_storage
    from agent_runtime.kernel.stores import StorageView

    storage = open_storage(url)
    await storage.open()
    ledger = Ledger(StorageView(storage))
    ledger.set_budget(Budget(scope_id="a", max_cost_daily=10**6, max_tokens_monthly=10**12))
    context = ExecutionContext(scope_id="a")
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> Any:
        async with slots:
            return await ledger.reserve(context, tokens=100, cost="0.001")

    async def back(held: Any) -> None:
        async with slots:
            await ledger.release(held)

    await back(await one())
    with Stopwatch() as reserving:
        held = await asyncio.gather(*(one() for _ in range(RESERVATIONS)))
    with Stopwatch() as releasing:
        await asyncio.gather(*(back(each) for each in held))
    expect(len({each.reservation_id for each in held}), RESERVATIONS)
    await storage.aclose()
    return reserving.seconds, releasing.seconds


def reserve_sqlite(_: str) -> Result:
    seconds, releasing = asyncio.run(_reserve(DATABASE))
    return Result(seconds, RESERVATIONS, {"released_per_second": RESERVATIONS / releasing})


def reserve_memory(_: str) -> Result:
    seconds, releasing = asyncio.run(_reserve(None))
    return Result(seconds, RESERVATIONS, {"released_per_second": RESERVATIONS / releasing})


async def calls(context: Any, total: int) -> None:
    """Make model calls, one after the other."""
    from llm_client import Message, RequestSpec

    for number in range(total):
        await context.model(RequestSpec(messages=[Message.user(f"call {number}")], max_tokens=100))


async def _governed() -> tuple[float, float]:
    """Return the seconds of jobs without and with budgets, in turns, each the best of its rounds."""
    from agent_runtime import Budget, BudgetSpec, ExecutionRequest, RuntimeKernel
    from llm_client import ExecutionEngine, FunctionProvider
    from llm_client.pricing.book import PriceBook
    from llm_client.pricing.model_prices import ModelPrices

    prices = PriceBook({"function:m": ModelPrices.of(input=1, output=2)})
    engine = ExecutionEngine(FunctionProvider(_answer, model="m"), prices=prices)
    async with RuntimeKernel(storage=DATABASE, engine=engine, operators={"calls": calls}) as kernel:
        kernel.ledger.set_budget(Budget(scope_id="governed", max_cost_daily=10**6))

        async def run(scope: str, budgets: Any) -> float:
            request = ExecutionRequest(operator="calls", input=CALLS, scope_id=scope, budgets=budgets)
            with Stopwatch() as watch:
                await (await kernel.execute(request)).result()
            return watch.seconds

        kinds: dict[str, Any] = {"free": None, "governed": BudgetSpec(max_cost=1000)}
        seconds: dict[str, list[float]] = {scope: [] for scope in kinds}
        for turn in range(ROUNDS):  # in turns, so that whatever else the machine does meets both
            for scope in sorted(kinds, reverse=bool(turn % 2)):
                seconds[scope].append(await run(scope, kinds[scope]))
        return min(seconds["free"]), min(seconds["governed"])


async def _answer(spec: Any) -> str:
    return "hello"


def governed(_: str) -> Result:
    free, seconds = asyncio.run(_governed())
    return Result(seconds, CALLS, {"free_seconds": free, "added_percent": (seconds / free - 1) * 100})


CASES = {"reserve": reserve_sqlite, "reserve-memory": reserve_memory, "governed": governed}

if __name__ == "__main__":
    workload.main(CASES)
