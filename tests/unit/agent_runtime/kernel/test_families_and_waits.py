"""Parents and children, questions, and what a stopping or resumed job does."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    ActionExpired,
    ActionSpec,
    ChildFailed,
    ExecutionRequest,
    InvalidInput,
    JobCancelled,
    JobFailed,
    JobStatus,
    OperatorContext,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from llm_client import Delay, ExecutionEngine, ScriptedProvider
from support.kernels import (
    BOUND,
    DOOMED,
    journal,
    kernel,
    opened,
    status_becomes,
    types,
    until,
)
from support.operators import ask, asking, identity, stepping

pytestmark = pytest.mark.timeout(BOUND * 3)


async def parent(context: OperatorContext, given: str) -> list[str]:
    results = await context.gather(*(context.child("stepping", f"{given}{n}") for n in range(3)))
    return [result.output_data["output"] for result in results]


async def test_children_are_jobs_of_their_own_with_their_parents_scope() -> None:
    async with kernel(operators=[parent, stepping]) as k:
        handle = await k.execute(ExecutionRequest(operator="parent", input="c", scope_id="tenant"))
        assert (await handle.result()).output == ["c0", "c1", "c2"]
        children = [job for job in await k.jobs.list() if job.parent_job_id == handle.job_id]
        assert [(job.scope_id, job.depth, job.status) for job in children] == [("tenant", 1, "succeeded")] * 3


async def test_a_failed_child_is_raised_in_its_parent() -> None:
    async def bad(context: OperatorContext, given: object) -> None:
        raise ValueError("child broke")

    async def calling(context: OperatorContext, given: object) -> str | None:
        try:
            await context.child("bad")
        except ChildFailed as error:
            return error.error_code
        return "not raised"

    async with kernel(operators=[bad, calling]) as k:
        assert (
            await (await k.execute(ExecutionRequest(operator="calling"))).result()
        ).output == "EXECUTION_ERROR"


async def test_cancelling_a_parent_cancels_its_children() -> None:
    async def waiting_parent(context: OperatorContext, given: object) -> None:
        await context.child("ask")

    async with kernel(operators=[waiting_parent, ask]) as k:
        handle = await k.execute(ExecutionRequest(operator="waiting_parent"))

        async def child() -> Any:
            return [job for job in await k.jobs.list() if job.parent_job_id == handle.job_id]

        (job,) = await until(child)
        await status_becomes(k.handle(job.job_id), "waiting_action")
        await status_becomes(handle, "waiting")
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result()
        with pytest.raises(JobCancelled):
            await k.handle(job.job_id).result(timeout=BOUND)
        assert await k.actions.list_pending() == []


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_crash_around_a_childs_end_neither_loses_nor_repeats_it(moment: Any) -> None:
    storage = MemoryStorage()
    dying = DyingStorage(storage, commit_of("job.succeeded"), moment=moment)
    doomed = kernel(dying, operators=[parent, stepping], options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="parent", input="c"))
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, operators=[parent, stepping]) as k:
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == ["c0", "c1", "c2"]
        assert await k.jobs.count() == 4


async def test_an_unanswered_question_expires_and_its_default_answers() -> None:
    async def operator(context: OperatorContext, default: Any) -> Any:
        try:
            action = await context.action(
                ActionSpec(type="input", timeout_seconds=0.05, default_resolution=default)
            )
        except ActionExpired:
            return "expired"
        return action.resolution

    async with kernel(operators=[operator]) as k:
        with_default = await k.execute(ExecutionRequest(operator="operator", input={"value": "usual"}))
        without = await k.execute(ExecutionRequest(operator="operator"))
        assert (await with_default.result(timeout=BOUND)).output == {"value": "usual"}
        assert (await without.result(timeout=BOUND)).output == "expired"
        statuses = {action.status for action in await k.storage.list_actions()}
        assert statuses == {"resolved", "expired"}


async def test_several_questions_of_one_job_are_answered_one_by_one() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        actions = await context.gather(*(context.action(ActionSpec(type="input")) for _ in range(3)))
        return [action.resolution["value"] for action in actions]

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))

        async def three() -> Any:
            found = await handle.get_pending_actions()
            return found if len(found) == 3 else None

        for number, action in enumerate(reversed(await until(three))):
            await status_becomes(handle, "waiting_action")
            await handle.resolve_action(action.action_id, {"value": number})
        assert (await handle.result()).output == [0, 1, 2]


async def test_a_stopping_kernel_lets_steps_in_flight_end_and_begins_no_other() -> None:
    ran: list[str] = []
    inside, release = asyncio.Event(), asyncio.Event()

    async def work(name: str) -> str:
        ran.append(name)
        if name == "first":
            inside.set()
            await release.wait()
        return name

    async def operator(context: OperatorContext, given: object) -> list[str]:
        return [await context.step(work, name) for name in ("first", "second")]

    storage = MemoryStorage()
    k = kernel(storage, operators=[operator])
    handle = await k.execute(ExecutionRequest(operator="operator"))
    await inside.wait()
    closing = asyncio.ensure_future(k.aclose())
    await asyncio.sleep(0.01)
    release.set()
    await closing
    assert ran == ["first"]
    assert (await storage.get_job(handle.job_id)).status is JobStatus.RUNNING  # type: ignore[union-attr]
    async with kernel(storage, operators=[operator]) as later:
        assert (await later.handle(handle.job_id).result(timeout=BOUND)).output == ["first", "second"]
    assert ran == ["first", "second"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_tokens_are_live_only_and_every_reader_sees_the_same_stored_events(
    kind: str, tmp_path: Path
) -> None:
    engine = ExecutionEngine(ScriptedProvider([Delay(0.1, "some words to stream")]))
    async with opened(kind, tmp_path) as storage, kernel(storage, engine=engine) as k:
        handle = await k.execute(ExecutionRequest(prompt="go"))
        live = [event async for event in handle.events()]
        assert "".join(e.data["text"] for e in live if e.type == "model.token") == "some words to stream"
        assert all(event.seq is None for event in live if event.type == "model.token")
        assert [event for event in live if event.seq is not None] == await journal(handle)


async def test_recall_precedes_everything_so_a_resume_logs_nothing_twice() -> None:
    told: list[str] = []
    engine = ExecutionEngine(ScriptedProvider(["hi"]), hooks=[lambda event: told.append(event.name)])

    async def operator(context: OperatorContext, given: object) -> str:
        answer = await engine.complete(asking())
        await context.sleep(0.05)
        return answer.content

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await handle.result()).output == "hi"
        assert "job.suspended" in await types(handle)
    assert told.count("request.start") == 1


async def test_calls_of_two_jobs_with_one_idempotency_key_never_join() -> None:
    engine = ExecutionEngine(ScriptedProvider(["one", "two"]))

    async def operator(context: OperatorContext, given: object) -> list[str]:
        return [(await engine.complete(asking(), idempotency_key="k")).content for _ in range(2)]

    async with kernel(operators=[operator]) as k:
        first = await (await k.execute(ExecutionRequest(operator="operator"))).result()
        second = await (await k.execute(ExecutionRequest(operator="operator"))).result()
    assert (first.output, second.output) == (["one", "one"], ["two", "two"])


async def test_a_context_used_by_a_foreign_task_is_refused() -> None:
    kept: list[OperatorContext] = []

    async def operator(context: OperatorContext, given: object) -> None:
        kept.append(context)

    async with kernel(operators=[operator]) as k:
        await (await k.execute(ExecutionRequest(operator="operator"))).result()
        with pytest.raises(InvalidInput):
            await kept[0].step(identity, "late")


async def large(context: OperatorContext, given: int) -> str:
    return f"{given}" * 10_000


async def collect(context: OperatorContext, given: object) -> list[int]:
    results = await context.gather(*(context.child("large", number) for number in range(3)))
    await context.action(ActionSpec(type="input"))
    return [len(result.content) for result in results]


async def test_what_a_child_gave_is_referred_to_and_not_copied() -> None:
    """Both in the first run and in the one that recalls it."""
    async with kernel(operators=[collect, large]) as k:
        handle = await k.execute(ExecutionRequest(operator="collect"))
        question = (await until(handle.get_pending_actions))[0]
        await status_becomes(handle, "waiting_action")
        await handle.resolve_action(question.action_id, {"value": 1})
        assert (await handle.result(timeout=BOUND)).output == [10_000] * 3
        events = await journal(handle)
        ended = [event for event in events if event.type == "child.ended"]
        children = {job.job_id for job in await k.jobs.list() if job.parent_job_id == handle.job_id}
        assert {event.data["job_id"] for event in ended} == children
        assert sum(len(event.content or b"") for event in events) < 1000


async def test_the_reference_leads_to_the_last_link_of_a_chain() -> None:
    async def stage(context: OperatorContext, given: int) -> str:
        if given:
            context.continue_as_new(given - 1)
        return "the last one's"

    async def calling(context: OperatorContext, given: object) -> str:
        return (await context.child("stage", 2)).content

    async with kernel(operators=[calling, stage]) as k:
        handle = await k.execute(ExecutionRequest(operator="calling"))
        assert (await handle.result(timeout=BOUND)).output == "the last one's"


async def test_results_that_are_wanted_together_are_read_together() -> None:
    asked: list[int] = []

    class Counting(MemoryStorage):
        async def last_events(self, job_ids: Any) -> Any:
            asked.append(len(job_ids))
            return await super().last_events(job_ids)

    go_on = asyncio.Event()

    async def small(context: OperatorContext, given: int) -> int:
        await go_on.wait()
        return given

    async def gathering(context: OperatorContext, given: object) -> int:
        waits = [context.child("small", number) for number in range(30)]
        results = await context.wait_all(*waits)
        return sum(result.output for result in results)

    async with kernel(Counting(), operators=[gathering, small]) as k:
        handle = await k.execute(ExecutionRequest(operator="gathering"))
        await status_becomes(handle, "waiting")
        go_on.set()
        assert (await handle.result(timeout=BOUND)).output == sum(range(30))
    assert sum(asked) == 30
    assert len(asked) < 10


async def test_a_parent_whose_childs_result_was_deleted_is_set_aside() -> None:
    """Nothing that the runtime does deletes it as long as the parent is there."""
    storage = MemoryStorage()

    async with kernel(storage, operators=[collect, large]) as k:
        handle = await k.execute(ExecutionRequest(operator="collect"))
        question = (await until(handle.get_pending_actions))[0]
        await status_becomes(handle, "waiting_action")
        for job in await k.jobs.list():
            if job.parent_job_id == handle.job_id:
                storage._state.journals[job.job_id].clear()
        await handle.resolve_action(question.action_id, {"value": 1})
        await status_becomes(handle, "blocked")
        assert "which this job goes on with, was deleted" in ((await handle.job()).error or "")


async def test_a_retried_parent_still_gets_what_its_child_gave_long_ago() -> None:
    calls: list[int] = []

    async def once(context: OperatorContext, given: object) -> str:
        return "given long ago"

    async def failing(context: OperatorContext, given: object) -> str:
        result = await context.child("once")
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("not yet")
        return result.content

    storage = MemoryStorage()
    async with kernel(storage, operators=[failing, once]) as k:
        handle = await k.execute(ExecutionRequest(operator="failing"))
        with pytest.raises(JobFailed):
            await handle.result(timeout=BOUND)
        ended = (await handle.job()).completed_at
        assert ended is not None
        assert await storage.prune(before=ended) == 0
        retry = await k.retry(handle.job_id)
        assert (await retry.result(timeout=BOUND)).output == "given long ago"
    assert len(calls) == 2
