"""The schedules that break a naive durable core, each played exactly."""

import asyncio
import dataclasses
import logging
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
    ResultNotSerializable,
    StepFailed,
    current_context,
)
from agent_runtime.kernel.branch import CURRENT_BRANCH
from agent_runtime.ports.clock import SystemClock
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from agent_runtime.values.event import TERMINAL_TYPES
from llm_client import Agent, ConcurrencyMiddleware, ExecutionEngine, FunctionProvider, ScriptedProvider, tool
from llm_client.messages import Message, ToolCall
from llm_client.spec import RequestSpec
from support.hooked_storage import HookedStorage
from support.kernels import (
    BOUND,
    DOOMED,
    QUICK,
    journal,
    kernel,
    opened,
    pending,
    status_becomes,
    types,
    until,
)

pytestmark = pytest.mark.timeout(BOUND * 3)


def asking(text: str = "?") -> RequestSpec:
    return RequestSpec(messages=[Message.user(text)])


# -- ownership, fences, signals ----------------------------------------------------------------------------------


async def test_an_approval_for_a_job_inside_a_paid_call_neither_loses_nor_repeats_the_call() -> None:
    """Branch A waits for a person, branch B is inside a call; the answer must not let a second worker in."""
    calls, inside, release = 0, asyncio.Event(), asyncio.Event()

    async def model(spec: RequestSpec) -> str:
        nonlocal calls
        calls += 1
        inside.set()
        await release.wait()
        return "answer"

    async def both(context: OperatorContext, given: object) -> list[object]:
        asked, told = await context.gather(
            context.action(ActionSpec(type="confirm")), context.model(asking())
        )
        return [asked.resolution["confirmed"], told.content]

    storage = MemoryStorage()
    async with kernel(storage, operators=[both], engine=ExecutionEngine(FunctionProvider(model))) as k:
        handle = await k.execute(ExecutionRequest(operator="both"))
        await inside.wait()
        await handle.resolve_action((await pending(handle)).action_id, {"confirmed": True})
        assert await storage.claim(handle.job_id, owner="second", at=SystemClock().now()) is None
        release.set()
        assert (await handle.result()).output == [True, "answer"]
        assert calls == 1
        assert len(await k.ledger.entries(job_id=handle.job_id)) == 1


async def test_a_resolution_that_arrives_while_the_job_suspends_wakes_it() -> None:
    """The executor has seen no answer; the resolver commits and sees `running`; the executor suspends: nobody wakes."""
    storage = MemoryStorage()

    async def resolve() -> None:
        (action,) = await storage.list_actions()
        await resolver.actions.resolve_by_id(action.action_id, {"value": 42})

    resolver = kernel(storage, worker=False)
    hooked = HookedStorage(storage, commit_of("job.suspended"), resolve)
    async with kernel(hooked, operators=[ask]) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        assert (await handle.result(timeout=BOUND)).output == 42
        assert hooked.called
        assert "job.suspended" not in await types(handle)


async def test_an_answer_folded_while_the_job_turns_idle_is_not_suspended_upon() -> None:
    """The idle clock runs out while the signals are being folded: the answered branch is live again at once."""
    storage = SlowFolding()
    async with kernel(storage, operators=[ask]) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        await handle.resolve_action((await pending(handle)).action_id, {"value": 1})
        assert (await handle.result(timeout=BOUND)).output == 1


class SlowFolding(MemoryStorage):
    """A storage that takes longer to fold than a job may idle in memory."""

    async def fold(self, job_id: str, *, fence: int, at: Any) -> Any:
        await asyncio.sleep(QUICK.suspend_after * 3)
        return await super().fold(job_id, fence=fence, at=at)


async def ask(context: OperatorContext, given: object) -> Any:
    answered = await context.action(ActionSpec(type="input", payload={"q": "how many?"}))
    assert answered.resolution is not None
    return answered.resolution["value"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_restart_goes_on_with_queued_running_and_answered_jobs(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as storage:
        dying = DyingStorage(storage, commit_of("step.completed"), moment="before")
        doomed = kernel(
            dying, operators=[ask, stepping], options=dataclasses.replace(DOOMED, max_concurrency=2)
        )
        asked = await doomed.execute(ExecutionRequest(operator="ask"))
        await status_becomes(asked, "waiting_action")
        running = await doomed.execute(ExecutionRequest(operator="stepping", input="a"))
        async with asyncio.timeout(BOUND):
            await dying.died.wait()
        submitter = kernel(storage, worker=False)
        queued = await submitter.execute(ExecutionRequest(operator="stepping", input="b"))
        await submitter.handle(asked.job_id).resolve_action((await pending(asked)).action_id, {"value": 1})
        await submitter.aclose()
        await bury(doomed, dying, storage)
        async with kernel(storage, operators=[ask, stepping]) as k:
            results = [
                (await k.handle(h.job_id).result(timeout=BOUND)).output for h in (asked, running, queued)
            ]
        assert results == [1, "a", "b"]


def identity(value: str) -> str:
    return value


async def stepping(context: OperatorContext, given: str) -> str:
    return str(await context.step(identity, given, effect="idempotent"))


async def test_a_second_resolver_in_another_kernel_is_refused_and_the_first_answer_counts() -> None:
    storage = MemoryStorage()
    other = kernel(storage, worker=False)
    async with kernel(storage, operators=[ask]) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        action = await pending(handle)
        outcomes = await asyncio.gather(
            *(
                one.actions.resolve_by_id(action.action_id, {"value": number}, resolved_by=f"p{number}")
                for number, one in enumerate([k, other] * 100)
            ),
            return_exceptions=True,
        )
        winners = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert len(winners) == 1
        assert winners[0].resolution == {"value": (await handle.result()).output}


# -- effects -----------------------------------------------------------------------------------------------------


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


async def test_an_outcome_is_on_disk_before_the_operator_sees_it(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as storage, kernel(storage, operators=[looks_itself_up]) as k:
        result = await (await k.execute(ExecutionRequest(operator="looks_itself_up"))).result()
    assert result.output == ["step.completed"] * 3


async def looks_itself_up(context: OperatorContext, given: object) -> list[str]:
    branch = CURRENT_BRANCH.get()
    assert branch is not None
    seen = []
    for number in range(3):
        await context.step(identity, str(number), effect="read")
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
            await context.sleep(0.05)
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
        await context.sleep(0.05)

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
        await context.sleep(0.05)

    async with kernel(operators=[operator]) as k:
        await (await k.execute(ExecutionRequest(operator="operator"))).result()
    assert seen == ["ValueError: no good ValueError"] * 2
    assert runs == 1


# -- determinism -------------------------------------------------------------------------------------------------


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
        return [await context.step(piece, f"{number}{letter}", effect="idempotent") for letter in "ab"]

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
    assert "is asked something else than the journal records" in caplog.text


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


def increment(value: int) -> int:
    return value + 1


async def test_a_journal_without_an_end_fails_and_names_the_remedy() -> None:
    async def endless(context: OperatorContext, given: object) -> None:
        while True:
            await context.step(increment, 1, effect="read")

    async with kernel(operators=[endless], options=dataclasses.replace(QUICK, max_events=50)) as k:
        with pytest.raises(JobFailed, match="continue_as_new") as caught:
            await (await k.execute(ExecutionRequest(operator="endless"))).result()
        assert caught.value.error_code == "JOURNAL_LIMIT"


# -- parents and children ----------------------------------------------------------------------------------------


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


# -- waiting -----------------------------------------------------------------------------------------------------


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


async def test_tokens_are_live_only_and_every_reader_sees_the_same_stored_events() -> None:
    async with kernel(engine=ExecutionEngine(ScriptedProvider(["some words to stream"]))) as k:
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
