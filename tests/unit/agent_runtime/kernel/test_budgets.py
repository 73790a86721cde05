"""Budgets inside a kernel: every applicable one is reserved and settled with the step itself."""

import asyncio
import contextlib
from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import (
    Budget,
    BudgetExceededError,
    BudgetSpec,
    ChildFailed,
    ExecutionContext,
    ExecutionRequest,
    InMemoryLedgerWriter,
    JobFailed,
    Ledger,
    ModelPolicy,
    OperatorContext,
    PolicyDenied,
    PolicyEngine,
    RetryPolicy,
    StepFailed,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury
from llm_client import Agent, ExecutionEngine, FunctionProvider, Message, RequestSpec, tool
from llm_client.engine.breaker import CircuitBreakerConfig
from llm_client.engine.retry import RetryConfig
from llm_client.errors import ProviderTimeout, RateLimited
from llm_client.messages import CompletionResult, MediaPart, ToolCall
from llm_client.middleware import ModelAttempt, ModelMiddleware, ProceedAttempt
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.usage import Usage
from support.kernels import BOUND, DOOMED, journal, kernel, run_key, types

pytestmark = pytest.mark.timeout(BOUND * 3)

PRICES = PriceBook(
    {
        "function:big": ModelPrices.of(input=1000, output=1000),
        "function:small": ModelPrices.of(input=1, output=1),
        "function:free": ModelPrices.of(input=0, output=0),
    }
)
"""Dollars per million tokens: a token of the big model costs a tenth of a cent."""


def completion(tokens: int = 10, content: str = "ok", **values: Any) -> CompletionResult:
    return CompletionResult(
        content=content, usage=Usage(input_tokens=tokens - 1, output_tokens=1, requests=1), **values
    )


class Model:
    """Answers, and remembers what it was asked."""

    def __init__(self, *answers: Any, model: str = "big", retry: RetryConfig | None = None) -> None:
        self.specs: list[RequestSpec] = []
        self._answers = list(answers)
        self.engine = ExecutionEngine(
            FunctionProvider(self._answer, model=model),
            prices=PRICES,
            retry=retry or RetryConfig(attempts=1),
            breaker_config=CircuitBreakerConfig(failure_threshold=1),
            max_concurrency=2,
        )

    async def _answer(self, spec: RequestSpec) -> Any:
        self.specs.append(spec)
        answer = self._answers.pop(0) if self._answers else completion()
        if isinstance(answer, BaseException):
            raise answer
        return await answer() if callable(answer) else answer


def spec(text: str = "hi", **values: Any) -> RequestSpec:
    return RequestSpec(messages=[Message.user(text)], **{"max_tokens": 100, **values})


async def ask(context: OperatorContext, given: Any) -> str:
    """Ask the kernel's model once."""
    return (await context.model(spec(**(given or {})))).content


def governed(model: Model, *budgets: Budget, **options: Any) -> Any:
    k = kernel(engine=model.engine, operators={"ask": ask, **options.pop("operators", {})}, **options)
    for budget in budgets:
        k.ledger.set_budget(budget)
    return k


async def test_a_call_is_counted_in_every_budget_at_once() -> None:
    tenant = Budget(scope_id="a", max_cost_daily=100, max_tokens_monthly=10**6)
    person = Budget(scope_id="a", principal_id="ann", max_requests_total=5)
    big = Budget(model="big", max_cost_total=50)
    other = Budget(model="small", max_cost_total=50)
    async with governed(Model(), tenant, person, big, other) as k:
        request = ExecutionRequest(
            operator="ask", scope_id="a", principal_id="ann", budgets=BudgetSpec(max_cost=9)
        )
        handle = await k.execute(request)
        await handle.result()

        async def left(budget: Budget) -> list[Any]:
            return [line.left for line in (await k.ledger.status(budget)).lines]

        assert await left(tenant) == [Decimal("99.99"), 10**6 - 10]
        assert await left(person) == [4]
        assert await left(big) == [Decimal("49.99")]
        assert await left(other) == [50]
        (entry,) = await k.ledger.entries(job_id=handle.job_id)
        assert (entry.cost, entry.total_tokens, entry.principal_id) == (Decimal("0.01"), 10, "ann")


@pytest.mark.parametrize(
    "limits",
    [
        {"max_requests_daily": 0},
        {"max_cost_daily": "0.001"},
        {"max_tokens_hourly": 5},
        {"max_tokens_per_request": 5},
        {"max_cost_per_request": "0.001"},
    ],
)
async def test_a_denied_call_is_never_made_nor_retried_nor_counted_by_the_breaker(
    limits: dict[str, Any],
) -> None:
    model = Model(retry=RetryConfig(attempts=5, backoff=0))
    budget = Budget(scope_id="a", mode="estimate", **limits)
    async with governed(model, budget) as k:
        denied = await k.execute(ExecutionRequest(operator="ask", scope_id="a"))
        with pytest.raises(BudgetExceededError, match="budget 'scope a"):
            await denied.result()
        assert (await types(denied)).count("budget.denied") == 1
        assert await k.ledger.entries() == []
        assert model.specs == []
        free = await k.execute(ExecutionRequest(operator="ask", scope_id="b"))
        assert (await free.result()).content == "ok"  # the breaker is closed


async def test_a_hard_budget_reserves_the_upper_bound_and_a_runs_own_the_estimate() -> None:
    gate, asked = asyncio.Event(), asyncio.Event()

    async def slow() -> CompletionResult:
        asked.set()
        await gate.wait()
        return completion()

    hard = Budget(scope_id="a", max_tokens_daily=10**6)
    soft = Budget(scope_id="a", name="soft", max_tokens_daily=10**6, mode="estimate")
    async with governed(Model(slow), hard, soft) as k:
        handle = await k.execute(ExecutionRequest(operator="ask", scope_id="a", input={"text": "x" * 400}))
        await asked.wait()
        reserved = [(await k.ledger.status(budget)).reserved for budget in (hard, soft)]
        gate.set()
        await handle.result()
        assert reserved[0] >= 400 + 100
        assert reserved[1] < 200 + 100
        assert [(await k.ledger.status(budget)).settled for budget in (hard, soft)] == [10, 10]


async def test_the_output_is_bounded_by_what_is_affordable() -> None:
    model = Model()
    budget = Budget(scope_id="a", max_cost_total="0.15", mode="estimate")  # 150 tokens of the big model
    async with governed(model, budget) as k:
        handle = await k.execute(
            ExecutionRequest(operator="ask", scope_id="a", input={"text": "x" * 188, "max_tokens": 4000})
        )
        await handle.result()
    assert [one.max_tokens for one in model.specs] == [100]  # 50 tokens of input, at four characters each


async def test_input_without_a_bound_is_refused_where_a_limit_is_hard() -> None:
    image = Message.user([MediaPart(media_type="image/png", url="https://example.com/x.png")])

    async def look(context: OperatorContext, given: Any) -> str:
        return (await context.model(RequestSpec(messages=[image], max_tokens=50))).content

    model = Model()
    budget = Budget(scope_id="a", max_tokens_daily=10**9)
    async with governed(model, budget, operators={"look": look}) as k:
        refused = await k.execute(ExecutionRequest(operator="look", scope_id="a"))
        with pytest.raises(BudgetExceededError, match="hard limit, and an image without a declared width"):
            await refused.result()
        estimated = ExecutionRequest(operator="look", scope_id="b", budgets=BudgetSpec(max_tokens=10**6))
        assert (await (await k.execute(estimated)).result()).content == "ok"
        hard = BudgetSpec(max_tokens=10**6, mode="hard")
        with pytest.raises(BudgetExceededError, match="hard limit"):
            await (await k.execute(ExecutionRequest(operator="look", scope_id="b", budgets=hard))).result()
    assert len(model.specs) == 1


async def test_a_budget_degrades_to_a_cheaper_model_before_anything_goes_out() -> None:
    model = Model()
    budget = Budget(
        scope_id="a", max_cost_total="0.05", mode="estimate", exceed_strategy="degrade", degrade_to="small"
    )
    async with governed(model, budget) as k:
        handle = await k.execute(ExecutionRequest(operator="ask", scope_id="a", input={"text": "x" * 400}))
        assert (await handle.result()).content == "ok"
        events = {event.type: event.data for event in await journal(handle)}
        assert events["budget.degraded"]["from"] == "big"
        assert events["model.started"]["model"] == "small"
        (entry,) = await k.ledger.entries()
        assert (entry.model, entry.cost) == ("small", Decimal("0.00001"))
    assert [one.model for one in model.specs] == ["small"]


async def test_the_cheaper_model_must_fit_and_be_allowed_too() -> None:
    budget = Budget(
        scope_id="a", max_requests_total=0, mode="estimate", exceed_strategy="degrade", degrade_to="small"
    )
    async with governed(Model(), budget) as k:
        with pytest.raises(BudgetExceededError, match="limit of 0 requests"):
            await (await k.execute(ExecutionRequest(operator="ask", scope_id="a"))).result()
    budget = Budget(
        scope_id="a", max_cost_total="0.05", mode="estimate", exceed_strategy="degrade", degrade_to="small"
    )
    rules = PolicyEngine([ModelPolicy(model_patterns="small", decision="deny")])
    model = Model()
    async with governed(model, budget, policy_engine=rules) as k:
        long = ExecutionRequest(operator="ask", scope_id="a", input={"text": "x" * 400})
        with pytest.raises(PolicyDenied, match="model 'small'"):
            await (await k.execute(long)).result()
    assert model.specs == []


async def test_a_bill_above_the_upper_bound_is_recorded_as_it_is_and_ends_the_spending() -> None:
    budget = Budget(scope_id="a", max_tokens_total=5000)
    async with governed(Model(completion(tokens=9000)), budget) as k:
        handle = await k.execute(ExecutionRequest(operator="ask", scope_id="a"))
        await handle.result()
        (overrun,) = [event for event in await journal(handle) if event.type == "budget.overrun"]
        assert overrun.data["spent"]["tokens"] == 9000
        assert (await k.ledger.status(budget)).left == -4000
        with pytest.raises(BudgetExceededError):
            await (await k.execute(ExecutionRequest(operator="ask", scope_id="a"))).result()


async def test_unpriced_models_are_refused_or_flagged_by_choice() -> None:
    unpriced = FunctionProvider(lambda _: "free of charge?", model="unknown")
    async with kernel(engine=ExecutionEngine(unpriced), operators={"ask": ask}) as k:
        k.ledger.set_budget(Budget(scope_id="closed", max_cost_daily=5))
        k.ledger.set_budget(Budget(scope_id="open", max_cost_daily=5, unpriced="flag"))

        async def run(scope: str, **budgets: Any) -> str:
            spec = BudgetSpec(**budgets) if budgets else None
            request = ExecutionRequest(operator="ask", scope_id=scope, budgets=spec)
            return (await (await k.execute(request)).result()).content

        with pytest.raises(BudgetExceededError, match="no price is known"):
            await run("closed")
        assert await run("open") == "free of charge?"
        with pytest.raises(BudgetExceededError, match="no price is known"):
            await run("none", max_cost=1)
        assert await run("none", max_cost=1, unpriced="flag") == "free of charge?"
        assert (await k.ledger.total()).unpriced == 2


async def test_waiting_for_a_reservation_holds_no_slot_and_ends_when_it_is_given_back() -> None:
    """Two calls hold all the money, two more wait; with two slots a fifth of another tenant must still get through."""
    gate, running = asyncio.Event(), asyncio.Semaphore(0)

    async def slow() -> CompletionResult:
        running.release()
        await gate.wait()
        return completion()

    model = Model(slow, completion(), completion())
    budget = Budget(scope_id="a", max_requests_total=100, max_tokens_total=700)
    async with governed(model, budget) as k:
        first = await k.execute(ExecutionRequest(operator="ask", scope_id="a", input={"max_tokens": 500}))
        await running.acquire()
        waiting = [
            await k.execute(ExecutionRequest(operator="ask", scope_id="a", input={"max_tokens": 500}))
            for _ in range(2)
        ]
        other = await k.execute(ExecutionRequest(operator="ask", scope_id="b"))
        assert (await other.result(timeout=BOUND)).content == "ok"
        assert {await handle.status() for handle in waiting} == {"running"}
        gate.set()
        for handle in (first, *waiting):
            await handle.result(timeout=BOUND)
        assert (await k.ledger.status(budget)).reserved == 0


async def test_a_wait_for_reservations_is_bounded() -> None:
    running, gate = asyncio.Event(), asyncio.Event()

    async def slow() -> CompletionResult:
        running.set()
        await gate.wait()
        return completion()

    budget = Budget(scope_id="a", max_requests_total=1)
    async with governed(Model(slow), budget) as k:
        first = await k.execute(ExecutionRequest(operator="ask", scope_id="a"))
        await running.wait()
        second = await k.execute(ExecutionRequest(operator="ask", scope_id="a"))
        with pytest.raises(BudgetExceededError, match="limit of 1 requests"):
            await second.result(timeout=BOUND)
        gate.set()
        await first.result()


async def test_a_childs_spending_counts_against_all_its_ancestors_and_the_tenant() -> None:
    async def parent(context: OperatorContext, given: Any) -> str:
        return (await context.child("middle")).content

    async def middle(context: OperatorContext, given: Any) -> str:
        await context.child("ask", budgets=BudgetSpec(max_tokens=5000))
        with contextlib.suppress(ChildFailed):
            await context.child("ask")
        return "done"

    tenant = Budget(scope_id="a", max_requests_total=5)
    async with governed(Model(completion(150)), tenant, operators={"parent": parent, "middle": middle}) as k:
        handle = await k.execute(
            ExecutionRequest(operator="parent", scope_id="a", budgets=BudgetSpec(max_tokens=160))
        )
        await handle.result(timeout=BOUND)
        counters = await k.storage.counters([run_key(handle.job_id, "a")])
        assert counters[0].settled.tokens == 150  # the second child was refused by its grandparent's budget
        assert (await k.ledger.status(tenant)).settled == 1


async def test_every_failed_attempt_is_billed_as_far_as_is_known() -> None:
    """An answered refusal costs nothing, a lost answer all that was set aside, what the vendor says counts."""
    said = RateLimited("busy", status=429, usage=Usage(input_tokens=3, requests=1))
    model = Model(
        RateLimited("busy", status=429),
        ProviderTimeout("gone"),
        said,
        completion(),
        retry=RetryConfig(attempts=4, backoff=0, jitter=0),
    )
    model.engine = ExecutionEngine(
        FunctionProvider(model._answer, model="big"),
        prices=PRICES,
        retry=RetryConfig(attempts=4, backoff=0, jitter=0),
    )
    budget = Budget(scope_id="a", max_cost_total=10)
    async with governed(model, budget) as k:
        handle = await k.execute(ExecutionRequest(operator="ask", scope_id="a"))
        await handle.result()
        entries = await k.ledger.entries(job_id=handle.job_id)
        assert [(e.status, e.uncertain, e.total_tokens) for e in entries][::2] == [
            ("failed", False, 0),
            ("failed", False, 3),
        ]
        lost, ok = entries[1], entries[3]
        assert (lost.status, lost.uncertain) == ("failed", True)
        assert (ok.status, ok.total_tokens) == ("completed", 10)
        settled = (await k.ledger.status(budget)).settled
        assert settled == sum(e.cost or 0 for e in entries)
        await k.ledger.reconcile(
            lost.entry_id, Usage(input_tokens=7, requests=1).with_cost(Decimal("0.007"), "invoice")
        )
        total = await k.ledger.total(job_id=handle.job_id)
        assert (total.uncertain, total.cost) == (0, Decimal("0.007") + Decimal("0.003") + Decimal("0.01"))
        assert (await k.ledger.status(budget)).settled == total.cost


async def test_a_call_lost_in_a_crash_is_settled_at_its_maximum_in_every_budget() -> None:
    storage = MemoryStorage()
    dying = DyingStorage(storage, lambda commit: False)

    async def die() -> CompletionResult:
        dying.die()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    budget = Budget(scope_id="a", max_tokens_daily=10_000)
    doomed = kernel(dying, engine=Model(die).engine, operators={"ask": ask}, options=DOOMED)
    doomed.ledger.set_budget(budget)
    handle = await doomed.execute(
        ExecutionRequest(operator="ask", scope_id="a", budgets=BudgetSpec(max_tokens=5_000))
    )
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    another = kernel(storage, engine=Model().engine, operators={"ask": ask})
    another.ledger.set_budget(budget)  # before it starts, since it goes on with the job at once
    async with another as k:
        await k.handle(handle.job_id).result(timeout=BOUND)
        lost, ok = await k.ledger.entries()
        assert (lost.uncertain, ok.uncertain, ok.total_tokens) == (True, False, 10)
        status = await k.ledger.status(budget)
        assert (status.reserved, status.settled) == (0, lost.total_tokens + 10)
        (run,) = await k.storage.counters([run_key(handle.job_id, "a")])
        assert run.reserved.tokens == 0
        assert (
            10 < run.settled.tokens < status.settled
        )  # its own budget reserved an estimate, the tenant's a bound
        await k.ledger.reconcile(lost.entry_id, Usage(requests=1).with_cost(Decimal(0), "invoice"))
        (run,) = await k.storage.counters([run_key(handle.job_id, "a")])
        assert ((await k.ledger.status(budget)).settled, run.settled.tokens) == (10, 10)


async def test_tool_calls_are_bounded_per_answer_and_per_window() -> None:
    ran: list[int] = []

    @tool(effect="read")
    async def look(n: int) -> str:
        """Look."""
        ran.append(n)
        return "seen"

    async def shop(context: OperatorContext, given: Any) -> int:
        done = 0
        for n in range(10):
            try:
                await context.tool("look", n=n)
            except (BudgetExceededError, StepFailed):
                break
            done += 1
        return done

    budget = Budget(scope_id="a", max_tool_calls_daily=3)
    async with governed(Model(), budget, operators={"shop": shop}, tools=[look]) as k:
        handle = await k.execute(ExecutionRequest(operator="shop", scope_id="a"))
        assert (await handle.result()).output == 3
        assert "budget.denied" in await types(handle)
        assert (await k.ledger.status(budget)).left == 0
    ran.clear()

    calls = completion(tool_calls=tuple(ToolCall(str(n), "look", {"n": n}) for n in range(4)))
    model = Model(calls)
    async with kernel(agent=Agent(engine=model.engine, tools=[look])) as k:
        k.ledger.set_budget(Budget(scope_id="a", max_tool_calls_per_request=2))
        await (await k.execute(ExecutionRequest(prompt="go", scope_id="a"))).result()
    assert sorted(ran) == [0, 1]
    assert "one answer may not call more tools" in model.specs[1].messages[-1].text


async def test_a_ledger_that_was_made_in_code_brings_its_budgets_along() -> None:
    ledger = Ledger(InMemoryLedgerWriter())
    ledger.set_budget(Budget(scope_id="a", max_requests_total=0))
    async with kernel(engine=Model().engine, operators={"ask": ask}, ledger=ledger) as k:
        assert k.ledger is ledger
        with pytest.raises(BudgetExceededError):
            await (await k.execute(ExecutionRequest(operator="ask", scope_id="a"))).result()


async def test_a_stored_budget_holds_for_a_running_kernel() -> None:
    storage = MemoryStorage()
    async with kernel(storage, engine=Model().engine, operators={"ask": ask}) as k:
        await (await k.execute(ExecutionRequest(operator="ask", scope_id="a"))).result()
        await k.ledger.save_budget(Budget(scope_id="a", max_requests_total=0))
        with pytest.raises(BudgetExceededError):
            await (await k.execute(ExecutionRequest(operator="ask", scope_id="a"))).result()


async def test_a_turns_limit_counts_answers_of_all_runs_together() -> None:
    model = Model(RateLimited("busy", status=429), completion(), completion())
    budget = Budget(scope_id="a", max_turns_daily=2)
    async with governed(model, budget) as k:
        request = ExecutionRequest(operator="ask", scope_id="a", retry=RetryPolicy.none())
        ended = [await _outcome(k, request) for _ in range(4)]
        assert ended == ["RATE_LIMITED", "ok", "ok", "BUDGET_EXCEEDED"]
        assert (await k.ledger.status(budget)).left == 0
    assert len(model.specs) == 3


async def _outcome(k: Any, request: ExecutionRequest) -> str:
    try:
        return str((await (await k.execute(request)).result()).content)
    except JobFailed as error:
        return str(error.error_code)
    except BudgetExceededError as error:
        return error.code


async def test_a_budget_that_begins_later_has_counted_what_one_from_the_start_has() -> None:
    answers = [
        completion(7),
        RateLimited("busy", status=429),
        RateLimited(
            "billed", status=429, usage=Usage(input_tokens=4, requests=1).with_cost(Decimal("0.01"), "v")
        ),
        completion(30),
        ProviderTimeout("lost"),
    ]
    limits: Any = {
        "max_tokens_daily": 10**6,
        "max_cost_monthly": 100,
        "max_requests_total": 99,
        "max_turns_hourly": 99,
    }
    early, late = (Budget(scope_id="a", name=name, **limits) for name in ("early", "late"))
    async with governed(Model(*answers), early) as k:
        for _ in answers:
            await _outcome(k, ExecutionRequest(operator="ask", scope_id="a", retry=RetryPolicy.none()))
        await k.ledger.save_budget(late)

        counted = [
            [(line.quantity, line.settled, line.reserved) for line in (await k.ledger.status(budget)).lines]
            for budget in (early, late)
        ]
        assert counted[0] == counted[1]
        assert dict(line[:2] for line in counted[0])["turns"] == 2


async def test_a_kernel_settles_reservations_that_were_forgotten() -> None:
    async with kernel(engine=Model().engine, operators={"ask": ask}) as k:
        await k.ledger.reserve(ExecutionContext(scope_id="a"), tokens=5, cost="0.5", expires_in=0.01)
        async with asyncio.timeout(BOUND):
            while not (entries := await k.ledger.entries()):
                await asyncio.sleep(0.01)
        assert entries[0].uncertain


class Held(ModelMiddleware):
    """Holds attempts up before they leave."""

    def __init__(self) -> None:
        self.begun, self.gate = asyncio.Event(), asyncio.Event()

    async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
        self.begun.set()
        await self.gate.wait()
        return await proceed(attempt)


@pytest.mark.parametrize("has_left", [False, True])
async def test_a_call_that_others_have_joined_is_settled_once_when_who_began_it_gives_it_up(
    has_left: bool,
) -> None:
    held = Held()

    async def answer(spec: RequestSpec) -> CompletionResult:
        if has_left:
            held.begun.set()
            await held.gate.wait()
        return completion(100)

    engine = ExecutionEngine(
        FunctionProvider(answer, model="big"), prices=PRICES, middleware=[] if has_left else [held]
    )

    async def both(context: OperatorContext, given: Any) -> list[str]:
        async def impatient() -> str:
            with contextlib.suppress(TimeoutError):
                async with context.timeout(1):
                    return (await engine.complete(spec(), idempotency_key="k")).content
            held.gate.set()
            return "gone"

        async def patient() -> str:
            await held.begun.wait()
            return (await engine.complete(spec(), idempotency_key="k")).content

        return await context.gather(impatient(), patient())

    budget = Budget(scope_id="a", max_tokens_total=1000)
    async with kernel(operators={"both": both}) as k:
        k.ledger.set_budget(budget)
        handle = await k.execute(ExecutionRequest(operator="both", scope_id="a"))
        assert (await handle.result(timeout=BOUND)).output == ["gone", "ok"]
        (line,) = (await k.ledger.status(budget)).lines
        (entry,) = await k.ledger.entries()
        assert (line.reserved, line.settled) == (0, entry.total_tokens)
        assert entry.uncertain
        assert entry.total_tokens >= 100
