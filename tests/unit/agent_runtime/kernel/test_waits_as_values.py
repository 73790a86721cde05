"""Waits as values, sets of them, and children that are started, raced, kept and cancelled."""

from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ChildFailed,
    DurableWait,
    ExecutionRequest,
    InvalidInput,
    JobFailed,
    OperatorContext,
    OperatorResult,
    OrchestrationConfig,
)
from agent_runtime.storage.memory import MemoryStorage
from support.kernels import BOUND, QUICK, journal, kernel, pending, status_becomes, types, until
from support.operators import identity, stepping

pytestmark = pytest.mark.timeout(BOUND * 3)


async def answering(context: OperatorContext, given: str) -> str:
    """Wait for a person and return what they say."""
    answered = await context.action(ActionSpec(type="input", payload={"child": given}))
    return str((answered.resolution or {})["value"])


async def failing(context: OperatorContext, given: object) -> None:
    raise ValueError("child broke")


async def children(k: Any, handle: Any) -> list[Any]:
    """Return the children of a job, the oldest first."""
    jobs = [job for job in await k.jobs.list() if job.parent_job_id == handle.job_id]
    return sorted(jobs, key=lambda job: job.job_id)


async def test_a_wait_is_a_value_until_it_is_awaited() -> None:
    seen: list[tuple[str, bool, bool]] = []

    async def operator(context: OperatorContext, given: object) -> None:
        wait = context.sleep(0.001)
        assert isinstance(wait, DurableWait)
        before = wait.started
        await wait
        seen.append((wait.kind, before, wait.started))

    async with kernel(operators=[operator]) as k:
        await (await k.execute(ExecutionRequest(operator="operator"))).result(timeout=BOUND)
    assert seen == [("timer", False, True)]


async def test_children_that_are_gathered_are_created_in_one_commit() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        results = await context.gather(*(context.child("stepping", f"c{n}") for n in range(5)))
        return [result.output for result in results]

    async with kernel(operators=[operator, stepping]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await handle.result(timeout=BOUND)).output == [f"c{n}" for n in range(5)]
        started = [event for event in await journal(handle) if event.type == "child.started"]
        assert len(started) == 5
        assert len({event.timestamp for event in started}) == 1
        seqs = [event.seq for event in started]
        assert seqs == list(range(seqs[0], seqs[0] + 5))


async def test_waits_that_were_begun_by_themselves_and_waits_in_a_set_have_the_same_places() -> None:
    """So that wrapping a wait in a function of its own is no change of the job's history."""

    def version(wrapped: bool) -> Any:
        async def operator(context: OperatorContext, given: object) -> list[Any]:
            async def alone() -> Any:
                return await context.action(ActionSpec(type="input"))

            first = alone() if wrapped else context.action(ActionSpec(type="input"))
            (answered,) = await context.gather(first)
            return [answered.resolution["value"]]

        return {"operator": operator}

    storage = MemoryStorage()
    async with kernel(storage, operators=version(True)) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=version(False)) as k:
        await k.handle(handle.job_id).resolve_action(action.action_id, {"value": "v"})
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == ["v"]


async def test_wait_all_returns_when_all_have_ended() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        one, slept = await context.wait_all(context.child("answering", "a"), context.sleep(0.01))
        return [one.output, slept]

    async with kernel(operators=[operator, answering]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await status_becomes(handle, "waiting")
        (child,) = await children(k, handle)
        action = await pending(k.handle(child.job_id))
        await k.actions.resolve_by_id(action.action_id, {"value": "yes"})
        assert (await handle.result(timeout=BOUND)).output == ["yes", None]


async def test_wait_all_ends_with_the_first_failure_and_withdraws_the_rest() -> None:
    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.wait_all(context.child("answering", "a"), context.child("failing"))
        except ChildFailed as error:
            await context.action(ActionSpec(type="confirm"))
            return str(error.error_code)
        return "not raised"

    storage = MemoryStorage()
    operators = [operator, answering, failing]
    async with kernel(storage, operators=operators) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await until(lambda: confirmation(k))
        await status_becomes(handle, "waiting_action")
        first, _ = await children(k, handle)
        await status_becomes(k.handle(first.job_id), "cancelled")
    async with kernel(storage, operators=operators) as k:
        await k.actions.resolve_by_id(action.action_id, {"confirmed": True})
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == "EXECUTION_ERROR"


async def confirmation(k: Any) -> Any:
    """Return the pending question for a confirmation, if there is one."""
    return next((one for one in await k.actions.list_pending() if one.type == "confirm"), None)


@pytest.mark.parametrize("suspended", [True, False])
async def test_wait_any_returns_the_first_and_withdraws_the_others(suspended: bool) -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        won = await context.wait_any(
            context.child("answering", "a"), context.child("answering", "b"), context.sleep(3600)
        )
        await context.action(ActionSpec(type="confirm"))
        return [won.winner, won.value.output]

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator, answering]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        first, second = await until(lambda: both(k, handle))
        if suspended:
            await status_becomes(handle, "waiting")
        action = await pending(k.handle(second.job_id))
        await k.actions.resolve_by_id(action.action_id, {"value": "b won"})
        question = await until(lambda: confirmation(k))
        await status_becomes(k.handle(first.job_id), "cancelled")
        await status_becomes(handle, "waiting_action")
        assert await storage.next_timer() is None
    async with kernel(storage, operators=[operator, answering]) as k:
        await k.actions.resolve_by_id(question.action_id, {"confirmed": True})
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == [1, "b won"]


async def both(k: Any, handle: Any) -> Any:
    """Return two children when they are there."""
    found = await children(k, handle)
    return found if len(found) == 2 else None


async def test_of_several_satisfied_waits_the_first_in_the_journal_wins_on_every_run() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        one = await context.open_action(ActionSpec(type="input", payload={"n": 1}))
        two = await context.open_action(ActionSpec(type="input", payload={"n": 2}))
        await context.await_action(one)
        await context.await_action(two)
        won = await context.wait_any(context.sleep(0.2), context.sleep(0.01), context.sleep(0.1))
        await context.action(ActionSpec(type="confirm"))
        return [won.winner]

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        for _ in range(2):
            action = await pending(handle)
            await handle.resolve_action(action.action_id, {"value": 1})
        question = await until(lambda: confirmation(k))
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=[operator]) as k:
        await k.actions.resolve_by_id(question.action_id, {"confirmed": True})
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == [1]


async def test_a_started_child_is_awaited_later_or_cancelled() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        first = await context.start_child("answering", "first")
        second = await context.start_child("answering", "second")
        await second.cancel("not needed")
        result = await first.result()
        assert isinstance(result, OperatorResult)
        with pytest.raises(ChildFailed):
            await second.result()
        return [result.output]

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator, answering]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        first, second = await until(lambda: both(k, handle))
        await status_becomes(k.handle(second.job_id), "cancelled")
        await status_becomes(handle, "waiting")
        action = await pending(k.handle(first.job_id))
        await k.actions.resolve_by_id(action.action_id, {"value": "one"})
        assert (await handle.result(timeout=BOUND)).output == ["one"]
        assert await k.jobs.count() == 3


async def test_a_started_child_that_lost_a_race_goes_on_and_can_be_awaited_again() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        child = await context.start_child("answering", "slow")
        won = await context.wait_any(child.result(), context.sleep(0.02))
        later = await child.result()
        return [won.winner, later.output]

    async with kernel(operators=[operator, answering]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await until(lambda: timer_fired(handle))
        (child,) = await children(k, handle)
        action = await pending(k.handle(child.job_id))
        await k.actions.resolve_by_id(action.action_id, {"value": "late"})
        assert (await handle.result(timeout=BOUND)).output == [1, "late"]


async def timer_fired(handle: Any) -> bool:
    """Whether a timer of the job has fired."""
    return "timer.fired" in await types(handle)


@pytest.mark.parametrize("on_parent_end", ["cancel", "keep"])
async def test_a_started_child_ends_with_its_parent_unless_it_is_kept(on_parent_end: Any) -> None:
    async def operator(context: OperatorContext, given: object) -> str:
        child = await context.start_child("answering", "c", on_parent_end=on_parent_end)
        return str(child.job_id)

    async with kernel(operators=[operator, answering]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        child = k.handle((await handle.result(timeout=BOUND)).output)
        if on_parent_end == "cancel":
            await status_becomes(child, "cancelled")
        else:
            action = await pending(child)
            await child.resolve_action(action.action_id, {"value": "kept"})
            assert (await child.result(timeout=BOUND)).output == "kept"


async def test_what_is_no_wait_or_was_awaited_already_is_refused() -> None:
    async def operator(context: OperatorContext, given: object) -> list[str]:
        said = []
        for waits in ([], [context.step(identity, "x")]):
            try:
                await context.wait_any(*waits)
            except InvalidInput as error:
                said.append(str(error))
        slept = context.sleep(0.001)
        await slept
        try:
            await context.wait_all(slept)
        except InvalidInput as error:
            said.append(str(error))
        return said

    async with kernel(operators=[operator]) as k:
        said = (await (await k.execute(ExecutionRequest(operator="operator"))).result(timeout=BOUND)).output
    assert ["wait_any" in said[0], "context.child" in said[1], "wait_all" in said[2]] == [True] * 3


async def test_a_bare_context_waits_the_same_way() -> None:
    class Quick:
        name = "quick"

        async def execute(self, given: Any, context: OperatorContext) -> str:
            await context.sleep(0.001)
            return f"did {given}"

    context = OperatorContext()
    one, two = await context.gather(context.child(Quick(), "a"), context.sleep(0.001))
    assert (one.output, two) == ("did a", None)
    assert [r.output for r in await context.wait_all(context.child(Quick(), "b"))] == ["did b"]
    won = await context.wait_any(context.sleep(60), context.child(Quick(), "c"))
    assert (won.winner, won.value.output) == (1, "did c")
    started = await context.start_child(Quick(), "d")
    assert (await started.result()).output == "did d"
    async with context.timeout(60):
        await context.sleep(0.001)
    with pytest.raises(TimeoutError):
        async with context.timeout(0.001):
            await context.sleep(60)


async def is_out_of_memory(k: Any, handle: Any) -> bool:
    """Whether the job's run has left this process."""
    return handle.job_id not in k._worker._executor.busy


async def test_one_answer_among_many_children_does_not_end_the_set() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        results = await context.gather(*(context.child("answering", f"{n}") for n in range(3)))
        return [result.output for result in results]

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator, answering]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await status_becomes(handle, "waiting")
        jobs = await children(k, handle)
        for number in (1, 0, 2):
            await until(lambda: is_out_of_memory(k, handle))
            action = await pending(k.handle(jobs[number].job_id))
            await k.actions.resolve_by_id(action.action_id, {"value": str(number)})
            await k.handle(jobs[number].job_id).result(timeout=BOUND)
        assert (await handle.result(timeout=BOUND)).output == ["0", "1", "2"]
        resumed = (await types(handle)).count("job.resumed")
    assert resumed == 1


async def test_a_failing_child_wakes_a_set_that_waits_for_all() -> None:
    async def operator(context: OperatorContext, given: object) -> None:
        await context.gather(context.child("answering", "a"), context.child("answering", "b"))

    async def answering(context: OperatorContext, given: str) -> None:
        await context.action(ActionSpec(type="input"))
        raise ValueError("broke")

    async with kernel(operators=[operator, answering]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await status_becomes(handle, "waiting")
        first, _ = await children(k, handle)
        action = await pending(k.handle(first.job_id))
        await k.actions.resolve_by_id(action.action_id, {"value": "x"})
        with pytest.raises(JobFailed, match="broke"):
            await handle.result(timeout=BOUND)


async def test_the_end_of_a_child_that_nobody_waits_for_yet_wakes_nobody() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        child = await context.start_child("answering", "quick")
        await context.action(ActionSpec(type="confirm"))
        return [(await child.result()).output]

    async with kernel(operators=[operator, answering]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await status_becomes(handle, "waiting_action")
        await until(lambda: is_out_of_memory(k, handle))
        (child,) = await children(k, handle)
        answer = await pending(k.handle(child.job_id))
        await k.actions.resolve_by_id(answer.action_id, {"value": "quick"})
        await k.handle(child.job_id).result(timeout=BOUND)
        await k._worker._changes.sweep()
        await until(lambda: is_out_of_memory(k, handle))
        action = await pending(handle)
        await handle.resolve_action(action.action_id, {"confirmed": True})
        assert (await handle.result(timeout=BOUND)).output == ["quick"]
        assert (await types(handle)).count("job.resumed") == 1


async def test_a_kernel_says_how_far_a_job_may_spread() -> None:
    async def operator(context: OperatorContext, given: int) -> int:
        return len(await context.gather(*(context.child("stepping", str(n)) for n in range(given))))

    limits = OrchestrationConfig(max_child_jobs=3, timeout_seconds=60)
    async with kernel(operators=[operator, stepping], orchestration=limits) as k:
        handle = await k.execute(ExecutionRequest(operator="operator", input=3))
        assert (await handle.result(timeout=BOUND)).output == 3
        assert all(job.deadline is not None for job in await children(k, handle))
        with pytest.raises(JobFailed, match="max_child_jobs = 3"):
            await (await k.execute(ExecutionRequest(operator="operator", input=4))).result(timeout=BOUND)


async def test_a_child_runs_out_of_the_time_that_its_kernel_gives_it() -> None:
    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.child("answering", "slow")
        except ChildFailed as error:
            return str(error.error_code)
        return "in time"

    limits = OrchestrationConfig(timeout_seconds=0.05)
    async with kernel(operators=[operator, answering], orchestration=limits) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await handle.result(timeout=BOUND)).output == "TIMED_OUT"


async def test_children_outlive_a_parent_where_a_kernel_does_not_pass_cancellation_on() -> None:
    async def operator(context: OperatorContext, given: object) -> str:
        return str((await context.start_child("answering", "c")).job_id)

    limits = OrchestrationConfig(propagate_cancellation=False)
    async with kernel(operators=[operator, answering], orchestration=limits) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        child = k.handle((await handle.result(timeout=BOUND)).output)
        action = await pending(child)
        await child.resolve_action(action.action_id, {"value": "kept"})
        assert (await child.result(timeout=BOUND)).output == "kept"


async def test_what_was_won_is_won_again_by_a_run_that_leaves_the_memory_as_soon_as_it_can() -> None:
    """For a moment the losers are all that waits; a run that left then would wait for them for ever."""

    async def operator(context: OperatorContext, given: object) -> int:
        won = await context.wait_any(context.sleep(3600), context.action(ActionSpec(type="input")))
        await context.action(ActionSpec(type="confirm"))
        return won.winner

    async with kernel(operators=[operator], options=replace(QUICK, suspend_after=0.0)) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        for answer in ({"value": 1}, {"confirmed": True}):
            question = await pending(handle)
            await status_becomes(handle, "waiting_action")
            await handle.resolve_action(question.action_id, answer)
        assert (await handle.result(timeout=BOUND)).output == 1


async def test_a_failing_branch_is_seen_before_the_others_waits_let_the_job_leave_the_memory() -> None:
    async def breaks(context: OperatorContext) -> None:
        await context.step(identity, "x")
        raise ValueError("broken")

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.gather(breaks(context), context.sleep(3600))
        except ValueError:
            return "seen"
        return "unseen"

    async with kernel(operators=[operator], options=replace(QUICK, suspend_after=0.0)) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await handle.result(timeout=BOUND)).output == "seen"


class Thrown:
    """Stands for a wait's coroutine, and remembers what is thrown into it."""

    def __init__(self) -> None:
        self.given: list[tuple[object, ...]] = []

    def throw(self, *given: object) -> None:
        self.given.append(given)


def test_an_error_goes_into_a_wait_as_one_value_however_it_is_given() -> None:
    thrown, error = Thrown(), ValueError("late")
    wait: Any = DurableWait("timer", thrown)  # type: ignore[arg-type] -- stands for one
    try:
        raise error
    except ValueError as caught:
        traceback = caught.__traceback__
    wait.throw(error)
    wait.throw(ValueError)
    wait.throw(ValueError, error, traceback)
    wait.throw(ValueError, "late")

    assert thrown.given[0] == (error,)
    assert thrown.given[1] == (ValueError,)
    assert thrown.given[2] == (error,)
    assert error.__traceback__ is traceback
    assert repr(thrown.given[3]) == "(ValueError('late'),)"
