"""What may begin when a journal is followed again: nothing below what has happened since."""

import asyncio
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ExecutionRequest,
    JobFailed,
    NondeterminismError,
    OperatorContext,
    StepFailed,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from support.kernels import BOUND, DOOMED, kernel, pending, status_becomes, types
from support.operators import identity

pytestmark = pytest.mark.timeout(BOUND * 3)


class Deeds:
    """Effects that were done, in their order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def do(self, what: str) -> str:
        self.done.append(what)
        return what


async def crashed(storage: Any, operators: Any, chosen: Any, *, moment: Any = "before") -> str:
    """Run a job until its process dies at a commit; return its id."""
    dying = DyingStorage(storage, chosen, moment=moment)
    doomed = kernel(dying, operators=operators, options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="operator"))
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    return handle.job_id


async def test_a_branch_that_was_stopped_by_anothers_failure_stays_stopped_on_every_resume() -> None:
    """a fails, b is stopped before `ship`, the operator refunds and sleeps: the resume must not ship."""
    deeds, packing, failed = Deeds(), asyncio.Event(), asyncio.Event()

    async def pack() -> None:
        packing.set()
        await failed.wait()
        await asyncio.sleep(0.3)  # the failure is on record by then
        deeds.do("pack")

    async def broken() -> None:
        await packing.wait()
        failed.set()
        raise ValueError("out of stock")

    async def shipping(context: OperatorContext) -> None:
        await context.step(pack)
        await context.step(deeds.do, "ship", name="ship")

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.gather(context.step(broken), shipping(context))
        except StepFailed:
            await context.step(deeds.do, "refund", name="refund")
            await context.action(ActionSpec(type="confirm"))
        return "refunded"

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
        assert (await types(handle)).count("branch.failed") == 1
    async with kernel(storage, operators=[operator]) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(action.action_id, {"confirmed": True})
        assert (await handle.result(timeout=BOUND)).output == "refunded"
    assert deeds.done == ["pack", "refund"]


async def test_a_branch_below_a_stopped_one_begins_nothing_either() -> None:
    deeds, inside, failed = Deeds(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        inside.set()
        await failed.wait()
        await asyncio.sleep(0.3)  # the failure is on record by then

    async def broken() -> None:
        await inside.wait()
        failed.set()
        raise ValueError("broken")

    async def nested(context: OperatorContext) -> None:
        await context.step(slow, effect="read")
        await context.step(deeds.do, "nested", name="nested")

    async def around(context: OperatorContext) -> None:
        await context.gather(nested(context))

    async def operator(context: OperatorContext, given: object) -> str:
        with pytest.raises(StepFailed):
            await context.gather(context.step(broken), around(context))
        return "failed"

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await handle.result(timeout=BOUND)).output == "failed"
    assert deeds.done == []


@pytest.mark.parametrize("inserted", ["step", "uuid", "random", "now", "gather", "patched gather"])
async def test_what_a_deploy_inserts_before_a_finished_step_does_not_repeat_it(inserted: str) -> None:
    deeds = Deeds()

    def version(new: bool) -> Any:
        async def operator(context: OperatorContext, given: object) -> str:
            if new:
                match inserted:
                    case "step":
                        await context.step(deeds.do, "new", name="new")
                    case "uuid":
                        context.uuid()
                    case "random":
                        context.random()
                    case "now":
                        context.now()
                    case "gather":
                        await context.gather(context.step(deeds.do, "new", name="new"))
                    case _ if context.patched("more"):
                        await context.gather(context.step(deeds.do, "new", name="new"))
            await context.step(deeds.do, "pay", name="pay")
            await context.action(ActionSpec(type="confirm"))
            return "done"

        return {"operator": operator}

    storage = MemoryStorage()
    async with kernel(storage, operators=version(False)) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=version(True)) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(action.action_id, {"confirmed": True})
        if inserted == "patched gather":
            assert (await handle.result(timeout=BOUND)).output == "done"
        else:
            await status_becomes(handle, "blocked")
            assert (await handle.job()).error_code == "NONDETERMINISM"
    assert deeds.done == ["pay"]


async def test_a_step_that_is_taken_out_and_comes_back_is_not_done_below_what_came_after() -> None:
    """The journal has 1 and 2; new code takes 2 away and asks for another thing after 1."""
    deeds = Deeds()

    def version(new: bool) -> Any:
        async def branch(context: OperatorContext) -> None:
            if new:
                await context.step(deeds.do, "late", name="late")

        async def operator(context: OperatorContext, given: object) -> str:
            await context.gather(branch(context))
            await context.step(deeds.do, "pay", name="pay")
            await context.action(ActionSpec(type="confirm"))
            return "done"

        return {"operator": operator}

    storage = MemoryStorage()
    async with kernel(storage, operators=version(False)) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=version(True)) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(action.action_id, {"confirmed": True})
        await status_becomes(handle, "blocked")
    assert deeds.done == ["pay"]


@pytest.mark.parametrize(("effect", "status"), [("unsafe", "blocked"), ("read", "succeeded")])
async def test_a_step_with_a_key_is_refused_late_only_when_it_must_not_be_done_unasked(
    effect: Any, status: str
) -> None:
    deeds = Deeds()

    def version(new: bool) -> Any:
        async def operator(context: OperatorContext, given: object) -> str:
            if new:
                await context.step(deeds.do, "keyed", name="keyed", key="k", effect=effect)
            await context.step(deeds.do, "pay", name="pay")
            await context.action(ActionSpec(type="confirm"))
            return "done"

        return {"operator": operator}

    storage = MemoryStorage()
    async with kernel(storage, operators=version(False)) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=version(True)) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(action.action_id, {"confirmed": True})
        await status_becomes(handle, status)
    assert deeds.done == (["pay"] if status == "blocked" else ["pay", "keyed"])


async def test_patched_in_a_loop_is_decided_once_for_the_job() -> None:
    def version(new: bool) -> Any:
        async def operator(context: OperatorContext, given: object) -> list[str]:
            seen = []
            for number in range(4):
                name = "new" if new and context.patched("rename") else "old"
                seen.append(await context.step(identity, f"{name}{number}", name=name))
                if number % 2:
                    await context.action(ActionSpec(type="confirm"))
            return seen

        return {"operator": operator}

    async def confirmed(k: Any, job_id: str) -> None:
        action = await pending(k.handle(job_id))
        await status_becomes(k.handle(job_id), "waiting_action")
        await k.handle(job_id).resolve_action(action.action_id, {"confirmed": True})

    storage = MemoryStorage()
    async with kernel(storage, operators=version(False)) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=version(True)) as k:
        await confirmed(k, handle.job_id)
        new = await k.execute(ExecutionRequest(operator="operator"))
        await confirmed(k, new.job_id)
        await confirmed(k, handle.job_id)
        await confirmed(k, new.job_id)
        old_result = await k.handle(handle.job_id).result(timeout=BOUND)
        assert old_result.output == ["old0", "old1", "old2", "old3"]
        assert (await new.result(timeout=BOUND)).output == ["new0", "new1", "new2", "new3"]


@pytest.mark.parametrize("swallowing", ["except", "return_exceptions"])
async def test_code_that_does_not_fit_its_journal_stops_whatever_it_catches(swallowing: str) -> None:
    deeds = Deeds()

    def version(name: str) -> Any:
        async def operator(context: OperatorContext, given: object) -> str:
            if swallowing == "except":
                try:
                    await context.step(deeds.do, "first", name=name)
                except Exception:
                    await asyncio.sleep(0)
            else:
                await context.gather(context.step(deeds.do, "first", name=name), return_exceptions=True)
            await context.action(ActionSpec(type="confirm"))
            await context.step(deeds.do, "wrong", name="wrong")
            return "done"

        return {"operator": operator}

    storage = MemoryStorage()
    async with kernel(storage, operators=version("old")) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=version("new")) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(action.action_id, {"confirmed": True})
        await status_becomes(handle, "blocked")
        assert (await handle.job()).error_code == "NONDETERMINISM"
    assert deeds.done == ["first"]
    async with kernel(storage, operators=version("old")) as k:
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == "done"
    assert deeds.done == ["first", "wrong"]


async def test_two_steps_at_once_fail_the_job_although_its_code_catches_it() -> None:
    async def operator(context: OperatorContext, given: object) -> str:
        results = await asyncio.gather(
            context.step(asyncio.sleep, 0.01), context.step(asyncio.sleep, 0.01), return_exceptions=True
        )
        assert any(isinstance(one, Exception) for one in results)
        return "succeeded on a wrong path"

    async with kernel(operators=[operator]) as k:
        with pytest.raises(JobFailed, match=r"context\.gather") as caught:
            await (await k.execute(ExecutionRequest(operator="operator"))).result(timeout=BOUND)
    assert caught.value.error_code == "CONCURRENT_STEPS"


async def test_two_branches_may_wait_for_one_answer() -> None:
    async def operator(context: OperatorContext, given: object) -> list[Any]:
        action = await context.open_action(ActionSpec(type="input"))

        async def asked() -> Any:
            return (await context.await_action(action)).resolution

        return await context.gather(asked(), asked())

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await handle.resolve_action(action.action_id, {"value": 1})
        assert (await handle.result(timeout=BOUND)).output == [{"value": 1}, {"value": 1}]
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
        await handle.resolve_action(action.action_id, {"value": 2})
        assert (await handle.result(timeout=BOUND)).output == [{"value": 2}, {"value": 2}]


async def test_a_second_waiter_that_comes_when_the_answer_is_there_gets_it_too() -> None:
    """One branch gets the answer and works on; the other begins to wait for it only then."""

    async def operator(context: OperatorContext, given: object) -> list[Any]:
        action = await context.open_action(ActionSpec(type="input"))
        answered = asyncio.Event()

        async def first() -> Any:
            resolution = (await context.await_action(action)).resolution
            answered.set()
            await context.sleep(0.02)
            return resolution

        async def second() -> Any:
            await answered.wait()
            return (await context.await_action(action)).resolution

        return await context.gather(first(), second())

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await handle.resolve_action(action.action_id, {"value": 1})
        assert (await handle.result(timeout=BOUND)).output == [{"value": 1}] * 2


async def test_questions_timers_and_children_of_a_stopped_branch_are_withdrawn() -> None:
    started = asyncio.Event()

    async def child(context: OperatorContext, given: object) -> None:
        started.set()
        await context.action(ActionSpec(type="input"))

    async def broken() -> None:
        await started.wait()
        await asyncio.sleep(0.05)
        raise ValueError("broken")

    async def operator(context: OperatorContext, given: object) -> str:
        with pytest.raises(StepFailed):
            await context.gather(
                context.step(broken),
                context.action(ActionSpec(type="confirm")),
                context.sleep(3600),
                context.child("child"),
            )
        await context.action(ActionSpec(type="approval"))
        return "done"

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator, child]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await status_becomes(handle, "waiting_action")
        (job,) = [job for job in await k.jobs.list() if job.parent_job_id == handle.job_id]
        await status_becomes(k.handle(job.job_id), "cancelled")
        (question,) = await k.actions.list_pending()
        assert question.type == "approval"
        assert await storage.next_timer() is None
    async with kernel(storage, operators=[operator, child]) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(question.action_id, {"approved": True})
        assert (await handle.result(timeout=BOUND)).output == "done"
        assert (await types(handle)).count("wait.withdrawn") == 3


async def test_a_child_that_was_said_to_be_kept_outlives_a_stopped_branch_and_its_parent() -> None:
    async def child(context: OperatorContext, given: object) -> str:
        return str((await context.action(ActionSpec(type="input"))).resolution)

    async def broken() -> None:
        raise ValueError("broken")

    async def starting(context: OperatorContext) -> None:
        await context.start_child("child", on_parent_end="keep")
        await context.step(broken)

    async def operator(context: OperatorContext, given: object) -> None:
        await context.gather(starting(context))

    async with kernel(operators=[operator, child]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        with pytest.raises(JobFailed):
            await handle.result(timeout=BOUND)
        (job,) = [job for job in await k.jobs.list() if job.parent_job_id == handle.job_id]
        action = await pending(k.handle(job.job_id))
        await k.handle(job.job_id).resolve_action(action.action_id, {"value": "kept"})
        assert "kept" in (await k.handle(job.job_id).result(timeout=BOUND)).output


async def test_a_crash_while_a_sibling_of_a_failed_branch_works_lets_it_begin_nothing_more() -> None:
    """The failure is on record; the process dies inside the other branch's step, before the operator goes on."""
    deeds, packing, failed = Deeds(), asyncio.Event(), asyncio.Event()

    async def pack() -> None:
        packing.set()
        await failed.wait()
        await asyncio.sleep(0.3)  # the failure is on record by then

    async def broken() -> None:
        await packing.wait()
        failed.set()
        raise ValueError("out of stock")

    async def shipping(context: OperatorContext) -> None:
        await context.step(pack, effect="idempotent")
        await context.step(deeds.do, "ship", name="ship")

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.gather(context.step(broken, effect="idempotent"), shipping(context))
        except StepFailed:
            await context.step(deeds.do, "refund", name="refund")
        return "refunded"

    storage = MemoryStorage()
    job_id = await crashed(storage, [operator], commit_of("step.started", "refund"))
    assert "branch.failed" in [event.type for event in await storage.events(job_id)]
    assert deeds.done == []
    async with kernel(storage, operators=[operator]) as k:
        assert (await k.handle(job_id).result(timeout=BOUND)).output == "refunded"
    assert deeds.done == ["refund"]


async def test_a_number_of_branches_that_has_changed_is_refused() -> None:
    def version(count: int) -> Any:
        async def operator(context: OperatorContext, given: object) -> None:
            await context.gather(*(context.step(identity, f"{n}") for n in range(count)))
            await context.action(ActionSpec(type="confirm"))

        return {"operator": operator}

    storage = MemoryStorage()
    async with kernel(storage, operators=version(3)) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=version(2)) as k:
        await k.handle(handle.job_id).resolve_action(action.action_id, {"confirmed": True})
        await status_becomes(k.handle(handle.job_id), "blocked")
        assert (await k.handle(handle.job_id).job()).error_code == NondeterminismError.code


async def test_a_limit_that_ends_a_step_is_its_recorded_outcome_and_no_question() -> None:
    """A budget or a policy refuses a call inside a step: that is known, and the same on every resume."""
    from agent_runtime import BudgetExceededError

    runs: list[str] = []

    async def limited() -> None:
        runs.append("limited")
        raise BudgetExceededError("nothing is left")

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.step(limited)
        except BudgetExceededError as error:
            await context.action(ActionSpec(type="confirm"))
            return str(error)
        return "not refused"

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=[operator]) as k:
        await k.handle(handle.job_id).resolve_action(action.action_id, {"confirmed": True})
        assert (await k.handle(handle.job_id).result(timeout=BOUND)).output == "nothing is left"
    assert runs == ["limited"]
