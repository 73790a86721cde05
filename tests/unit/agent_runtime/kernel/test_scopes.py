"""Jobs of two tenants share an engine and nothing that either of them has said or spent."""

from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    BudgetSpec,
    ExecutionRequest,
    OperatorContext,
    UnknownAction,
    UnknownJob,
)
from agent_runtime.storage.memory import MemoryStorage
from llm_client import Agent, ExecutionEngine, Message, RequestSpec, ScriptedProvider
from llm_client.engine.cache.memory import MemoryCache
from llm_client.spec import RequestContext
from support.kernels import BOUND, kernel, pending

pytestmark = pytest.mark.timeout(BOUND * 3)


async def test_a_cached_answer_is_given_to_jobs_of_its_scope_alone() -> None:
    engine = ExecutionEngine(ScriptedProvider(["one", "two", "three"]), cache=MemoryCache())
    agent = Agent(engine)

    async def operator(context: OperatorContext, given: Any) -> str:
        if given is None:  # an agent made elsewhere, called as usual: nobody tells it whose job this is
            return (await agent.run("hi")).content
        spec = RequestSpec(messages=[Message.user("hi")])
        return (await engine.complete(spec, context=RequestContext(tenant_id=given["tenant"]))).content

    async with kernel(MemoryStorage(), operators=[operator]) as k:

        async def answer(scope: str, given: Any = None) -> str:
            request = ExecutionRequest(operator="operator", scope_id=scope, input=given)
            return str((await (await k.execute(request)).result()).output)

        assert [await answer(scope) for scope in "abab"] == ["one", "two", "one", "two"]
        assert (
            await answer("b", {"tenant": "a"}) == "three"
        )  # a tenant of b's own, who is called like another one


async def test_a_handle_for_another_scope_sees_no_events() -> None:
    async def operator(context: OperatorContext, given: Any) -> None:
        return None

    async with kernel(MemoryStorage(), operators=[operator]) as k:
        request = ExecutionRequest(operator="operator", scope_id="a", budgets=BudgetSpec(max_turns=1))
        handle = await k.execute(request)
        await handle.result()
        assert await k.storage.events(handle.job_id, scope_id="b") == []
        assert await k.storage.tail(handle.job_id, 1, scope_id="b") == []
        assert len(await k.storage.tail(handle.job_id, 1, scope_id="a")) == 1


async def test_nobody_waits_for_what_is_another_scopes() -> None:
    async def operator(context: OperatorContext, given: Any) -> None:
        await context.action(ActionSpec(type="confirm"))

    async with kernel(MemoryStorage(), operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator", scope_id="a"))
        question = await pending(handle)
        with pytest.raises(UnknownJob):
            await k.wait_for_end(handle.job_id, scope_id="b")
        with pytest.raises(UnknownJob):
            await k.check_blocked(handle.job_id, scope_id="b")
        with pytest.raises(UnknownAction):
            await k.actions.wait_for_resolution(question.action_id, scope_id="b")
        await handle.resolve_action(question.action_id, {"confirmed": True})
        assert (await k.actions.wait_for_resolution(question.action_id, scope_id="a")).resolved_at
        assert (await k.wait_for_end(handle.job_id, scope_id="a")).type == "job.succeeded"
