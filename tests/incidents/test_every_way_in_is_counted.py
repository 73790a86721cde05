"""litellm #38176: calls by some of its routes were not counted, and passed by the budgets.

Here each way in which a call of a model can be asked for over HTTP is billed, and refused once the budget is used up, whether it is asked for as a job
or as a tool of the MCP server.
"""

from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from agent_runtime import Budget, OperatorContext, RuntimeKernel
from llm_client import Agent, ExecutionEngine, Message, RequestSpec, ScriptedProvider
from support.mcp_clients import mcp_client, text_of
from support.service import BOUND, served, service_of

pytestmark = pytest.mark.timeout(BOUND * 3)
WAYS: Mapping[str, Mapping[str, Any]] = {
    "a prompt": {"prompt": "hello"},
    "a conversation": {"messages": [{"role": "user", "content": "hello"}]},
    "an operator that asks a model": {"operator": "asks"},
    "an operator whose child does": {"operator": "has_asked"},
    "a job of its own limits": {"prompt": "hello", "budgets": {"max_turns": 3}},
    "another queue, person and session": {
        "prompt": "hello", "queue": "default", "principal_id": "ann", "session_id": "s",
    },
}  # fmt: skip


async def asks(context: OperatorContext, given: object) -> str:
    return (await context.model(RequestSpec(messages=[Message.user("hello")]))).content


async def has_asked(context: OperatorContext, given: object) -> Any:
    return await (await context.start_child("asks", None)).result()


async def result(client: httpx2.AsyncClient, job: Mapping[str, Any]) -> Any:
    made = await client.post("/v1/jobs", json=job)
    assert made.status_code == 202, made.text
    answer = await client.get(f"/v1/jobs/{made.json()['job_id']}/result", params={"wait": BOUND})
    assert answer.status_code == 200
    return answer.json()


TOOLS: Mapping[str, Mapping[str, Any]] = {
    "agent": {"prompt": "hello"},
    "asks": {},
    "has_asked": {},
}


async def test_every_tool_is_billed_and_refused_when_the_budget_is_used_up() -> None:
    agent = Agent(provider=ScriptedProvider(["hi"] * len(TOOLS)))
    kernel = RuntimeKernel(agent=agent, operators={"asks": asks, "has_asked": has_asked})
    async with served(kernel) as service, mcp_client(service) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == set(TOOLS)
        for number, (tool, arguments) in enumerate(TOOLS.items(), 1):
            assert not (await client.call_tool(tool, dict(arguments))).is_error, tool
            assert (await kernel.ledger.total(scope_id="acme")).entries == number, tool
        budget = Budget(scope_id="acme", max_requests_total=len(TOOLS))
        await kernel.ledger.save_budget(budget)
        for tool, arguments in TOOLS.items():
            refused = await client.call_tool(tool, dict(arguments))
            assert refused.is_error, tool
            assert "budget" in text_of(refused), tool
        assert (await kernel.ledger.total(scope_id="acme")).entries == len(TOOLS)


async def test_every_way_in_is_billed_and_refused_when_the_budget_is_used_up() -> None:
    engine = ExecutionEngine(ScriptedProvider(["hi"] * len(WAYS)))
    kernel = RuntimeKernel(engine=engine, operators={"asks": asks, "has_asked": has_asked})
    async with service_of(kernel) as service, service.client(await service.key()) as client:
        for number, (way, job) in enumerate(WAYS.items(), 1):
            assert (await result(client, job))["status"] == "succeeded", way
            costs = (await client.get("/v1/ledger/costs")).json()
            assert costs["total"]["entries"] == number, way
        budget = Budget(scope_id="acme", max_requests_total=len(WAYS))
        await kernel.ledger.save_budget(budget)
        for way, job in WAYS.items():
            told = await result(client, job)
            assert told["status"] == "failed", way
            assert (
                "BUDGET_EXCEEDED" in (told["error_code"], *str(told["error"]).split())
                or "budget" in told["error"]
            ), way
        assert (await client.get("/v1/ledger/costs")).json()["total"]["entries"] == len(WAYS)
