"""Effects in a job that crashes, times out or is cancelled: the schedules that would repeat or lose them."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ExecutionRequest,
    JobCancelled,
    OperatorContext,
    ResultNotSerializable,
    StepFailed,
    current_context,
)
from agent_runtime.execution.branch import CURRENT_BRANCH
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury
from agent_runtime.values.event import TERMINAL_TYPES
from llm_client import Agent, ConcurrencyMiddleware, ExecutionEngine, FunctionProvider, ScriptedProvider, tool
from llm_client.messages import ToolCall
from llm_client.spec import RequestSpec
from support.kernels import (
    BOUND,
    DOOMED,
    kernel,
    opened,
    pending,
    types,
    until,
)
from support.operators import identity

pytestmark = pytest.mark.timeout(BOUND * 3)


async def test_a_deploy_that_had_its_approval_and_began_is_unknown_after_a_crash() -> None:
    """Ask, get the yes, begin deploying, die: the approval must not let the deploy run again."""
    deployed: list[str] = []

    @tool
    async def deploy() -> str:
        """Deploy."""
        await current_context().action(ActionSpec(type="approval"))
        deployed.append("x")
        if len(deployed) == 1:
            dying.die()
            await asyncio.Event().wait()
        return "deployed"

    def operator() -> Any:
        agent = Agent(provider=ScriptedProvider([ToolCall("1", "deploy", {}), "ok"]), tools=[deploy])

        async def run(context: OperatorContext, given: object) -> str:
            return (await agent.run("deploy")).content

        return {"run": run}

    storage = MemoryStorage()
    dying = DyingStorage(storage, lambda commit: False)
    doomed = kernel(dying, operators=operator(), options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="run"))
    await doomed.actions.resolve_by_id((await pending(handle)).action_id, {"approved": True})
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    agent = Agent(provider=ScriptedProvider(["ok"]), tools=[deploy])

    async def run(context: OperatorContext, given: object) -> str:
        return (await agent.run("deploy")).content

    async with kernel(storage, operators={"run": run}) as k:
        handle = k.handle(handle.job_id)
        question = await pending(handle)
        assert (question.type, question.payload["tool"]) == ("reconcile", "deploy")
        assert "tool.unknown" in await types(handle)
        await handle.resolve_action(question.action_id, {"outcome": "done", "result": "deployed"})
        assert (await handle.result()).content == "ok"
    assert deployed == ["x"]


async def test_a_timed_out_unsafe_tool_is_unknown_not_failed() -> None:
    begun: list[int] = []

    @tool(timeout=0.05)
    async def slow() -> str:
        """Take too long, the first time."""
        begun.append(1)
        if len(begun) == 1:
            await asyncio.sleep(3600)
        return "done"

    agent = Agent(provider=ScriptedProvider([ToolCall("1", "slow", {}), "ok"]), tools=[slow])
    async with kernel(agent=agent) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        question = await pending(handle)
        assert question.type == "reconcile"
        assert "tool.failed" not in await types(handle)
        await handle.resolve_action(question.action_id, {"outcome": "retry"})
        assert (await handle.result()).content == "ok"
    assert begun == [1, 1]


async def test_cancelling_a_job_inside_an_unsafe_tool_leaves_a_question_that_outlives_it() -> None:
    inside = asyncio.Event()

    @tool
    async def pay() -> str:
        """Pay."""
        inside.set()
        await asyncio.sleep(3600)
        return "paid"

    agent = Agent(provider=ScriptedProvider([ToolCall("1", "pay", {})]), tools=[pay])
    async with kernel(agent=agent) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        await inside.wait()
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result()
        assert (await types(handle))[-2:] == ["tool.unknown", "job.cancelled"]
        (question,) = await handle.get_pending_actions()
        assert question.type == "reconcile"
        await handle.resolve_action(question.action_id, {"outcome": "fail"})
        assert [t for t in await types(handle) if t in TERMINAL_TYPES] == ["job.cancelled"]


async def test_a_cancelled_model_call_is_billed_at_its_maximum_and_marked() -> None:
    inside = asyncio.Event()

    async def model(spec: RequestSpec) -> str:
        inside.set()
        await asyncio.sleep(3600)
        return "never"

    async with kernel(engine=ExecutionEngine(FunctionProvider(model))) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        await inside.wait()
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result()
        (entry,) = await k.ledger.entries(job_id=handle.job_id)
        assert (entry.uncertain, entry.status, entry.output_tokens) == (True, "failed", 4096)


async def test_time_in_a_durable_wait_counts_against_no_time_out_and_no_slot() -> None:
    order: list[str] = []

    @tool(effect="idempotent", timeout=0.2)
    async def waits() -> str:
        """Wait for a person longer than the time-out."""
        await current_context().action(ActionSpec(type="approval"))
        order.append("waited")
        return "ok"

    @tool(effect="read")
    async def works() -> str:
        """Work, in the one slot there is, while the other waits."""
        await asyncio.sleep(0.4)
        order.append("worked")
        return "ok"

    calls = [ToolCall("1", "waits", {}), ToolCall("2", "works", {})]
    agent = Agent(
        provider=ScriptedProvider([calls, "done"]),
        tools=[waits, works],
        middleware=[ConcurrencyMiddleware(1)],
    )
    async with kernel(agent=agent) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        question = await pending(handle)

        async def worked() -> bool:
            return "worked" in order

        await until(worked)
        await handle.resolve_action(question.action_id, {"approved": True})
        assert (await handle.result()).content == "done"
        assert "tool.failed" not in await types(handle)
    assert order == ["worked", "waited"]


async def test_an_unsafe_outcome_is_on_disk_before_the_operator_sees_it(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as storage, kernel(storage, operators=[looks_itself_up]) as k:
        result = await (await k.execute(ExecutionRequest(operator="looks_itself_up"))).result()
    assert result.output == ["step.completed"] * 3


async def looks_itself_up(context: OperatorContext, given: object) -> list[str]:
    branch = CURRENT_BRANCH.get()
    assert branch is not None
    seen = []
    for number in range(3):
        await context.step(identity, str(number), effect="unsafe")
        (last,) = await branch.run.services.storage.tail(context.job_id or "", 1)
        seen.append(str(last.type))
    return seen


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, 2**70, "\ud800", b"bytes", {"deep": [object()]}],
    ids=["object", "set", "huge", "surrogate", "bytes", "nested"],
)
async def test_a_result_that_cannot_be_encoded_is_finished_and_not_run_again(value: object) -> None:
    runs = 0

    def odd() -> Any:
        nonlocal runs
        runs += 1
        return value

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.step(odd)
        except ResultNotSerializable:
            await context.sleep(0.5)
            return "caught"
        return "not caught"

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await handle.result()).output == "caught"
        assert {"job.suspended", "step.failed"} < set(await types(handle))
        assert "step.unknown" not in await types(handle)
    assert runs == 1


async def test_a_step_returns_the_same_the_first_time_and_after_a_resume() -> None:
    @dataclasses.dataclass
    class Point:
        x: int
        y: tuple[int, ...]

    def point() -> Point:
        return Point(1, (2, 3))

    def untyped():  # type: ignore[no-untyped-def]
        return (1, 2)

    seen: list[list[Any]] = []

    async def operator(context: OperatorContext, given: object) -> None:
        seen.append([await context.step(point), await context.step(untyped)])
        await context.sleep(0.5)

    async with kernel(operators=[operator]) as k:
        await (await k.execute(ExecutionRequest(operator="operator"))).result()
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert seen[0][1] == [1, 2]


async def test_a_failed_step_fails_the_same_way_after_a_resume() -> None:
    runs = 0

    def breaks() -> None:
        nonlocal runs
        runs += 1
        raise ValueError("no good")

    seen: list[str] = []

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            await context.step(breaks)
        except StepFailed as error:
            seen.append(f"{error} {error.error_type}")
        await context.sleep(0.5)

    async with kernel(operators=[operator]) as k:
        await (await k.execute(ExecutionRequest(operator="operator"))).result()
    assert seen == ["ValueError: no good ValueError"] * 2
    assert runs == 1
