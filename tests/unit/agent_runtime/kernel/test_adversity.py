"""Schedules and inputs that an adversary found: each broke something once."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ExecutionRequest,
    InvalidInput,
    InvalidTransition,
    JobCancelled,
    JobSpec,
    OperatorContext,
    StepFailed,
    UnknownAction,
    current_context,
)
from agent_runtime.ports.journal import Claim
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.testing.examples import commit, job
from agent_runtime.testing.faults import commit_of
from llm_client import Agent, ScriptedProvider, tool
from llm_client.messages import ToolCall
from support.kernels import QUICK, kernel, pending, status_becomes, types
from support.operators import ask, identity
from support.slow_storage import SlowStorage


async def test_a_drain_between_an_intent_and_its_effect_lets_the_effect_happen() -> None:
    ran: list[str] = []

    async def operator(context: OperatorContext, given: object) -> None:
        await context.step(ran.append, "x")

    storage = SlowStorage(commit_of("step.started"))
    k = kernel(storage, operators=[operator])
    handle = await k.execute(ExecutionRequest(operator="operator"))
    await storage.written.wait()
    closing = asyncio.ensure_future(k.aclose())
    await asyncio.sleep(0.02)
    storage.release.set()
    await closing
    async with kernel(storage, operators=[operator]) as k:
        handle = k.handle(handle.job_id)
        await status_becomes(handle, "succeeded", "waiting_action")
        assert "step.unknown" not in await types(handle)
    assert ran == ["x"]


async def test_code_that_diverges_inside_a_tool_parks_the_job_and_asks_nobody_again() -> None:
    def version(name: str, *replies: Any) -> Any:
        @tool(effect="idempotent")
        async def work() -> str:
            """Work."""
            await current_context().step(identity, "a", name=name)
            await current_context().action(ActionSpec(type="confirm"))
            return "ok"

        agent = Agent(provider=ScriptedProvider(list(replies)), tools=[work])

        async def run(context: OperatorContext, given: object) -> str:
            return (await agent.run("go")).content

        return {"run": run}

    storage = MemoryStorage()
    async with kernel(storage, operators=version("old", ToolCall("1", "work", {}))) as k:
        handle = await k.execute(ExecutionRequest(operator="run"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=version("new")) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(action.action_id, {"confirmed": True})
        await status_becomes(handle, "blocked")
        assert (await types(handle)).count("action.required") == 1


async def test_a_recorded_value_that_no_longer_fits_its_type_parks_the_job() -> None:
    def version(kind: object) -> Any:
        async def value() -> Any:
            return {"a": 1}

        value.__annotations__["return"] = kind

        async def operator(context: OperatorContext, given: object) -> None:
            await context.step(value, effect="read")
            await context.action(ActionSpec(type="confirm"))

        return {"operator": operator}

    storage = MemoryStorage()
    async with kernel(storage, operators=version(dict[str, int])) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=version(list[int])) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(action.action_id, {"confirmed": True})
        await status_becomes(handle, "blocked")
        assert (await handle.job()).error_code == "NONDETERMINISM"


async def test_an_abandoned_branch_starts_no_child() -> None:
    begun = asyncio.Event()

    async def boom() -> None:
        begun.set()
        raise ValueError("one branch broke")

    async def other(context: OperatorContext) -> None:
        await context.step(begun.wait, effect="read")
        await asyncio.sleep(0.02)
        await context.child("ask")

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.gather(context.step(boom, effect="read"), other(context))
        except StepFailed:
            return "failed"
        return "not raised"

    async with kernel(operators=[operator, ask]) as k:
        assert (await (await k.execute(ExecutionRequest(operator="operator"))).result()).output == "failed"
        assert await k.jobs.count() == 1


async def test_a_listener_that_raises_keeps_no_writer_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def committed(self, *_: object) -> None:
            raise RuntimeError("the listener broke")

        def signals_drained(self, *_: object) -> None: ...

        def on_remote_change(self, *_: object) -> None: ...

    storage = SQLiteStorage(tmp_path / "runs.db")
    await storage.open()
    storage.listen(Broken())
    async with asyncio.timeout(5):
        await storage.commit(commit(create=[(job(), [])]))
    await storage.aclose()
    assert "the listener broke" in caplog.text


async def test_children_keep_their_parents_tags() -> None:
    async def child(context: OperatorContext, given: object) -> int:
        return 1

    async def operator(context: OperatorContext, given: object) -> None:
        await context.child("child")

    async with kernel(operators=[operator, child]) as k:
        await (await k.execute(ExecutionRequest(operator="operator", tags={"env": "prod"}))).result()
        assert [found.tags for found in await k.jobs.list()] == [{"env": "prod"}] * 2


async def test_progress_after_the_end_is_refused() -> None:
    async with kernel() as k:
        record = await k.jobs.create(JobSpec())
        await k.jobs.start(record.job_id)
        await k.jobs.complete(record.job_id)
        with pytest.raises(InvalidTransition):
            await k.jobs.update_progress(record.job_id, 0.5)


async def test_a_handle_answers_only_its_own_jobs_questions() -> None:
    async with kernel(operators=[ask]) as k:
        mine = await k.execute(ExecutionRequest(operator="ask"))
        other = await k.execute(ExecutionRequest(operator="ask"))
        action = await pending(mine)
        with pytest.raises(UnknownAction):
            await other.resolve_action(action.action_id, {"value": 1})
        assert (await k.actions.get(action.action_id)).is_pending


async def test_whoever_waits_for_a_result_is_told_when_the_kernel_closes() -> None:
    k = kernel(operators=[ask])
    handle = await k.execute(ExecutionRequest(operator="ask"))
    waiting = asyncio.ensure_future(handle.result())
    await pending(handle)
    await k.aclose()
    with pytest.raises(InvalidInput, match="closed"):
        await waiting


async def test_a_cancel_between_a_claim_and_its_run_is_not_left_to_the_next_sweep() -> None:
    gate, entered = asyncio.Event(), asyncio.Event()

    class SlowClaims(MemoryStorage):
        async def claim(self, *args: Any, **kwargs: Any) -> Claim | None:
            claim = await super().claim(*args, **kwargs)
            entered.set()
            await gate.wait()
            return claim

    async def operator(context: OperatorContext, given: object) -> None:
        await context.step(asyncio.sleep, 3600, effect="read")

    options = dataclasses.replace(
        QUICK,
        sweep_interval=3600.0,
        heartbeat_interval=3600.0,
        worker_timeout=7200.0,
        max_concurrency_per_scope=9,  # has the job claimed by itself
    )
    async with kernel(SlowClaims(), operators=[operator], options=options) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await entered.wait()
        await handle.cancel()
        gate.set()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=5)
