"""Following a history again: branches, changed code, endless work."""

import asyncio
import dataclasses
import logging
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ExecutionRequest,
    JobFailed,
    OperatorContext,
    StepFailed,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from llm_client import ExecutionEngine, ScriptedProvider
from support.kernels import (
    BOUND,
    DOOMED,
    QUICK,
    journal,
    kernel,
    pending,
    status_becomes,
)
from support.operators import ask, asking, identity, increment, stepping

pytestmark = pytest.mark.timeout(BOUND * 3)


async def test_a_plain_asyncio_gather_is_refused_at_the_first_run_and_names_the_remedy() -> None:
    async def two(context: OperatorContext) -> None:
        await context.step(slowly, 1, effect="read")
        await context.step(slowly, 2, effect="read")

    async def operator(context: OperatorContext, given: object) -> None:
        await asyncio.gather(two(context), two(context))

    async with kernel(operators=[operator]) as k:
        with pytest.raises(JobFailed, match=r"context\.gather"):
            await (await k.execute(ExecutionRequest(operator="operator"))).result()


async def slowly(value: int) -> int:
    await asyncio.sleep(0.005)
    return value


async def test_branches_that_interleave_are_recognised_after_a_crash() -> None:
    """1a 2a 2b 1b is recorded; the resume must match each branch's own steps."""
    ran: list[str] = []
    gates = {name: asyncio.Event() for name in ("1a", "2a", "2b", "1b")}
    gates["1a"].set()
    order = ["1a", "2a", "2b", "1b"]

    async def piece(name: str) -> str:
        await gates[name].wait()
        ran.append(name)
        following = order.index(name) + 1
        if following < len(order):
            gates[order[following]].set()
        return name

    async def branch(context: OperatorContext, number: int) -> list[str]:
        return [await context.step(piece, f"{number}{letter}", effect="unsafe") for letter in "ab"]

    async def operator(context: OperatorContext, given: object) -> object:
        lists = await context.gather(branch(context, 1), branch(context, 2))
        return [lists, await context.step(identity, "end")]

    storage = MemoryStorage()
    dying = DyingStorage(storage, commit_of("step.started", "identity"), moment="before")
    doomed = kernel(dying, operators=[operator], options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="operator"))
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, operators=[operator]) as k:
        assert (await k.handle(handle.job_id).result()).output == [[["1a", "1b"], ["2a", "2b"]], "end"]
    assert ran == order


async def test_a_failing_branch_lets_the_others_finish_their_step_and_begin_no_other() -> None:
    ran: list[str] = []
    failed = asyncio.Event()

    async def broken() -> None:
        failed.set()
        raise ValueError("one branch broke")

    async def long(name: str) -> None:
        await failed.wait()
        await asyncio.sleep(0.02)
        ran.append(name)

    async def other(context: OperatorContext) -> None:
        await context.step(long, "first", effect="read")
        await context.step(long, "second", effect="read")

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.gather(context.step(broken, effect="read"), other(context))
        except StepFailed as error:
            return str(error)
        return "not raised"

    async with kernel(operators=[operator]) as k:
        assert (
            await (await k.execute(ExecutionRequest(operator="operator"))).result()
        ).output == "ValueError: one branch broke"
    assert ran == ["first"]


async def test_changed_code_parks_a_job_and_the_old_code_finishes_it() -> None:
    def version(step_name: str) -> Any:
        async def operator(context: OperatorContext, given: object) -> list[str]:
            first = await context.step(identity, "a", name=step_name)
            answered = await context.action(ActionSpec(type="input"))
            return [first, answered.resolution["value"]]

        return {"operator": operator}

    storage = MemoryStorage()
    async with kernel(storage, operators=version("old")) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=version("new")) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(action.action_id, {"value": "v"})
        await status_becomes(handle, "blocked")
        job = await handle.job()
        assert job.error_code == "NONDETERMINISM"
        assert "'new'" in str(job.error)
        assert "'old'" in str(job.error)
    async with kernel(storage, operators=version("old")) as k:
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == ["a", "v"]


async def test_patched_code_keeps_old_histories_and_gives_new_jobs_the_change() -> None:
    def version(patched: bool) -> Any:
        async def operator(context: OperatorContext, given: object) -> list[str]:
            seen = []
            if patched and context.patched("greet-first"):
                seen.append(await context.step(identity, "hello", name="greet"))
            seen.append(await context.step(identity, "work", name="work"))
            await context.sleep(0.05)
            return seen

        return {"operator": operator}

    storage = MemoryStorage()
    dying = DyingStorage(storage, commit_of("timer.set"), moment="before")
    doomed = kernel(dying, operators=version(False), options=DOOMED)
    old = await doomed.execute(ExecutionRequest(operator="operator"))
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, operators=version(True)) as k:
        new = await k.execute(ExecutionRequest(operator="operator"))
        assert (await k.handle(old.job_id).result(timeout=BOUND)).output == ["work"]
        assert (await new.result(timeout=BOUND)).output == ["hello", "work"]


async def test_an_edited_prompt_warns_and_keeps_the_recorded_answer(caplog: pytest.LogCaptureFixture) -> None:
    def version(prompt: str, *replies: str) -> Any:
        engine = ExecutionEngine(ScriptedProvider(list(replies)))

        async def operator(context: OperatorContext, given: object) -> str:
            answer = await engine.complete(asking(prompt))
            await context.action(ActionSpec(type="confirm"))
            return answer.content

        return {"operator": operator}

    storage = MemoryStorage()
    async with kernel(storage, operators=version("hello", "recorded")) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    with caplog.at_level(logging.WARNING):
        async with kernel(storage, operators=version("hello, please")) as k:
            await k.handle(handle.job_id).resolve_action(action.action_id, {"confirmed": True})
            assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == "recorded"
            warnings = [
                event for event in await journal(k.handle(handle.job_id)) if event.type == "job.warning"
            ]
            assert [event.data["kind"] for event in warnings] == ["model call"]
    assert "is asked something else than the journal records" in caplog.text


async def test_a_strict_kernel_parks_a_job_whose_finished_step_has_changed() -> None:
    def version(text: str) -> Any:
        async def operator(context: OperatorContext, given: object) -> None:
            await context.step(identity, text)
            await context.action(ActionSpec(type="confirm"))

        return {"operator": operator}

    storage = MemoryStorage()
    async with kernel(storage, operators=version("old")) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    options = dataclasses.replace(QUICK, strict=True)
    async with kernel(storage, operators=version("new"), options=options) as k:
        await k.handle(handle.job_id).resolve_action(action.action_id, {"confirmed": True})
        await status_becomes(k.handle(handle.job_id), "blocked")
        assert "strict" in str((await k.handle(handle.job_id).job()).error)


async def test_a_job_of_an_unknown_operator_waits_for_a_worker_that_knows_it() -> None:
    storage = MemoryStorage()
    submitter = kernel(storage, worker=False, operators=[ask])
    handle = await submitter.execute(ExecutionRequest(operator="stepping", input="x"))
    async with kernel(storage, operators=[ask]):
        await status_becomes(handle, "blocked")
        assert (await handle.job()).error_code == "OPERATOR_NOT_FOUND"
    async with kernel(storage, operators=[stepping]) as k:
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == "x"


async def test_endless_work_continues_as_new_and_its_journal_stays_short() -> None:
    async with kernel(operators=[counting]) as k:
        handle = await k.execute(ExecutionRequest(operator="counting", input=0))
        assert (await handle.result(timeout=BOUND)).output == 5
        jobs = await k.jobs.list()
        assert len(jobs) == 6
        assert max(job.last_seq for job in jobs) < 8


async def counting(context: OperatorContext, given: int) -> int:
    number = await context.step(increment, given, effect="read")
    if given < 5:
        context.continue_as_new(number)
    return given


async def test_a_journal_without_an_end_fails_and_names_the_remedy() -> None:
    async def endless(context: OperatorContext, given: object) -> None:
        while True:
            await context.step(increment, 1, effect="read")

    async with kernel(operators=[endless], options=dataclasses.replace(QUICK, max_events=50)) as k:
        with pytest.raises(JobFailed, match="continue_as_new") as caught:
            await (await k.execute(ExecutionRequest(operator="endless"))).result()
        assert caught.value.error_code == "JOURNAL_LIMIT"
