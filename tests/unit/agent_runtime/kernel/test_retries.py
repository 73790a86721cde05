"""Retrying a job that has ended: who goes on in its place, what is done anew, and under which names."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    BudgetSpec,
    ChildFailed,
    ContentPruned,
    ExecutionHandle,
    ExecutionRequest,
    InvalidInput,
    InvalidTransition,
    JobCancelled,
    JobFailed,
    JobFilter,
    OperatorContext,
    RetryPolicy,
    RetryRefused,
    RuntimeKernel,
    StepFailed,
)
from agent_runtime.testing.clock import FakeClock
from llm_client import Agent, ExecutionEngine, RetryConfig, ScriptedProvider, ToolContext, tool
from llm_client.errors import InvalidRequest
from llm_client.messages import ToolCall
from support.kernels import BOUND, journal, kernel, pending, status_becomes, types, until
from support.operators import asking

pytestmark = pytest.mark.timeout(BOUND * 3)


class World:
    """What has happened outside, and what is broken there."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken = {"pay"}

    def act(self, what: str) -> str:
        """Do something, unless it is broken."""
        self.done.append(what)
        if what in self.broken:
            raise ValueError(f"{what} is broken")
        return what

    def mend(self) -> None:
        self.broken.clear()


async def failed(k: RuntimeKernel, operator: str, **request: Any) -> ExecutionHandle:
    """Execute a job that fails."""
    handle = await k.execute(ExecutionRequest(operator=operator, **request))
    with pytest.raises(JobFailed):
        await handle.result(timeout=BOUND)
    return handle


def paying(world: World) -> Callable[..., Any]:
    async def operator(context: OperatorContext, given: Any) -> Any:
        first = await context.step(world.act, "pack", effect="idempotent")
        drawn = str(context.uuid())
        return [first, await context.step(world.act, "pay"), drawn, await context.step(world.act, "ship")]

    return operator


async def test_what_failed_is_done_anew_and_what_succeeded_is_recalled() -> None:
    world = World()
    async with kernel(operators=[paying(world)]) as k:
        handle = await failed(k, "operator")
        last = (await journal(handle))[-1]
        assert (last.type, last.data["failed_at"]) == ("job.failed", f"{handle.job_id}:3")
        world.mend()
        retry = await k.retry(handle.job_id)
        result = await retry.result(timeout=BOUND)
        assert world.done == ["pack", "pay", "pay", "ship"]
        assert result.output[:2] == ["pack", "pay"]
        job = await retry.job()
        assert (job.origin, job.chain_id, job.predecessor_id) == (handle.job_id,) * 3
        assert job.seed == (await k.jobs.get(handle.job_id)).seed
        assert (await types(handle))[-1] == "job.failed"  # its journal has ended and stays so
        ids = {event.operation_id for event in await journal(retry) if event.operation_id}
        assert {one.partition(":")[0] for one in ids} == {handle.job_id}


async def test_a_job_has_one_successor_and_a_second_retry_gives_the_living_head() -> None:
    world = World()
    gate = asyncio.Event()

    async def operator(context: OperatorContext, given: Any) -> Any:
        if world.done:  # a retry: it lives until everybody has asked
            await gate.wait()
        return await context.step(world.act, "pay")

    async with kernel(operators=[operator]) as k:
        handle = await failed(k, "operator")
        retries = await asyncio.gather(*(k.retry(handle.job_id) for _ in range(10)))
        assert len({retry.job_id for retry in retries}) == 1
        gate.set()
        with pytest.raises(JobFailed):
            await retries[0].result(timeout=BOUND)
        world.mend()
        again = await k.retry(handle.job_id)  # the head has ended: that is retried
        assert again.job_id != retries[0].job_id
        await again.result(timeout=BOUND)
        assert [job.job_id for job in await k.jobs.list(JobFilter(chain_id=handle.job_id))] == [
            again.job_id,
            retries[0].job_id,
            handle.job_id,
        ]
        assert (await k.retry(handle.job_id)).job_id == again.job_id
        with pytest.raises(InvalidTransition, match="succeeded"):
            await k.retry(again.job_id)


async def test_handles_follow_for_result_status_and_cancel_and_events_stay() -> None:
    world = World()

    async def waiting(context: OperatorContext, given: Any) -> Any:
        await context.step(world.act, "pay")
        await context.sleep(3600)

    async with kernel(operators=[waiting]) as k:
        handle = await failed(k, "waiting")
        world.mend()
        await k.retry(handle.job_id)
        await status_becomes(handle, "sleeping")
        assert [event.type async for event in handle.events()][-1] == "job.failed"
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)


async def test_the_key_of_a_failed_job_starts_it_again_when_it_is_asked_to() -> None:
    world = World()
    async with kernel(operators=[paying(world)]) as k:
        request = ExecutionRequest(operator="operator", idempotency_key="k")
        handle = await k.execute(request)
        with pytest.raises(JobFailed):
            await handle.result(timeout=BOUND)
        same = await k.execute(request)
        assert same.job_id == handle.job_id
        world.mend()
        anew = ExecutionRequest(operator="operator", idempotency_key="k", retry_failed=True)
        handles = await asyncio.gather(*(k.execute(anew) for _ in range(5)))
        assert len({each.job_id for each in handles}) == 1
        assert (await same.result(timeout=BOUND)).output[1] == "pay"
        assert (await k.execute(request)).job_id == handles[0].job_id
        assert world.done.count("pay") == 2


async def test_failures_that_the_code_caught_stay_as_recorded() -> None:
    world = World()
    world.broken = {"mail", "pay"}

    async def operator(context: OperatorContext, given: Any) -> Any:
        try:
            await context.step(world.act, "mail")
        except StepFailed:
            mailed = False
        return [mailed, await context.step(world.act, "pay")]

    async with kernel(operators=[operator]) as k:
        handle = await failed(k, "operator")
        world.mend()
        assert (await (await k.retry(handle.job_id)).result(timeout=BOUND)).output == [False, "pay"]
        assert world.done == ["mail", "pay", "pay"]


async def test_effects_that_followed_the_failure_are_listed_and_need_a_place_to_start_from() -> None:
    world = World()

    async def operator(context: OperatorContext, given: Any) -> Any:
        await context.step(world.act, "pack", effect="idempotent")
        try:
            await context.step(world.act, "pay")
        except StepFailed:
            await context.step(world.act, "look", effect="read")
            await context.step(world.act, "refund", name="refund")
            raise
        return "paid"

    async with kernel(operators=[operator]) as k:
        handle = await failed(k, "operator")
        with pytest.raises(RetryRefused, match=r"step 'refund' at 4.*from_step"):
            await k.retry(handle.job_id)
        with pytest.raises(InvalidInput, match="no step"):
            await k.retry(handle.job_id, from_step="nothing")
        world.mend()
        retry = await k.retry(handle.job_id, from_step="2")
        assert (await retry.result(timeout=BOUND)).output == "paid"
        assert world.done == ["pack", "pay", "look", "refund", "pay"]


async def test_pure_and_read_steps_that_followed_the_failure_are_no_obstacle() -> None:
    world = World()

    async def operator(context: OperatorContext, given: Any) -> Any:
        try:
            await context.step(world.act, "pay")
        except StepFailed:
            await context.step(world.act, "look", effect="read")
            raise
        return await context.step(world.act, "ship")

    async with kernel(operators=[operator]) as k:
        handle = await failed(k, "operator")
        world.mend()
        assert (await (await k.retry(handle.job_id)).result(timeout=BOUND)).output == "ship"


async def test_without_a_failed_operation_everything_is_recalled() -> None:
    """The operator itself was wrong; a deploy has mended it."""
    world = World()
    world.broken = {"code"}

    async def operator(context: OperatorContext, given: Any) -> Any:
        await context.step(world.act, "pack")
        if world.broken:
            raise ValueError("a mistake")
        return await context.step(world.act, "ship")

    async with kernel(operators=[operator]) as k:
        handle = await failed(k, "operator")
        assert "failed_at" not in (await journal(handle))[-1].data
        world.mend()
        assert (await (await k.retry(handle.job_id)).result(timeout=BOUND)).output == "ship"
        assert world.done == ["pack", "ship"]


async def test_a_failed_model_call_is_made_anew_and_both_are_billed_to_their_own_jobs() -> None:
    async def operator(context: OperatorContext, given: Any) -> Any:
        return (await context.model(asking())).content

    provider = ScriptedProvider([InvalidRequest("no", status=400), "yes"])
    engine = ExecutionEngine(provider, retry=RetryConfig(attempts=1))
    async with kernel(engine=engine, operators=[operator], retry=RetryPolicy.none()) as k:
        handle = await failed(k, "operator")
        retry = await k.retry(handle.job_id)
        assert (await retry.result(timeout=BOUND)).output == "yes"
        entries = await k.ledger.entries()
        assert [(entry.job_id, entry.entry_id) for entry in entries] == [
            (handle.job_id, f"{handle.job_id}:1#1"),
            (retry.job_id, f"{retry.job_id}:1#1"),
        ]


async def test_branches_that_a_failure_ended_are_taken_up_again() -> None:
    world = World()

    async def branch(context: OperatorContext, *names: str) -> list[str]:
        return [await context.step(world.act, name, name=name) for name in names]

    async def asking_too(context: OperatorContext) -> Any:
        await context.action(ActionSpec(type="input"))
        return await context.step(world.act, "after the answer")

    async def operator(context: OperatorContext, given: Any) -> Any:
        return await context.gather(branch(context, "pay", "ship"), asking_too(context))

    async with kernel(operators=[operator]) as k:
        handle = await failed(k, "operator")
        world.mend()
        retry = await k.retry(handle.job_id)
        question = await pending(retry)
        await retry.resolve_action(question.action_id, {"value": 1})
        assert (await retry.result(timeout=BOUND)).output == [["pay", "ship"], "after the answer"]
        assert world.done == ["pay", "pay", "ship", "after the answer"]


async def test_a_child_that_failed_is_retried_itself_and_one_that_succeeded_is_recalled() -> None:
    world = World()

    async def child(context: OperatorContext, given: str) -> Any:
        await context.step(world.act, f"begin {given}")
        return await context.step(world.act, given)

    async def parent(context: OperatorContext, given: Any) -> Any:
        await context.child("child", "pack")
        await context.child("child", "pay")
        return "all"

    async with kernel(operators=[child, parent]) as k:
        handle = await failed(k, "parent")
        children = {job.job_id: job for job in await k.jobs.list(JobFilter(operator="child"))}
        world.mend()
        retry = await k.retry(handle.job_id)
        assert (await retry.result(timeout=BOUND)).output == "all"
        assert world.done == ["begin pack", "pack", "begin pay", "pay", "pay"]
        (new,) = [job for job in await k.jobs.list(JobFilter(operator="child")) if job.job_id not in children]
        assert new.predecessor_id in children
        assert (new.parent_job_id, new.depth) == (retry.job_id, 1)


@pytest.mark.parametrize("broken", ["pay ann", "ship"])
async def test_a_child_is_not_retried_where_a_person_has_now_said_something_else(broken: str) -> None:
    world = World()
    world.broken = {broken}

    async def pay(context: OperatorContext, given: str) -> Any:
        return await context.step(world.act, f"pay {given}", effect="idempotent")

    async def parent(context: OperatorContext, given: Any) -> Any:
        answer = await context.action(ActionSpec(type="input", payload={}))
        paid = (await context.child("pay", (answer.resolution or {})["value"])).output_data
        await context.step(world.act, "ship", effect="idempotent")
        return paid

    async with kernel(operators=[pay, parent]) as k:
        handle = await k.execute(ExecutionRequest(operator="parent"))
        await handle.resolve_action((await pending(handle)).action_id, {"value": "ann"})
        with pytest.raises(JobFailed):
            await handle.result(timeout=BOUND)
        (asked,) = [event for event in await journal(handle) if event.type == "action.required"]
        world.mend()
        retry = await k.retry(handle.job_id, from_step=asked.operation_id)
        await retry.resolve_action((await pending(retry)).action_id, {"value": "bob"})
        await retry.result(timeout=BOUND)
    assert world.done.count("pay ann") == 1
    assert world.done.count("pay bob") == 1


@pytest.mark.parametrize("called", ["pay", "send"])
async def test_a_model_that_is_asked_anew_gets_no_results_of_its_earlier_calls(called: str) -> None:
    world = World()
    world.broken = {"ship"}

    @tool(effect="idempotent", requires_approval=True)
    async def pay(to: str) -> str:
        return world.act(f"pay {to}")

    @tool(effect="idempotent")
    async def send(to: str) -> str:
        return world.act(f"send {to}")

    answers = [[ToolCall("1", "pay", {"to": "ann"})], "paid", [ToolCall("1", called, {"to": "bob"})], "done"]
    agent = Agent(provider=ScriptedProvider(answers), tools=[pay, send])

    async def operator(context: OperatorContext, given: Any) -> Any:
        messages = (await agent.run("go")).messages
        await context.step(world.act, "ship", effect="idempotent")
        return messages[-2].text

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await handle.resolve_action((await pending(handle)).action_id, {"approved": True})
        with pytest.raises(JobFailed):
            await handle.result(timeout=BOUND)
        first = next(event for event in await journal(handle) if event.type == "model.completed")
        world.mend()
        retry = await k.retry(handle.job_id, from_step=first.operation_id)
        if called == "pay":
            question = await pending(retry)
            assert question.payload["arguments"] == {"to": "bob"}
            await retry.resolve_action(question.action_id, {"approved": True})
        assert (await retry.result(timeout=BOUND)).output == f"{called} bob"
    assert world.done == ["pay ann", "ship", f"{called} bob", "ship"]


async def test_a_child_that_ended_with_the_job_is_retried_too() -> None:
    world = World()
    begun = asyncio.Event()

    async def begin() -> None:
        world.act("begin")
        begun.set()

    async def child(context: OperatorContext, given: Any) -> Any:
        await context.step(begin)
        await context.sleep(3600)

    async def failing(context: OperatorContext) -> Any:
        await context.step(begun.wait, effect="read")
        return await context.step(world.act, "pay")

    async def parent(context: OperatorContext, given: Any) -> Any:
        await context.gather(context.child("child"), failing(context))
        return "all"

    async with kernel(operators=[child, parent]) as k:
        handle = await failed(k, "parent")
        world.mend()
        retry = await k.retry(handle.job_id)
        await status_becomes(retry, "succeeded", "sleeping", "waiting")
        (new,) = [
            job for job in await k.jobs.list(JobFilter(operator="child")) if job.parent_job_id == retry.job_id
        ]
        timer = [
            event
            for event in await k.storage.events(new.job_id)
            if event.type in ("timer.set", "timer.fired")
        ]
        assert timer  # the sleep goes on to its old end
        assert world.done.count("begin") == 1
        await retry.cancel()


async def test_a_retried_child_does_not_tell_a_parent_that_has_had_its_answer() -> None:
    world = World()

    async def child(context: OperatorContext, given: Any) -> Any:
        return await context.step(world.act, "pay")

    async def parent(context: OperatorContext, given: Any) -> Any:
        with pytest.raises(ChildFailed):
            await context.child("child")
        answered = await context.action(ActionSpec(type="input"))
        return (answered.resolution or {})["value"]

    async with kernel(operators=[child, parent]) as k:
        handle = await k.execute(ExecutionRequest(operator="parent"))
        question = await pending(handle)
        (job,) = await k.jobs.list(JobFilter(operator="child"))
        world.mend()
        retry = await k.retry(job.job_id)
        await retry.result(timeout=BOUND)
        assert (await retry.job()).parent_job_id == handle.job_id
        await handle.resolve_action(question.action_id, {"value": 7})
        assert (await handle.result(timeout=BOUND)).output == 7
        assert (await types(handle)).count("child.ended") == 1


async def test_a_retried_child_of_a_parent_that_has_ended_is_a_root() -> None:
    world = World()

    async def child(context: OperatorContext, given: Any) -> Any:
        return await context.step(world.act, "pay")

    async def parent(context: OperatorContext, given: Any) -> Any:
        with pytest.raises(ChildFailed):
            await context.child("child")

    async with kernel(operators=[child, parent]) as k:
        handle = await k.execute(ExecutionRequest(operator="parent"))
        await handle.result(timeout=BOUND)
        (job,) = await k.jobs.list(JobFilter(operator="child"))
        world.mend()
        retry = await k.retry(job.job_id)
        assert (await retry.result(timeout=BOUND)).output == "pay"
        record = await retry.job()
        assert (record.parent_job_id, record.depth) == (None, 0)


keys: list[str] = []


@tool(effect="idempotent")
async def charge(amount: int, *, ctx: ToolContext) -> str:
    """Charge."""
    keys.append(ctx.idempotency_key)
    if amount < 0 and len(keys) == 1:
        raise ValueError("the service is down")
    return "charged"


@pytest.mark.parametrize(
    ("second", "new_keys", "same"), [(-1, False, True), (-2, False, False), (-1, True, False)]
)
async def test_the_same_operation_has_the_same_key_again(second: int, new_keys: bool, same: bool) -> None:
    """Unless it is asked something else, or somebody wants new keys."""
    keys.clear()
    amounts = [-1, second]

    async def operator(context: OperatorContext, given: Any) -> Any:
        return await context.tool("charge", amount=amounts[len(keys) and 1])

    async with kernel(operators=[operator], tools=[charge]) as k:
        handle = await failed(k, "operator")
        retry = await k.retry(handle.job_id, new_keys=new_keys)
        assert (await retry.result(timeout=BOUND)).output == "charged"
        origin = handle.job_id if same else retry.job_id
        assert keys == [f"{handle.job_id}:1", f"{origin}:1"]


@pytest.mark.parametrize("new_keys", [False, True])
async def test_chance_is_the_same_again_where_keys_are(new_keys: bool) -> None:
    world = World()
    drawn: list[list[str]] = []

    async def operator(context: OperatorContext, given: Any) -> Any:
        before = str(context.uuid())
        try:
            await context.step(world.act, "pay")
        finally:
            drawn.append([before, str(context.uuid())])
        return "paid"

    async with kernel(operators=[operator]) as k:
        handle = await failed(k, "operator")
        world.mend()
        await (await k.retry(handle.job_id, new_keys=new_keys)).result(timeout=BOUND)
        (first, second), (third, fourth) = drawn
        assert first == third
        assert (second == fourth) is not new_keys


async def test_a_sleep_goes_on_to_its_old_end_and_a_question_is_asked_anew() -> None:
    world = World()
    clock = FakeClock()

    async def sleeping(context: OperatorContext) -> None:
        await context.sleep(3600)

    async def asked(context: OperatorContext) -> Any:
        return (await context.action(ActionSpec(type="input"))).resolution

    async def failing(context: OperatorContext, given: Any) -> Any:
        async def breaks() -> Any:
            await context.sleep(60)
            return await context.step(world.act, "pay")

        return await context.gather(sleeping(context), asked(context), breaks())

    async with kernel(operators=[failing], clock=clock) as k:
        handle = await k.execute(ExecutionRequest(operator="failing"))
        question = await pending(handle)
        clock.move(seconds=61)
        with pytest.raises(JobFailed):
            await handle.result(timeout=BOUND)
        world.mend()
        clock.move(seconds=600)
        retry = await k.retry(handle.job_id)
        again = await pending(retry)
        assert again.action_id != question.action_id
        due = await k.storage.next_timer()
        assert due is not None
        assert due - clock.now() == timedelta(seconds=3600 - 661)
        await retry.resolve_action(again.action_id, {"value": 1})
        clock.move(seconds=3600)
        assert (await retry.result(timeout=BOUND)).output == [None, {"value": 1}, "pay"]


async def test_a_question_about_a_lost_effect_moves_to_the_successor() -> None:
    world = World()
    begun = asyncio.Event()

    async def deploy() -> str:
        begun.set()
        await asyncio.sleep(3600)
        return "deployed"

    async def operator(context: OperatorContext, given: Any) -> Any:
        return [await context.step(deploy), await context.step(world.act, "ship")]

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await begun.wait()
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
        (question,) = await k.actions.list_pending(job_id=handle.job_id)
        retry = await k.retry(handle.job_id)
        (moved,) = await k.actions.list_pending()
        assert (moved.action_id, moved.job_id) == (question.action_id, retry.job_id)
        await status_becomes(retry, "waiting_action")
        await k.actions.resolve_by_id(
            moved.action_id, {"outcome": "done", "result": "deployed"}, resolved_by="ann"
        )
        assert (await retry.result(timeout=BOUND)).output == ["deployed", "ship"]
        assert not await k.actions.list_pending()


async def test_an_answer_that_came_between_the_end_and_the_retry_counts() -> None:
    World()
    begun = asyncio.Event()

    async def deploy() -> str:
        begun.set()
        await asyncio.sleep(3600)
        return "deployed"

    async def operator(context: OperatorContext, given: Any) -> Any:
        return await context.step(deploy)

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await begun.wait()
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
        (question,) = await k.actions.list_pending(job_id=handle.job_id)
        await k.actions.resolve_by_id(
            question.action_id, {"outcome": "done", "result": "deployed"}, resolved_by="a"
        )
        assert (await (await k.retry(handle.job_id)).result(timeout=BOUND)).output == "deployed"


async def test_before_an_unsafe_effect_is_repeated_somebody_is_asked() -> None:
    world = World()
    world.broken = {"ship"}

    async def operator(context: OperatorContext, given: Any) -> Any:
        return [
            await context.step(world.act, "pay", name="pay"),
            await context.step(world.act, "note", name="note", effect="idempotent"),
            await context.step(world.act, "ship", name="ship"),
        ]

    async with kernel(operators=[operator]) as k:
        handle = await failed(k, "operator")
        world.mend()
        retry = await k.retry(handle.job_id, from_step="pay")
        question = await pending(retry)
        assert (question.type, question.payload["operation_id"]) == ("reconcile", f"{handle.job_id}:1")
        await retry.resolve_action(question.action_id, {"outcome": "retry"})
        assert (await retry.result(timeout=BOUND)).output == ["pay", "note", "ship"]
        assert world.done == ["pay", "note", "ship", "pay", "note", "ship"]


async def test_limits_count_from_the_retry_and_what_was_spent_stays_spent() -> None:
    world = World()
    clock = FakeClock()

    async def operator(context: OperatorContext, given: Any) -> Any:
        await context.step(slowly, effect="read")
        await context.step(world.act, "pay")
        await context.step(slowly, effect="read", name="more")
        return "paid"

    async def slowly() -> None:
        clock.move(seconds=6)

    async with kernel(operators=[operator], clock=clock) as k:
        handle = await failed(k, "operator", budgets=BudgetSpec(max_runtime_seconds=10), deadline_seconds=300)
        clock.move(seconds=1000)
        world.mend()
        retry = await k.retry(handle.job_id, budgets=BudgetSpec(max_runtime_seconds=9, max_turns=2))
        assert (await retry.result(timeout=BOUND)).output == "paid"
        job = await retry.job()
        assert job.deadline is not None
        assert job.deadline - job.created_at == timedelta(seconds=300)
        assert job.budgets == BudgetSpec(max_runtime_seconds=9, max_turns=2)


async def test_a_job_whose_content_is_gone_cannot_be_retried() -> None:
    world = World()
    async with kernel(operators=[paying(world)]) as k:
        handle = await failed(k, "operator")
        await k.storage.prune_content(before=k.clock.now() + timedelta(days=1))
        with pytest.raises(ContentPruned):
            await k.retry(handle.job_id)


async def test_a_successor_survives_the_job_that_it_retries() -> None:
    world = World()
    async with kernel(operators=[paying(world)]) as k:
        handle = await failed(k, "operator")
        world.mend()
        retry = await k.retry(handle.job_id)
        await retry.result(timeout=BOUND)
        with pytest.raises(InvalidTransition):
            await k.retry(retry.job_id)
        assert (await k.handle(handle.job_id, scope_id="default").result(timeout=BOUND)).output[1] == "pay"


async def test_a_child_that_nobody_had_waited_for_yet_is_retried_where_it_was_started() -> None:
    world = World()

    async def child(context: OperatorContext, given: object) -> str:
        answer = await context.action(ActionSpec(type="confirm"))
        return str((answer.resolution or {})["confirmed"])

    async def operator(context: OperatorContext, given: object) -> list[Any]:
        started = await context.start_child("child")
        first = await context.step(world.act, "pack", effect="read")
        return [first, await context.step(world.act, "pay"), (await started.result()).output]

    async with kernel(operators=[operator, child]) as k:
        handle = await failed(k, "operator")

        async def all_ended() -> bool:  # the child, too: its question is not the one that is answered below
            return all(job.status.is_terminal for job in await k.jobs.list(JobFilter(limit=10)))

        await until(all_ended)
        world.mend()
        retry = await k.retry(handle.job_id)
        question = (await until(k.actions.list_pending))[0]
        await k.actions.resolve_by_id(question.action_id, {"confirmed": True})
        assert (await retry.result(timeout=BOUND)).output == ["pack", "pay", "True"]
        assert world.done == ["pack", "pay", "pay"]
