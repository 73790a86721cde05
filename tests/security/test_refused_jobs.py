"""A job that was not let in is not let in by a retry either."""

from typing import Any

import pytest

from agent_runtime import (
    BudgetSpec,
    ConstraintPolicy,
    ExecutionRequest,
    JobFailed,
    OperatorContext,
    PolicyDenied,
    PolicyEngine,
    PolicyRule,
    RunVersions,
)
from agent_runtime.cli.output.shown import show
from llm_client import CompletionResult, ExecutionEngine, FunctionProvider, Message, RequestSpec
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from llm_client.usage import Usage
from support.kernels import BOUND, kernel, pending, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 3)

RAN: list[Any] = []


async def careful(context: OperatorContext, given: Any) -> str:
    """Remember that it ran."""
    RAN.append(given)
    return "done"


def only_for(operator: str, **values: Any) -> PolicyRule:
    return PolicyRule(**{"name": "jobs", "action": "job", "names": [operator], **values})


async def test_a_job_that_was_refused_is_refused_again_when_it_is_retried() -> None:
    RAN.clear()

    async def parent(context: OperatorContext, given: Any) -> str:
        return (await context.child("careful", given)).content

    engine = PolicyEngine([only_for("careful", decision="deny", reason="closed")])
    async with kernel(operators={"careful": careful, "parent": parent}, policy_engine=engine) as k:
        again = ExecutionRequest(operator="careful", idempotency_key="k", retry_failed=True)
        for asked in (again, ExecutionRequest(operator="parent")):
            refused = await k.execute(asked)
            with pytest.raises((PolicyDenied, JobFailed), match="closed"):
                await refused.result(timeout=BOUND)
            retried = await k.retry(refused.job_id)
            assert retried.job_id != refused.job_id
            with pytest.raises((PolicyDenied, JobFailed), match="closed"):
                await retried.result(timeout=BOUND)
        with pytest.raises(PolicyDenied, match="closed"):
            await (await k.execute(again)).result(timeout=BOUND)
    assert RAN == []


@pytest.mark.parametrize("ended", ["cancelled", "refused"])
async def test_a_job_that_nobody_has_approved_is_asked_about_again_when_it_is_retried(ended: str) -> None:
    RAN.clear()
    engine = PolicyEngine([only_for("careful", decision="require_approval")])
    async with kernel(operators={"careful": careful}, policy_engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="careful", input=1))
        question = await pending(handle)
        if ended == "cancelled":
            await handle.cancel()
            await status_becomes(handle, "cancelled")
            retried = await k.retry(handle.job_id)
        else:
            await handle.resolve_action(question.action_id, {"approved": False})
            await status_becomes(handle, "failed")
            retried = await k.retry(handle.job_id, from_step="[admission]?")
        asked = await pending(retried)
        assert asked.action_id != question.action_id
        assert asked.payload == question.payload
        assert (await retried.job()).status == "waiting_action"
        assert RAN == []
        await retried.resolve_action(asked.action_id, {"approved": True})
        assert (await retried.result(timeout=BOUND)).content == "done"
    assert RAN == [1]


def dollar_each(asked: list[Any]) -> ExecutionEngine:
    """Return an engine whose model takes a dollar for each answer."""

    async def answer(spec: RequestSpec) -> CompletionResult:
        asked.append(spec)
        return CompletionResult(content="ok", usage=Usage(input_tokens=50, output_tokens=50, requests=1))

    prices = PriceBook({"function:m": ModelPrices.of(input=10_000, output=10_000)})
    return ExecutionEngine(FunctionProvider(answer, model="m"), prices=prices)


async def test_what_was_spent_counts_for_a_job_that_goes_on_as_another_one() -> None:
    asked: list[Any] = []

    async def spender(context: OperatorContext, given: Any) -> None:
        await context.model(RequestSpec(messages=[Message.user(str(given))], max_tokens=100))
        context.continue_as_new((given or 0) + 1)

    policy = PolicyEngine([ConstraintPolicy(max_spend=2)])
    async with kernel(engine=dollar_each(asked), operators={"spender": spender}, policy_engine=policy) as k:
        with pytest.raises(PolicyDenied, match="max_spend is 2"):
            await (await k.execute(ExecutionRequest(operator="spender"))).result(timeout=BOUND)
        assert (await k.ledger.total()).cost == 2
    assert len(asked) == 2


async def test_what_was_spent_counts_for_a_job_that_is_retried() -> None:
    asked: list[Any] = []

    async def spender(context: OperatorContext, given: Any) -> str:
        for number in range(5):
            await context.model(RequestSpec(messages=[Message.user(str(number))], max_tokens=100))
        return "done"

    policy = PolicyEngine([ConstraintPolicy(max_spend=2)])
    async with kernel(engine=dollar_each(asked), operators={"spender": spender}, policy_engine=policy) as k:
        again = ExecutionRequest(operator="spender", idempotency_key="k", retry_failed=True)
        for _ in range(3):
            with pytest.raises(PolicyDenied, match="max_spend is 2"):
                await (await k.execute(again)).result(timeout=BOUND)
        assert (await k.ledger.total()).cost == 2
    assert len(asked) == 2


async def test_who_approves_a_job_sees_what_its_operator_reads_beside_its_input() -> None:
    engine = PolicyEngine([only_for("careful", decision="require_approval")])
    given = {
        "session": "s-1",
        "run": "the second",
        "identity": "till",
        "versions": {"operator_version": "2"},
        "budgets": {"max_cost": "1000"},
        "tags": {"team": "red"},
        "metadata": {"amount": 5_000_000},
    }
    async with kernel(operators={"careful": careful}, policy_engine=engine) as k:
        job = await k.execute(
            ExecutionRequest(
                operator="careful",
                session_id="s-1",
                run_id="the second",
                identity="till",
                versions=RunVersions(operator_version="2"),
                budgets=BudgetSpec(max_cost=1000),
                tags={"team": "red"},
                metadata={"amount": 5_000_000},
            )
        )
        question = await pending(job)
        await job.cancel()
    assert {name: question.payload.get(name) for name in given} == given
    shown = show(question).lines
    assert shown[shown.index("  metadata:") + 1] == "    amount (7 characters): 5000000"
