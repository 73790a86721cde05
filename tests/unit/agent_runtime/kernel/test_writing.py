"""What is being written when a run is cancelled, suspended or ended: nothing of it is lost, repeated or too late."""

import asyncio
import contextlib
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    BudgetSpec,
    ExecutionHandle,
    ExecutionRequest,
    JobCancelled,
    JobFailed,
    OperatorContext,
    RuntimeKernel,
)
from agent_runtime.errors import StorageError
from agent_runtime.ports.commit import Commit
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import commit_of
from agent_runtime.values.event import TERMINAL_TYPES
from llm_client import ExecutionEngine, FunctionProvider, RateLimits
from llm_client.errors import ProviderTimeout
from llm_client.messages import CompletionResult
from llm_client.middleware import ModelAttempt, ModelMiddleware, ProceedAttempt
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from support.kernels import BOUND, journal, kernel, run_key, status_becomes, types, until
from support.operators import asking, identity
from support.slow_storage import SlowStorage

pytestmark = pytest.mark.timeout(BOUND * 3)
BUDGET = BudgetSpec(max_cost=1_000_000)


def priced_engine(calls: list[str], **options: Any) -> ExecutionEngine:
    """Return an engine whose model costs a dollar per token and notes every call."""

    async def model(spec: Any) -> str:
        calls.append("call")
        return "answer"

    prices = PriceBook({"function:function": ModelPrices.of(input=1_000_000, output=1_000_000)})
    return ExecutionEngine(FunctionProvider(model), prices=prices, **options)


async def check_money(
    handle: ExecutionHandle, k: RuntimeKernel, *, entries: int, answered: int | None = None
) -> None:
    """Check that counters are what the ledger adds up to, that nothing stays reserved, and that no unsent call is billed."""
    written = await k.ledger.entries(job_id=handle.job_id)
    assert len(written) == entries
    assert not any(entry.uncertain for entry in written)
    assert sum(bool(entry.cost) for entry in written) == (entries if answered is None else answered)
    (counters,) = await k.storage.counters([run_key(handle.job_id)])
    assert counters.reserved.to_dict() == {}
    assert counters.settled.cost == sum(entry.units or 0 for entry in written)


async def cancelled_at(storage: SlowStorage, k: RuntimeKernel, request: ExecutionRequest) -> ExecutionHandle:
    """Cancel a job while the storage is writing, let the storage go on, and wait for the end."""
    handle = await k.execute(request)
    async with asyncio.timeout(BOUND):
        await storage.written.wait()
    await handle.cancel()
    await until(lambda: _stops(k, handle))
    storage.release.set()
    with pytest.raises(JobCancelled):
        await handle.result(timeout=BOUND)
    return handle


async def _drains(k: RuntimeKernel, handle: ExecutionHandle) -> bool:
    """Whether the run begins no further step."""
    return k._worker._executor.runs[handle.job_id].lifecycle.begins_nothing


async def _stops(k: RuntimeKernel, handle: ExecutionHandle) -> bool:
    """Whether the request to stop has reached the run."""
    return any(event.type == "job.cancel_requested" for event in await journal(handle))


async def test_a_job_cancelled_while_an_answer_is_being_written_is_billed_for_it_once() -> None:
    """The outcome is on disk, its writer is cancelled before it learns so: the end must not settle it again."""
    storage, calls = SlowStorage(commit_of("model.completed")), list[str]()
    async with kernel(storage, engine=priced_engine(calls)) as k:
        handle = await cancelled_at(storage, k, ExecutionRequest(prompt="go", budgets=BUDGET))
        assert "model.attempt_failed" not in await types(handle)
        assert [entry.uncertain for entry in await k.ledger.entries(job_id=handle.job_id)] == [False]
        await check_money(handle, k, entries=1)


async def test_a_job_cancelled_while_a_reservation_is_being_written_does_not_keep_it() -> None:
    """The intent is on disk, its writer is cancelled before it learns so: the end must settle the reservation."""
    storage, calls = SlowStorage(commit_of("model.started")), list[str]()
    async with kernel(storage, engine=priced_engine(calls)) as k:
        handle = await cancelled_at(storage, k, ExecutionRequest(prompt="go", budgets=BUDGET))
        await check_money(handle, k, entries=1, answered=0)
    assert calls == []


async def test_an_unsafe_step_whose_outcome_was_being_written_is_not_asked_about() -> None:
    async def operator(context: OperatorContext, given: object) -> None:
        await context.step(identity, "x")

    storage = SlowStorage(commit_of("step.completed"))
    async with kernel(storage, operators=[operator]) as k:
        handle = await cancelled_at(storage, k, ExecutionRequest(operator="operator"))
        assert "step.unknown" not in await types(handle)
        assert await k.actions.list_pending() == []


@pytest.mark.parametrize(
    ("slow", "finished"), [("model.started", "model.failed"), ("model.completed", "model.completed")]
)
async def test_a_deadline_that_passes_while_a_model_call_is_being_written_settles_it_once(
    slow: str, finished: str
) -> None:
    """A reservation that was being written is settled, and so is an answer that arrived in time: once."""
    storage, calls = SlowStorage(commit_of(slow)), list[str]()
    engine = priced_engine(calls)
    outcomes: list[str] = []

    async def operator(context: OperatorContext, given: object) -> None:
        try:
            outcomes.append((await engine.complete(asking(), timeout=0.05)).content)
        except ProviderTimeout:
            outcomes.append("too late")
        await context.sleep(0.03)

    async with kernel(storage, operators=[operator], engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="operator", budgets=BUDGET))
        async with asyncio.timeout(BOUND):
            await storage.written.wait()
        await asyncio.sleep(0.1)
        storage.release.set()
        await handle.result(timeout=BOUND)
        assert "job.suspended" in await types(handle)
        assert outcomes == ["answer" if calls else "too late"] * 2
        assert [t for t in await types(handle) if t in ("model.completed", "model.failed")] == [finished]
        await check_money(handle, k, entries=1, answered=len(calls))
    assert calls == (["call"] if slow == "model.completed" else [])


@pytest.mark.parametrize("ended_by", ["cancel", "timeout"])
async def test_a_call_that_is_given_up_while_it_waits_for_a_rate_limit_costs_nothing(ended_by: str) -> None:
    """Its intent is written and its reservation made, but no request has left."""
    calls = list[str]()
    engine = priced_engine(calls, rate_limits=RateLimits(requests_per_minute=1))

    async def operator(context: OperatorContext, given: object) -> None:
        await engine.complete(asking("the first"))
        with contextlib.suppress(ProviderTimeout):
            await engine.complete(asking("the second"), timeout=0.05 if ended_by == "timeout" else None)

    async with kernel(operators=[operator], engine=engine) as k:
        handle = await k.execute(ExecutionRequest(operator="operator", budgets=BUDGET))

        async def waiting() -> bool:
            return (await types(handle)).count("model.started") == 2

        await until(waiting)
        if ended_by == "cancel":
            await handle.cancel()
        with contextlib.suppress(JobCancelled):
            await handle.result(timeout=BOUND)
        await check_money(handle, k, entries=2, answered=1)
    assert calls == ["call"]


async def test_an_attempt_that_breaks_before_its_request_leaves_costs_nothing() -> None:
    class Broken(ModelMiddleware):
        async def attempt(self, attempt: ModelAttempt, proceed: ProceedAttempt) -> CompletionResult:
            raise RuntimeError("a bug of the caller")

    calls = list[str]()
    async with kernel(engine=priced_engine(calls, middleware=[Broken()])) as k:
        handle = await k.execute(ExecutionRequest(prompt="go", budgets=BUDGET))
        with pytest.raises(JobFailed, match="a bug of the caller"):
            await handle.result(timeout=BOUND)
        await check_money(handle, k, entries=1, answered=0)
    assert calls == []


async def test_nothing_is_written_after_the_end_by_a_task_that_was_left_running() -> None:
    """The end is on its way to disk; what a forgotten task writes now would come after it."""
    storage = SlowStorage(commit_of("job.succeeded"))
    late: list[asyncio.Task[None]] = []

    async def operator(context: OperatorContext, given: object) -> None:
        async def forgotten() -> None:
            await storage.written.wait()
            await context.emit("custom.late")

        late.append(asyncio.create_task(forgotten()))

    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        async with asyncio.timeout(BOUND):
            await storage.written.wait()
        await asyncio.sleep(0)
        storage.release.set()
        await asyncio.wait(late, timeout=BOUND)
        assert late[0].cancelled()
        assert (await types(handle))[-1] == "job.succeeded"


async def test_a_wait_given_up_while_the_job_is_being_suspended_begins_no_step() -> None:
    """The suspension is on disk and anybody may take the job: its old run must not begin anything."""
    storage = SlowStorage(commit_of("job.suspended"))
    ran: list[str] = []

    async def operator(context: OperatorContext, given: object) -> None:
        waiting = asyncio.create_task(context.action(ActionSpec(type="input")))
        await storage.written.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        await context.step(ran.append, "x")

    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        async with asyncio.timeout(BOUND):
            await storage.written.wait()
        await asyncio.sleep(0.02)
        storage.release.set()
        await status_becomes(handle, "waiting_action")
        await until(lambda: _left(k))
        assert (await types(handle))[-1] == "job.suspended"
    assert ran == []


async def _left(k: RuntimeKernel) -> bool:
    """Whether no task works for a job any more."""
    return not any(task.get_name().startswith("job ") for task in asyncio.all_tasks())


class LyingStorage(MemoryStorage):
    """Writes the end of a job, then says that nothing can be written until the run has been given up for that."""

    def __init__(self) -> None:
        super().__init__()
        self.is_broken = False
        self.answered = asyncio.Event()

    async def commit(self, commit: Commit) -> int:
        if any(event.type in TERMINAL_TYPES for event in commit.events) and not self.is_broken:
            listeners, self._listeners = self._listeners, []
            await super().commit(commit)
            self._listeners, self.is_broken = listeners, True
        gives_up = any(event.data.get("reason") == "the storage failed" for event in commit.events)
        if self.is_broken and not gives_up:
            raise StorageError("the server does not answer")
        try:
            return await super().commit(commit)
        finally:
            if gives_up:
                self.answered.set()


async def test_a_job_whose_end_was_written_without_its_run_knowing_is_not_brought_back() -> None:
    """The commit of the end arrived, its answer did not, the server was away for long: giving the job up is too late."""
    storage = LyingStorage()
    runs: list[int] = []

    async def operator(context: OperatorContext, given: object) -> str:
        runs.append(1)
        return "done"

    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await handle.result(timeout=BOUND)).content == "done"

        async with asyncio.timeout(BOUND):
            await storage.answered.wait()
        storage.is_broken = False
        assert (await types(handle)).count("job.succeeded") == 1
        assert (await types(handle))[-1] == "job.succeeded"
        assert await handle.status() == "succeeded"
    assert runs == [1]


async def test_a_stopping_kernel_does_not_count_an_impatient_branch_twice() -> None:
    """One branch gives up waiting for its step and asks for another; the step in flight beside it must still end."""
    inside, stopping, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> str:
        inside.set()
        await release.wait()
        return "worked"

    async def impatient(context: OperatorContext) -> None:
        await stopping.wait()
        try:
            async with asyncio.timeout(0.01):
                await context.step(identity, "x")
        finally:
            release.set()
        await context.step(identity, "y")

    async def operator(context: OperatorContext, given: object) -> None:
        await context.gather(context.step(work), impatient(context))

    storage = MemoryStorage()
    k = kernel(storage, operators=[operator])
    handle = await k.execute(ExecutionRequest(operator="operator"))
    async with asyncio.timeout(BOUND):
        await inside.wait()
        closing = asyncio.create_task(k.aclose())
        await until(lambda: _drains(k, handle))
        stopping.set()
        await closing
    written = [event.type for event in await storage.events(handle.job_id)]
    assert written[-2:] == ["step.completed", "job.suspended"]
