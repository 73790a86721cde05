"""What is the same request under one idempotency key: for kernels and for managers alike."""

from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import (
    BudgetSpec,
    ExecutionRequest,
    IdempotencyConflict,
    JobSpec,
    OperatorContext,
    PolicyRef,
    RunVersions,
)
from agent_runtime.policy.engine import PolicyEngine
from support.kernels import kernel

REQUEST = ExecutionRequest(
    operator="echo",
    input={"a": 1, "b": [2, 3]},
    idempotency_key="k",
    principal_id="ann",
    budgets=BudgetSpec(max_cost="1.50", max_runtime_seconds=10),
    deadline_seconds=300,
    metadata={"x": 1, "y": 2},
)
SHARED: dict[str, dict[str, Any]] = {
    "principal": {"principal_id": "bob"},
    "session": {"session_id": "s-2"},
    "policy": {"policy_ref": PolicyRef(name="strict")},
    "budgets": {"budgets": BudgetSpec(max_cost="1.51", max_runtime_seconds=10)},
    "no budgets": {"budgets": None},
    "deadline": {"deadline_seconds": 301},
    "metadata": {"metadata": {"x": 1}},
    "tags": {"tags": {"t": "1"}},
}
"""Differences that both kinds of request can have."""
OTHERS = SHARED | {"operator": {"operator": "other"}, "input": {"input": {"a": 1, "b": [3, 2]}}}
SAME: dict[str, dict[str, Any]] = {
    "nothing": {},
    "order of keys": {"input": {"b": [2, 3], "a": 1}, "metadata": {"y": 2, "x": 1}},
    "how numbers are written": {
        "budgets": BudgetSpec(max_cost="1.5", max_runtime_seconds=10.0),
        "deadline_seconds": 300.0,
    },
    "where and when": {"queue": "default", "priority": 7, "run_id": "r-2"},
    "versions": {"versions": RunVersions(operator_version="2")},
}


async def echo(context: OperatorContext, given: Any) -> Any:
    return given


async def other(context: OperatorContext, given: Any) -> Any:
    return given


@pytest.mark.parametrize("difference", OTHERS)
async def test_what_decides_what_is_done_makes_another_request_for_a_kernel(difference: str) -> None:
    policies = [PolicyEngine(name="lax"), PolicyEngine(name="strict")]
    async with kernel(operators=[echo, other], policy_engine=policies) as k:
        await k.execute(REQUEST)
        with pytest.raises(IdempotencyConflict):
            await k.execute(replace(REQUEST, **OTHERS[difference]))


@pytest.mark.parametrize("likeness", SAME)
async def test_what_does_not_is_the_same_request_for_a_kernel(likeness: str) -> None:
    async with kernel(operators=[echo]) as k:
        first = await k.execute(REQUEST)
        assert (await k.execute(replace(REQUEST, **SAME[likeness]))).job_id == first.job_id


async def test_a_request_that_names_the_kernels_own_operator_is_the_same_as_one_that_names_none() -> None:
    async with kernel(operators={"agent": echo}) as k:
        first = await k.execute(replace(REQUEST, operator=None))
        assert (await k.execute(replace(REQUEST, operator="agent"))).job_id == first.job_id


SPEC = JobSpec(
    idempotency_key="k",
    principal_id="ann",
    budgets=BudgetSpec(max_cost="1.50", max_runtime_seconds=10),
    deadline_seconds=300,
    metadata={"x": 1, "y": 2},
)


@pytest.mark.parametrize("difference", [*SHARED, "parent"])
async def test_what_decides_what_is_done_makes_another_request_for_a_manager(difference: str) -> None:
    changes = SHARED.get(difference, {"parent_job_id": "job-1"})
    async with kernel(operators=[echo]) as k:
        await k.jobs.create(SPEC)
        with pytest.raises(IdempotencyConflict):
            await k.jobs.create(replace(SPEC, **changes))


@pytest.mark.parametrize("likeness", SAME)
async def test_what_does_not_is_the_same_request_for_a_manager(likeness: str) -> None:
    changes = {name: value for name, value in SAME[likeness].items() if name in JobSpec.__slots__}
    async with kernel(operators=[echo]) as k:
        first = await k.jobs.create(SPEC)
        assert (await k.jobs.create(replace(SPEC, **changes))).job_id == first.job_id
