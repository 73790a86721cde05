"""Reservations that nobody gives back (litellm #27639, #36926, #40050).

Reported there: calls that end in other ways than with an answer never release what was reserved for them, so that a
team is denied with $55 spent and $111 "used". Here every way in which a call can end is played under a hard budget of
the tenant and an estimate of the run; afterwards nothing is reserved, and what was billed is in the ledger.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    Budget,
    BudgetSpec,
    ExecutionHandle,
    ExecutionRequest,
    Ledger,
    LedgerEntry,
    OperatorContext,
    RetryPolicy,
    RuntimeKernel,
)
from agent_runtime.kernel.stores import StorageView
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.storage import Storage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from llm_client import ExecutionEngine, FunctionProvider, Message, RequestSpec
from llm_client.engine.retry import RetryConfig
from llm_client.errors import (
    ConnectionFailed,
    InvalidRequest,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
)
from llm_client.messages import CompletionResult
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.usage import Usage
from support.kernels import BOUND, DOOMED, kernel, opened, run_key

pytestmark = pytest.mark.timeout(BOUND * 3)

PRICES = PriceBook({"function:m": ModelPrices.of(input=1000, output=1000)})
TENANT = Budget(scope_id="default", max_cost_total=1000, max_tokens_total=10**9)


def answer(content: str = "ok", **usage: Any) -> CompletionResult:
    used = {"input_tokens": 9, "output_tokens": 1, "requests": 1, **usage}
    return CompletionResult(content=content, usage=Usage(**used))


def status(number: int) -> ProviderError:
    return ProviderUnavailable("no", status=number)


def unreachable() -> ConnectionFailed:
    """Return a failure by which the request has not left."""
    error = ConnectionFailed("no")
    error.has_left = False
    return error


ANSWERS: dict[str, Any] = {
    "answered": answer(),
    "refused": InvalidRequest("no", status=400),
    "limited": RateLimited("no", status=429),
    "limited and billed": RateLimited("no", status=429, usage=Usage(input_tokens=3, requests=1)),
    "limited and billed absurdly": RateLimited(
        "no", status=429, usage=Usage(input_tokens=10**19, requests=1)
    ),
    "overloaded": status(503),
    "a gateway's 408": status(408),
    "a gateway's 502": status(502),
    "a gateway's 504": status(504),
    "a gateway's 524": status(524),
    "nobody listens": unreachable(),
    "a lost connection": ConnectionFailed("no"),
    "silence": ProviderTimeout("no"),
    "our own mistake": ValueError("no"),
    "10**19 tokens": answer(input_tokens=10**19),
    "10**15 tokens": answer(input_tokens=10**15),
    "a float of tokens": answer(input_tokens=10.5),
    "less than nothing": answer(input_tokens=-5),
    "a bill of 10**30": answer(cost=Decimal(10) ** 30),
    "a bill that is no number": answer(cost=Decimal("NaN")),
    "half a surrogate": answer(content="\ud800"),
}
UNCERTAIN = {
    "a gateway's 408",
    "a gateway's 502",
    "a gateway's 504",
    "a gateway's 524",
    "a lost connection",
    "silence",
    "our own mistake",
    "limited and billed absurdly",
    "10**19 tokens",
    "10**15 tokens",
    "a float of tokens",
    "less than nothing",
    "a bill of 10**30",
    "a bill that is no number",
}
"""What nobody knows the cost of: billed at the most it can have been, and marked."""
FREE = {"refused", "limited", "overloaded", "nobody listens"}
KEPT = {"answered", "10**19 tokens", "10**15 tokens", "a bill of 10**30", "a bill that is no number"}
"""Where the job has its answer, whatever the vendor says that it has cost."""


class Vendor:
    """Answers as the prompt says; `hang` never does."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.engine = ExecutionEngine(
            FunctionProvider(self._answer, model="m"), prices=PRICES, retry=RetryConfig(attempts=1)
        )

    async def _answer(self, spec: RequestSpec) -> Any:
        self.asked.set()
        way = str(spec.messages[-1].content)
        if way == "hang":
            await asyncio.Event().wait()
        given = ANSWERS[way]
        if isinstance(given, Exception):
            raise given
        return given


async def ask(context: OperatorContext, way: str) -> str:
    return (await context.model(RequestSpec(messages=[Message.user(way)], max_tokens=50))).content


async def ask_for_everything(context: OperatorContext, way: str) -> str:
    return (await context.model(RequestSpec(messages=[Message.user(way)], max_tokens=10**19))).content


async def give_up(context: OperatorContext, way: str) -> str:
    """Lose patience with a call, and go on."""
    asking = asyncio.ensure_future(context.model(RequestSpec(messages=[Message.user(way)], max_tokens=50)))
    await asyncio.wait([asking], timeout=context.execution_ctx.metadata["patience"])
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    return "went on"


async def fail_beside(context: OperatorContext, way: str) -> Any:
    """Fail in one branch while the other one waits for an answer."""

    async def fail() -> None:
        await context.sleep(0.05)
        raise ValueError("no")

    return await context.gather(ask(context, way), fail())


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("database") if request.param == "postgres" else request.param)


@pytest.fixture
async def storage(place: str, tmp_path: Path) -> AsyncIterator[Storage]:
    async with opened(place, tmp_path) as storage:
        yield storage


def working(storage: Any, vendor: Vendor, **options: Any) -> RuntimeKernel:
    operators = [ask, ask_for_everything, give_up, fail_beside]
    k = kernel(storage, engine=vendor.engine, operators=operators, dispatch="local", **options)
    k.ledger.set_budget(TENANT)
    return k


async def begin(k: RuntimeKernel, operator: str, way: str, **values: Any) -> ExecutionHandle:
    limits = values.pop("budgets", BudgetSpec(max_cost=500))
    request = ExecutionRequest(
        operator=operator, input=way, budgets=limits, retry=RetryPolicy.none(), **values
    )
    return await k.execute(request)


async def settled(storage: Storage, handle: ExecutionHandle) -> list[LedgerEntry]:
    """Check that nothing stays reserved, and that the counters have what the ledger has; return the ledger."""
    ledger = Ledger(StorageView(storage))
    counters = await storage.counters([run_key(handle.job_id), (TENANT.budget_id, "")])
    assert [counted.reserved for counted in counters] == [(0, 0, 0, 0, 0)] * 2
    entries = list(await ledger.entries())
    for key, counted in zip([run_key(handle.job_id), (TENANT.budget_id, "")], counters, strict=True):
        assert counted.settled.cost in (0, sum(_billed(one, key) for one in entries))
    return entries


def _billed(entry: LedgerEntry, key: tuple[str, str]) -> int:
    """Return what an entry has cost a budget: of an uncertain one, what was set aside in this one."""
    for *counter, amount in entry.metadata.get("settled", ()):
        if tuple(counter) == key:
            return int(amount.get("cost", 0))
    return entry.units or 0


@pytest.mark.parametrize("way", ANSWERS)
async def test_however_the_vendor_answers_nothing_stays_reserved(storage: Storage, way: str) -> None:
    async with working(storage, Vendor()) as k:
        handle = await begin(k, "ask", way)
        ended = await asyncio.gather(handle.result(), return_exceptions=True)
        (entry,) = await settled(storage, handle)
    assert entry.uncertain == (way in UNCERTAIN)
    assert (entry.cost == 0) == (way in FREE)
    assert isinstance(ended[0], BaseException) == (way not in KEPT)


ENDS: dict[str, tuple[str, Callable[[float], dict[str, Any]]]] = {
    "the job is cancelled": ("ask", lambda _: {}),
    "the deadline passes": ("ask", lambda seconds: {"deadline_seconds": seconds}),
    "the running time is over": (
        "ask",
        lambda seconds: {"budgets": BudgetSpec(max_cost=500, max_runtime_seconds=seconds)},
    ),
    "the caller gives up": ("give_up", lambda seconds: {"metadata": {"patience": seconds}}),
    "another branch fails": ("fail_beside", lambda _: {}),
}
CANCELLED = {"the job is cancelled", "another branch fails"}


@pytest.mark.parametrize("end", ENDS)
async def test_whoever_ends_a_call_that_has_no_answer_pays_at_most_its_maximum(
    storage: Storage, end: str
) -> None:
    vendor = Vendor()
    operator, bounded = ENDS[end]
    async with working(storage, vendor) as k:
        for seconds in (0.2, 1.0, 5.0):  # on a busy machine the time is over before anybody has been asked
            handle = await begin(k, operator, "hang", **bounded(seconds))
            if end in CANCELLED:
                await vendor.asked.wait()
                await handle.cancel()
            await asyncio.gather(handle.result(timeout=BOUND), return_exceptions=True)
            if vendor.asked.is_set():
                break
        (entry,) = await settled(storage, handle)
        assert entry.uncertain


@pytest.mark.parametrize("moment", ["model.started", "model.completed"])
async def test_a_killed_process_leaves_nothing_reserved(storage: Storage, moment: str) -> None:
    dying = DyingStorage(storage, commit_of(moment))
    doomed = working(dying, Vendor(), options=DOOMED)
    handle = await begin(doomed, "ask", "answered")
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    async with working(storage, Vendor()) as k:
        await k.handle(handle.job_id).result(timeout=BOUND)
        entries = await settled(storage, handle)
    assert [entry.uncertain for entry in entries] == ([True, False] if moment == "model.started" else [False])


class Refusing:
    """A storage that refuses the first commit which settles an answer."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._refused = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, commit: Commit) -> int:
        if not self._refused and any(event.type == "model.completed" for event in commit.events):
            self._refused = True
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        return await self._inner.commit(commit)


async def test_a_settlement_that_is_refused_is_made_at_the_maximum(storage: Storage) -> None:
    async with working(Refusing(storage), Vendor()) as k:
        handle = await begin(k, "ask", "answered")
        with pytest.raises(Exception, match="too large"):
            await handle.result(timeout=BOUND)
        (entry,) = await settled(storage, handle)
    assert entry.uncertain


async def test_a_request_for_endless_output_is_bounded_before_it_is_reserved(storage: Storage) -> None:
    async with working(storage, Vendor()) as k:
        k.ledger.drop_budget(TENANT.budget_id)
        handle = await begin(k, "ask_for_everything", "answered", budgets=BudgetSpec(max_turns=5))
        assert (await handle.result(timeout=BOUND)).content == "ok"
        await settled(storage, handle)
