"""What an operator's code sees when its job leaves the memory, and when it is really cancelled."""

import asyncio
import dataclasses
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    BudgetExceededError,
    BudgetSpec,
    ExecutionRequest,
    JobCancelled,
    JobTimedOut,
    OperatorContext,
    RunSuspended,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from support.kernels import BOUND, DOOMED, QUICK, journal, kernel, pending, status_becomes, types
from support.operators import identity

pytestmark = pytest.mark.timeout(BOUND * 3)


async def test_a_suspension_is_no_cancellation_and_no_failure() -> None:
    """`except CancelledError` would give the seat back while the job only waits; `finally` closes what is local."""
    seen: list[str] = []

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.action(ActionSpec(type="confirm"))
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        except Exception:
            seen.append("failed")
            raise
        finally:
            seen.append("closed")
        return "done"

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
        await asyncio.sleep(0.01)
        assert seen == ["closed"]
        await handle.resolve_action(action.action_id, {"confirmed": True})
        assert (await handle.result(timeout=BOUND)).output == "done"
    assert seen == ["closed", "closed"]


async def test_what_is_asked_of_the_context_while_it_suspends_writes_nothing() -> None:
    seen: list[BaseException] = []

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            await context.action(ActionSpec(type="confirm"))
        finally:
            try:
                await context.step(identity, "x")
            except BaseException as error:
                seen.append(error)
                raise

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await pending(handle)
        await status_becomes(handle, "waiting_action")
        await asyncio.sleep(0.01)
        assert (await types(handle))[-1] == "job.suspended"
    assert [type(error) for error in seen] == [RunSuspended]


async def test_a_suspended_branch_beside_another_unwinds_as_one() -> None:
    seen: list[str] = []

    async def waiting(context: OperatorContext, name: str) -> None:
        try:
            await context.action(ActionSpec(type="confirm"))
        except asyncio.CancelledError:
            seen.append(f"{name} cancelled")
            raise
        finally:
            seen.append(f"{name} closed")

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            await context.gather(waiting(context, "a"), waiting(context, "b"), return_exceptions=True)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await status_becomes(handle, "waiting_action")
        await asyncio.sleep(0.02)
    assert sorted(seen) == ["RunSuspended", "a closed", "b closed"]


def seat(released: list[str]) -> Any:
    """Return an operator that takes a seat, waits, and gives it back when it is cancelled."""

    async def operator(context: OperatorContext, given: object) -> str:
        await context.step(identity, "taken", name="take")
        try:
            await context.action(ActionSpec(type="confirm"))
        except asyncio.CancelledError:
            await context.step(released.append, "released", name="release")
            raise
        return "done"

    return operator


@pytest.mark.parametrize("suspended", [True, False])
async def test_a_cancelled_job_cleans_up_wherever_it_waits(suspended: bool) -> None:
    released: list[str] = []
    async with kernel(operators={"operator": seat(released)}) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await pending(handle)
        if suspended:
            await status_becomes(handle, "waiting_action")
            await asyncio.sleep(0.01)
        await handle.cancel("enough")
        with pytest.raises(JobCancelled, match="enough"):
            await handle.result(timeout=BOUND)
        assert await k.actions.list_pending() == []
        written = await types(handle)
    assert released == ["released"]
    assert written[-1] == "job.cancelled"
    assert written.count("branch.cancelled") == 1


async def test_a_deadline_lets_a_suspended_job_clean_up_too() -> None:
    released: list[str] = []
    async with kernel(operators={"operator": seat(released)}) as k:
        handle = await k.execute(ExecutionRequest(operator="operator", deadline_seconds=0.2))
        with pytest.raises(JobTimedOut):
            await handle.result(timeout=BOUND)
    assert released == ["released"]


async def test_the_end_of_the_running_time_lets_a_job_clean_up() -> None:
    released: list[str] = []

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            await context.step(asyncio.sleep, 60, effect="read")
        except asyncio.CancelledError:
            await context.step(released.append, "released", name="release")
            raise

    async with kernel(operators=[operator]) as k:
        budgets = BudgetSpec(max_runtime_seconds=0.1)
        handle = await k.execute(ExecutionRequest(operator="operator", budgets=budgets))
        with pytest.raises(BudgetExceededError):
            await handle.result(timeout=BOUND)
        assert "job.runtime_exceeded" in await types(handle)
    assert released == ["released"]


async def test_every_branch_of_a_cancelled_job_cleans_up_once() -> None:
    released: list[str] = []

    async def waiting(context: OperatorContext, name: str) -> None:
        try:
            await context.action(ActionSpec(type="confirm"))
        except asyncio.CancelledError:
            await context.step(released.append, name, name="release")
            raise

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            await context.gather(waiting(context, "a"), waiting(context, "b"))
        finally:
            await context.step(released.append, "all", name="close")

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await status_becomes(handle, "waiting_action")
        await asyncio.sleep(0.01)
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
    assert sorted(released) == ["a", "all", "b"]


async def test_clean_up_does_not_wait_and_ends_in_time() -> None:
    seen: list[str] = []

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            await context.sleep(3600)
        except asyncio.CancelledError:
            try:
                await context.action(ActionSpec(type="confirm"))
            except asyncio.CancelledError:
                seen.append("no question")
            try:
                await context.step(asyncio.sleep, 3600, effect="read")
            finally:
                seen.append("cut off")

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await status_becomes(handle, "sleeping")
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
        assert await k.actions.list_pending() == []
    assert seen == ["no question", "cut off"]


async def test_a_crash_in_the_middle_of_clean_up_repeats_nothing_of_it() -> None:
    done: list[str] = []

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            await context.action(ActionSpec(type="confirm"))
        except asyncio.CancelledError:
            await context.step(done.append, "first", name="first")
            await context.step(done.append, "second", name="second")
            raise

    storage = MemoryStorage()
    dying = DyingStorage(storage, commit_of("step.started", "second"), moment="before")
    doomed = kernel(dying, operators=[operator], options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="operator"))
    await status_becomes(handle, "waiting_action")
    await handle.cancel()
    async with asyncio.timeout(BOUND):
        await dying.died.wait()
    await bury(doomed, dying, storage)
    assert done == ["first"]
    options = dataclasses.replace(QUICK, cancel_timeout=BOUND)
    async with kernel(storage, operators=[operator], options=options) as k:
        with pytest.raises(JobCancelled):
            await k.handle(handle.job_id).result(timeout=BOUND)
    assert done == ["first", "second"]


async def test_a_job_cleans_up_to_the_end_although_its_process_begins_to_drain() -> None:
    """Its clean-up is bounded anyway; held up until a release that never comes, half of it would be left undone."""
    done: list[str] = []
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        begun.set()
        await go_on.wait()
        done.append("first")

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            await context.action(ActionSpec(type="confirm"))
        except asyncio.CancelledError:
            await context.step(first)
            await context.step(done.append, "second", name="second")
            raise

    storage = MemoryStorage()
    options = dataclasses.replace(QUICK, cancel_timeout=BOUND, drain_timeout=BOUND)
    k = kernel(storage, operators=[operator], options=options)
    handle = await k.execute(ExecutionRequest(operator="operator"))
    await status_becomes(handle, "waiting_action")
    await handle.cancel()
    async with asyncio.timeout(BOUND):
        await begun.wait()
    closing = asyncio.ensure_future(k.aclose())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    record = await storage.get_job(handle.job_id)
    assert record is not None
    assert record.status == "cancelled"
    assert done == ["first", "second"]


async def test_a_job_whose_operator_is_gone_ends_without_clean_up_and_says_so() -> None:
    released: list[str] = []
    storage = MemoryStorage()
    async with kernel(storage, operators={"operator": seat(released)}) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators={"another": seat(released)}) as k:
        handle = k.handle(handle.job_id)
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result(timeout=BOUND)
        assert "no operator" in (await journal(handle))[-1].data["clean_up"]
    assert released == []


async def test_a_job_that_never_began_has_nothing_to_clean_up() -> None:
    released: list[str] = []
    storage = MemoryStorage()
    submitter = kernel(storage, operators={"operator": seat(released)}, worker=False)
    handle = await submitter.execute(ExecutionRequest(operator="operator"))
    await handle.cancel()
    async with kernel(storage, operators={"operator": seat(released)}) as k:
        with pytest.raises(JobCancelled):
            await k.handle(handle.job_id).result(timeout=BOUND)
    await submitter.aclose()
    assert released == []
