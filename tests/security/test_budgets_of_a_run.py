"""What a run may spend bounds all that goes on for it: its children, its successors, its retries, and what its code spends by hand."""

from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import (
    BudgetExceededError,
    BudgetSpec,
    ExecutionRequest,
    JobFailed,
    OperatorContext,
    OrchestrationConfig,
    RuntimeKernel,
)
from llm_client import ExecutionEngine, FunctionProvider, Message, RequestSpec
from llm_client.usage import Usage
from support.kernels import BOUND, kernel

pytestmark = pytest.mark.timeout(BOUND * 3)


class Model:
    """Answers, but for one of its calls."""

    def __init__(self, fails_at: int) -> None:
        self.asked = 0
        self._fails_at = fails_at
        self.engine = ExecutionEngine(FunctionProvider(self._answer, model="m"))

    async def _answer(self, spec: RequestSpec) -> str:
        self.asked += 1
        if self.asked == self._fails_at:
            raise ValueError("it is broken")
        return "ok"


async def ten_turns(context: OperatorContext, given: Any) -> str:
    """Ask a model ten times."""
    for number in range(10):
        await context.model(RequestSpec(messages=[Message.user(str(number))], max_tokens=100))
    return "done"


OWN: list[BudgetSpec] = []
"""What children get of their own, if anything."""


async def with_a_child(context: OperatorContext, given: Any) -> str:
    """Have a child ask."""
    own = OWN[0] if OWN else None
    return (await context.child("ten_turns", None, budgets=own)).content


async def retried(k: RuntimeKernel, first: BudgetSpec, again: BudgetSpec) -> str:
    handle = await k.execute(ExecutionRequest(operator="with_a_child", budgets=first))
    with pytest.raises(JobFailed, match="it is broken"):
        await handle.result(timeout=BOUND)
    del OWN[:1]
    return (await (await k.retry(handle.job_id, budgets=again)).result(timeout=BOUND)).content


async def test_a_child_that_is_retried_spends_no_more_than_its_parent_may_now() -> None:
    model = Model(fails_at=2)
    async with kernel(engine=model.engine, operators=[ten_turns, with_a_child]) as k:
        with pytest.raises(JobFailed, match="its limit of 3 turns is reached"):
            await retried(k, BudgetSpec(max_turns=50), BudgetSpec(max_turns=3))
    assert model.asked == 4  # the one that failed is none


async def test_nor_less_where_its_parent_has_got_more() -> None:
    model = Model(fails_at=2)
    async with kernel(engine=model.engine, operators=[ten_turns, with_a_child]) as k:
        assert await retried(k, BudgetSpec(max_turns=3), BudgetSpec(max_turns=50)) == "done"


async def test_nor_more_than_its_parent_gives_it_now() -> None:
    model = Model(fails_at=2)
    OWN[:] = [BudgetSpec(max_turns=50), BudgetSpec(max_turns=3)]
    async with kernel(engine=model.engine, operators=[ten_turns, with_a_child]) as k:
        with pytest.raises(JobFailed, match="its limit of 3 turns is reached"):
            await retried(k, BudgetSpec(max_turns=50), BudgetSpec(max_turns=50))
    OWN.clear()
    assert model.asked == 4


async def test_a_child_that_inherits_nothing_inherits_nothing_when_it_is_retried() -> None:
    model = Model(fails_at=2)
    alone = OrchestrationConfig(inherit_budgets=False)
    async with kernel(engine=model.engine, operators=[ten_turns, with_a_child], orchestration=alone) as k:
        assert await retried(k, BudgetSpec(max_turns=3), BudgetSpec(max_turns=3)) == "done"


async def spend(k: RuntimeKernel, context: OperatorContext) -> None:
    """Spend most of a dollar by hand."""
    reservation = await k.ledger.reserve(context.execution_ctx, cost="0.8")
    await k.ledger.settle(reservation, Usage(cost=Decimal("0.8"), requests=1))


@pytest.mark.parametrize("how", ["as another job", "in children", "in retries"])
async def test_money_that_a_job_spends_by_hand_is_its_runs(how: str) -> None:
    async def again(context: OperatorContext, given: Any) -> str:
        await spend(k, context)
        if given is None:
            context.continue_as_new("for the last time")
        return "done"

    async def child(context: OperatorContext, given: Any) -> None:
        await spend(k, context)

    async def with_children(context: OperatorContext, given: Any) -> str:
        await context.child("child", 1)
        await context.child("child", 2)
        return "done"

    async def failing(context: OperatorContext, given: Any) -> None:
        await spend(k, context)
        raise ValueError("it is broken")

    operator = {"as another job": again, "in children": with_children, "in retries": failing}[how]
    async with kernel(operators={"operator": operator, "child": child}) as k:
        handle = await k.execute(
            ExecutionRequest(operator="operator", budgets=BudgetSpec(max_cost=1, mode="hard"))
        )
        if how == "in retries":
            with pytest.raises(JobFailed, match="it is broken"):
                await handle.result(timeout=BOUND)
            handle = await k.retry(handle.job_id)
        with pytest.raises((BudgetExceededError, JobFailed), match="no room"):
            await handle.result(timeout=BOUND)
        assert (await k.ledger.total()).cost == Decimal("0.8")
