"""A job that was not let in is not let in by a retry either."""

from typing import Any

import pytest

from agent_runtime import (
    ExecutionRequest,
    JobFailed,
    OperatorContext,
    PolicyDenied,
    PolicyEngine,
    PolicyRule,
)
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
