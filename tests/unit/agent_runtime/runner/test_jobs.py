"""Specs as durable jobs: what was asked is journaled, and a resume neither asks nor records it again."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agent_runtime import (
    ExecutionRequest,
    JobFailed,
    JobStatus,
    KernelOptions,
    OperatorContext,
    PolicyEngine,
    RedactionPolicy,
    RuntimeKernel,
)
from agent_runtime.errors import ConfigurationError
from agent_runtime.observability import create_llm_logger
from agent_runtime.runner import AgentMode, AgentSpec, AsyncAgentRunner
from llm_client import Delay, ExecutionEngine, ScriptedProvider
from support.call_logs import written_calls
from support.prompt_packs import prompt_pack


class Plan(BaseModel):
    steps: list[str]


SPEC = AgentSpec(name="planner", response_model=Plan)
GOOD, BAD = '{"steps": ["pack"]}', '{"steps": "pack"}'
REQUEST = ExecutionRequest(operator="planner", input={"variables": {"goal": "a trip"}}, scope_id="acme")


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    return prompt_pack(tmp_path / "prompts")


def runner(packs: Path, *replies: Any) -> tuple[AsyncAgentRunner, ScriptedProvider]:
    provider = ScriptedProvider(list(replies))
    logger = create_llm_logger(output_dir=packs.parent, run_id="run")
    return AsyncAgentRunner(ExecutionEngine(provider), packs, logger), provider


async def calls(agents: AsyncAgentRunner, packs: Path) -> list[dict[str, Any]]:
    assert agents.llm_logger is not None
    await agents.llm_logger.flush_async()
    return await asyncio.to_thread(written_calls, packs.parent / "run" / "llm_calls")


async def test_a_spec_is_a_job(packs: Path) -> None:
    agents, provider = runner(packs, BAD, GOOD)
    async with RuntimeKernel(operators=[agents.as_operator(SPEC)]) as kernel:
        handle = await kernel.execute(REQUEST)
        result = await handle.result()
        total = await kernel.ledger.total(scope_id="acme")

    assert result.output == {"steps": ["pack"]}
    assert result.content == GOOD
    assert total.entries == 2
    assert [message.text for message in provider.requests[0].messages] == ["You plan.", "Plan a trip."]
    written = await calls(agents, packs)
    assert [call["status"] for call in written] == ["failed", "succeeded"]
    assert {call["job_id"] for call in written} == {handle.job_id}


async def test_a_resume_neither_asks_nor_records_anything_again(packs: Path) -> None:
    storage = f"sqlite:///{packs.parent}/runs.db"
    first, first_provider = runner(packs, BAD, Delay(60, GOOD))
    options = KernelOptions(drain_timeout=0.05)
    async with RuntimeKernel.create(
        operators=[first.as_operator(SPEC)], storage=storage, options=options
    ) as kernel:
        handle = await kernel.execute(REQUEST)
        while len(first_provider.requests) < 2:
            await asyncio.sleep(0.001)
    (packs / "planner" / "user.j2").write_text("Something else, {{ goal }}.")

    second, second_provider = runner(packs, GOOD)
    async with RuntimeKernel.create(operators=[second.as_operator(SPEC)], storage=storage) as kernel:
        result = await kernel.handle(handle.job_id).result()

    assert result.output == {"steps": ["pack"]}
    assert len(second_provider.requests) == 1
    assert [message.text for message in second_provider.requests[0].messages][1] == "Plan a trip."
    assert [call["status"] for call in await calls(second, packs)] == ["failed", "cancelled", "succeeded"]


async def test_an_agent_that_fails_is_a_failed_job(packs: Path) -> None:
    agents, _ = runner(packs, BAD, BAD, BAD)
    async with RuntimeKernel(operators=[agents.as_operator(SPEC)]) as kernel:
        handle = await kernel.execute(REQUEST)
        with pytest.raises(JobFailed, match="schema validation failed after 3 attempts"):
            await handle.result()
        record = await kernel.jobs.get(handle.job_id)
    assert record.status is JobStatus.FAILED
    assert record.error_code == "RUN_FAILED"


async def test_an_object_that_generates_json_is_journaled_as_well(packs: Path) -> None:
    class Theirs:
        asked = 0

        async def generate_json_async(self, messages: Any, model: str) -> dict[str, Any]:
            self.asked += 1
            return {"steps": ["pack"]}

    theirs = Theirs()
    agents = AsyncAgentRunner(theirs, packs)
    async with RuntimeKernel(operators=[agents.as_operator(SPEC)]) as kernel:
        handle = await kernel.execute(REQUEST)
        assert (await handle.result()).output == {"steps": ["pack"]}
        types = [event.type async for event in handle.events()]
    assert theirs.asked == 1
    assert "model.completed" in types


async def test_it_runs_bare_as_well(packs: Path) -> None:
    agents, _ = runner(packs, GOOD)
    result = await agents.as_operator(SPEC).execute({"goal": "a trip"}, OperatorContext())
    assert result.output == Plan(steps=["pack"])


def test_what_remembers_in_one_process_is_no_job(packs: Path) -> None:
    agents, _ = runner(packs)
    with pytest.raises(ConfigurationError, match="remembers in one process"):
        agents.as_operator(AgentSpec(name="planner", mode=AgentMode.CONVERSATIONAL))


async def test_what_a_policy_takes_out_of_a_request_is_in_no_file(packs: Path) -> None:
    agents, provider = runner(packs, GOOD)
    policy = PolicyEngine()
    policy.add_rule(RedactionPolicy())
    request = dataclasses.replace(REQUEST, input={"variables": {"goal": "a trip of ada@example.com"}})
    async with RuntimeKernel(operators=[agents.as_operator(SPEC)], policy_engine=policy) as kernel:
        await (await kernel.execute(request)).result()

    assert "ada@" not in provider.requests[0].messages[-1].text
    (call,) = await calls(agents, packs)
    assert "ada@" not in str(call)
    assert "user_prompt" not in call
    assert "a trip of" in call["messages"][-1]["content"]
