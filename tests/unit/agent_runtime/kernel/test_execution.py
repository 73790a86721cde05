"""Running jobs: results, events, failures, limits."""

import asyncio
import dataclasses
from datetime import datetime
from pathlib import Path

import pytest

from agent_runtime import (
    BudgetExceededError,
    BudgetSpec,
    ExecutionRequest,
    IdempotencyConflict,
    InvalidInput,
    JobCancelled,
    JobFailed,
    JobTimedOut,
    Operator,
    OperatorContext,
    OperatorResult,
    UnknownJob,
    UnknownOperator,
)
from agent_runtime.errors import ConfigurationError
from agent_runtime.storage.memory import InMemoryJobStore, InMemoryLedgerWriter, MemoryStorage
from agent_runtime.storage.memory.stores import InMemoryActionStore
from agent_runtime.values.event import TERMINAL_TYPES
from support.kernels import BOUND, journal, kernel, opened, status_becomes, types

pytestmark = pytest.mark.timeout(BOUND * 3)


async def echo(context: OperatorContext, given: object) -> object:
    return given


async def sleepy(context: OperatorContext, given: object) -> str:
    await asyncio.sleep(3600)
    return "never"


class Shout(Operator):
    @property
    def name(self) -> str:
        return "shout"

    async def execute(self, input_data: dict[str, str], context: OperatorContext) -> OperatorResult:
        return OperatorResult(
            content=input_data["text"].upper(), output_data={"length": len(input_data["text"])}
        )


async def failing(context: OperatorContext, given: object) -> None:
    raise RuntimeError("broken inside")


async def unsuccessful(context: OperatorContext, given: object) -> OperatorResult:
    return OperatorResult(success=False, error="could not", error_code="NO_LUCK")


async def test_an_async_function_runs_as_a_job() -> None:
    async with kernel(operators=[echo]) as k:
        result = await (await k.execute(ExecutionRequest(operator="echo", input={"a": [1, None]}))).result()
    assert result.status == "succeeded"
    assert result.output == {"a": [1, None]}


async def test_an_operator_class_gives_content_and_data() -> None:
    async with kernel(operators=[Shout()]) as k:
        result = await (await k.execute(ExecutionRequest(operator="shout", input={"text": "hi"}))).result()
    assert (result.content, result.output) == ("HI", {"length": 2})


async def test_the_first_execute_starts_the_kernel() -> None:
    k = kernel(operators=[echo])
    handle = await k.execute(ExecutionRequest(operator="echo", input=1))
    assert (await handle.result()).output == 1
    await k.aclose()
    await k.aclose()
    with pytest.raises(InvalidInput, match="closed"):
        await k.execute(ExecutionRequest(operator="echo"))


async def test_events_then_result_and_result_then_events_see_the_same() -> None:
    async with kernel(operators=[echo]) as k:
        handle = await k.execute(ExecutionRequest(operator="echo", input="x"))
        live = [event async for event in handle.events()]
        assert (await handle.result()).output == "x"
        later = [event async for event in handle.events()]
    assert live == later
    assert [event.seq for event in live] == list(range(1, len(live) + 1))
    assert [event.type for event in live if event.type in TERMINAL_TYPES] == ["job.succeeded"]


async def test_readers_beside_the_result_and_from_a_cursor_miss_nothing() -> None:
    async def chatty(context: OperatorContext, given: object) -> None:
        for number in range(30):
            await context.emit("custom.tick", {"n": number})

    async with kernel(operators=[chatty]) as k:
        handle = await k.execute(ExecutionRequest(operator="chatty"))

        async def read(after: int) -> list[int | None]:
            return [event.seq async for event in handle.events(after_seq=after)]

        *cursors, _ = await asyncio.gather(*(read(after) for after in (0, 0, 5, 20)), handle.result())
    total = 33
    assert cursors == [list(range(after + 1, total + 1)) for after in (0, 0, 5, 20)]


async def test_artifacts_an_operator_tells_of_are_part_of_its_result() -> None:
    async def maker(context: OperatorContext, given: object) -> None:
        await context.emit("artifact.created", {"name": "report.md", "size": 12})
        await context.sleep(0.05)

    async with kernel(operators=[maker]) as k:
        handle = await k.execute(ExecutionRequest(operator="maker"))
        assert (await handle.result()).artifacts == ({"name": "report.md", "size": 12},)
        assert (await types(handle)).count("artifact.created") == 1


async def test_a_failing_operator_fails_its_job_with_the_reason() -> None:
    async with kernel(operators=[failing]) as k:
        handle = await k.execute(ExecutionRequest(operator="failing"))
        with pytest.raises(JobFailed, match="broken inside") as caught:
            await handle.result()
        assert caught.value.error_code == "EXECUTION_ERROR"
        assert caught.value.job_id == handle.job_id
        ended = (await journal(handle))[-1]
        assert (ended.type, ended.data["error_type"]) == ("job.failed", "RuntimeError")


async def test_an_unsuccessful_result_is_a_failure_not_a_silent_success() -> None:
    async with kernel(operators=[unsuccessful]) as k:
        with pytest.raises(JobFailed, match="could not") as caught:
            await (await k.execute(ExecutionRequest(operator="unsuccessful"))).result()
        assert caught.value.error_code == "NO_LUCK"


async def test_an_operator_that_cancels_itself_fails() -> None:
    async def quitter(context: OperatorContext, given: object) -> None:
        raise asyncio.CancelledError

    async with kernel(operators=[quitter]) as k:
        with pytest.raises(JobFailed, match="cancelled itself"):
            await (await k.execute(ExecutionRequest(operator="quitter"))).result()


async def test_a_result_that_is_not_json_fails_the_job_and_names_the_reason() -> None:
    async def strange(context: OperatorContext, given: object) -> object:
        return {1, 2}

    async with kernel(operators=[strange]) as k:
        with pytest.raises(JobFailed) as caught:
            await (await k.execute(ExecutionRequest(operator="strange"))).result()
        assert caught.value.error_code == "RESULT_NOT_SERIALIZABLE"


async def test_unknown_operators_and_jobs_are_said_to_be_unknown() -> None:
    async with kernel(operators=[echo]) as k:
        with pytest.raises(UnknownOperator, match="registered: echo"):
            await k.execute(ExecutionRequest(operator="ecko"))
        with pytest.raises(UnknownOperator):
            await k.execute(ExecutionRequest(prompt="no agent here"))
        with pytest.raises(UnknownJob):
            await k.handle("job-none").result()
        with pytest.raises(UnknownJob):
            _ = [event async for event in k.handle("job-none").events()]


async def test_input_that_is_not_json_is_refused_before_a_job_exists() -> None:
    async with kernel(operators=[echo]) as k:
        with pytest.raises(InvalidInput, match="not JSON"):
            await k.execute(ExecutionRequest(operator="echo", input=object()))
        assert await k.jobs.count() == 0


async def test_a_huge_input_goes_through_and_an_enormous_one_is_refused() -> None:
    async def size(context: OperatorContext, given: str) -> int:
        return len(given)

    async with kernel(operators=[size]) as k:
        assert (
            await (await k.execute(ExecutionRequest(operator="size", input="x" * 10_000_000))).result()
        ).output == 10_000_000
        with pytest.raises(InvalidInput, match="33,554,432"):
            await k.execute(ExecutionRequest(operator="size", input="x" * 33_554_432))


async def test_the_same_key_and_request_give_the_same_job_and_run_it_once() -> None:
    runs = 0

    async def counted(context: OperatorContext, given: object) -> int:
        nonlocal runs
        runs += 1
        return runs

    async with kernel(operators=[counted]) as k:
        request = ExecutionRequest(operator="counted", input=1, scope_id="a", idempotency_key="k")
        handles = await asyncio.gather(*(k.execute(request) for _ in range(20)))
        assert len({handle.job_id for handle in handles}) == 1
        assert [(await handle.result()).output for handle in handles] == [1] * 20
        assert (await (await k.execute(request)).result()).output == 1
        with pytest.raises(IdempotencyConflict):
            await k.execute(dataclasses.replace(request, input=2))
        other = await k.execute(dataclasses.replace(request, scope_id="b"))
        assert other.job_id != handles[0].job_id
        await other.result()
    assert runs == 2


async def test_cancelling_a_running_job_stops_its_code_and_reports_once() -> None:
    stopped = asyncio.Event()

    async def stubborn(context: OperatorContext, given: object) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            stopped.set()

    async with kernel(operators=[stubborn]) as k:
        handle = await k.execute(ExecutionRequest(operator="stubborn"))
        await status_becomes(handle, "running")
        await handle.cancel("changed my mind")
        with pytest.raises(JobCancelled, match="changed my mind"):
            await handle.result()
        assert stopped.is_set()
        await handle.cancel("again")
        assert [t for t in await types(handle) if t in TERMINAL_TYPES] == ["job.cancelled"]


async def test_a_job_whose_code_ignores_cancellation_is_cancelled_all_the_same() -> None:
    release = asyncio.Event()

    async def deaf(context: OperatorContext, given: object) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with kernel(operators=[deaf]) as k:
        handle = await k.execute(ExecutionRequest(operator="deaf"))
        await status_becomes(handle, "running")
        await handle.cancel()
        with pytest.raises(JobCancelled):
            await handle.result()
        release.set()


async def test_a_queued_job_can_be_cancelled_without_ever_running() -> None:
    options = dataclasses.replace(kernel().options, max_concurrency=1)
    async with kernel(operators=[sleepy, echo], options=options) as k:
        blocker = await k.execute(ExecutionRequest(operator="sleepy"))
        waiting = await k.execute(ExecutionRequest(operator="echo"))
        await status_becomes(blocker, "running")
        assert await waiting.status() == "queued"
        await waiting.cancel()
        await blocker.cancel()
        with pytest.raises(JobCancelled):
            await waiting.result()
        assert "job.succeeded" not in await types(waiting)


async def test_a_deadline_ends_a_running_job() -> None:
    async with kernel(operators=[sleepy]) as k:
        handle = await k.execute(ExecutionRequest(operator="sleepy", deadline_seconds=0.05))
        with pytest.raises(JobTimedOut):
            await handle.result()
        assert (await types(handle))[-1] == "job.timed_out"


async def test_a_deadline_ends_a_waiting_job() -> None:
    async def patient(context: OperatorContext, given: object) -> None:
        await context.sleep(3600)

    async with kernel(operators=[patient]) as k:
        handle = await k.execute(ExecutionRequest(operator="patient", deadline_seconds=0.3))
        await status_becomes(handle, "sleeping")
        with pytest.raises(JobTimedOut):
            await handle.result()


def test_a_deadline_in_the_past_is_refused() -> None:
    with pytest.raises(InvalidInput, match="deadline_seconds is a number of seconds above 0"):
        ExecutionRequest(operator="echo", deadline_seconds=0)


async def test_running_time_is_bounded_by_the_budget_and_waiting_is_not() -> None:
    async def waits_then_works(context: OperatorContext, given: object) -> str:
        await context.sleep(1.3)
        if given == "work":
            await asyncio.sleep(3600)
        return "done"

    async with kernel(operators=[waits_then_works]) as k:
        budgets = BudgetSpec(max_runtime_seconds=1.0)
        rest = await k.execute(ExecutionRequest(operator="waits_then_works", budgets=budgets))
        work = await k.execute(ExecutionRequest(operator="waits_then_works", input="work", budgets=budgets))
        assert (await rest.result()).output == "done"
        with pytest.raises(BudgetExceededError, match="max_runtime_seconds"):
            await work.result()


async def test_result_with_a_timeout_leaves_the_job_running() -> None:
    async with kernel(operators=[sleepy]) as k:
        handle = await k.execute(ExecutionRequest(operator="sleepy"))
        with pytest.raises(TimeoutError):
            await handle.result(timeout=0.05)
        assert await handle.status() == "running"
        await handle.cancel()


async def test_higher_priority_runs_first() -> None:
    order: list[int] = []
    gate = asyncio.Event()

    async def noted(context: OperatorContext, given: int) -> None:
        order.append(given)

    async def gatekeeper(context: OperatorContext, given: object) -> None:
        await gate.wait()

    options = dataclasses.replace(kernel().options, max_concurrency=1)
    async with kernel(operators=[noted, gatekeeper], options=options) as k:
        first = await k.execute(ExecutionRequest(operator="gatekeeper"))
        await status_becomes(first, "running")
        handles = [
            await k.execute(ExecutionRequest(operator="noted", input=priority, priority=priority))
            for priority in (0, 5, 1)
        ]
        gate.set()
        for handle in handles:
            await handle.result()
    assert order == [5, 1, 0]


async def test_many_jobs_run_within_the_concurrency_limit() -> None:
    running = peak = 0

    async def tracked(context: OperatorContext, given: object) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.001)
        running -= 1

    options = dataclasses.replace(kernel().options, max_concurrency=7)
    async with kernel(operators=[tracked], options=options) as k:
        handles = [await k.execute(ExecutionRequest(operator="tracked")) for _ in range(50)]
        await asyncio.gather(*(handle.result() for handle in handles))
    assert peak == 7


async def test_closures_are_refused_where_a_restart_could_not_find_them(tmp_path: Path) -> None:
    async def local(context: OperatorContext, given: object) -> None: ...

    async with opened("sqlite", tmp_path) as storage:
        k = kernel(storage, operators=[local])
        with pytest.raises(ConfigurationError, match="top of a module"):
            await k.start()


async def test_bare_stores_share_one_storage_and_foreign_ones_are_refused(tmp_path: Path) -> None:
    jobs, actions = InMemoryJobStore(), InMemoryActionStore()
    k = kernel(job_store=jobs, action_store=actions, ledger_writer=InMemoryLedgerWriter())
    assert jobs.storage is actions.storage is k.storage
    with pytest.raises(ConfigurationError, match="one storage"):
        kernel(job_store=InMemoryJobStore(MemoryStorage()), action_store=InMemoryActionStore(MemoryStorage()))


async def test_a_time_comes_back_as_it_was_recorded() -> None:
    async def timed(context: OperatorContext, given: object) -> list[str]:
        first = context.now()
        ids = [str(context.uuid()), str(context.uuid())]
        await context.sleep(0.5)
        return [first.isoformat(), *ids, context.now().isoformat()]

    async with kernel(operators=[timed]) as k:
        handle = await k.execute(ExecutionRequest(operator="timed"))
        first, one, two, second = (await handle.result()).output
        events = await journal(handle)
    assert "job.suspended" in [event.type for event in events]
    assert one != two
    assert datetime.fromisoformat(second) > datetime.fromisoformat(first)
    values = [event.data for event in events if event.type == "value.recorded"]
    recorded = [data["value"] for data in values if data["name"] == "now"]
    assert recorded == [first, second]
