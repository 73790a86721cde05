"""Owners, fences and signals: the schedules of two hands on one job, played exactly."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    ExecutionRequest,
    OperatorContext,
    UnknownAction,
    UnknownJob,
)
from agent_runtime.ports.clock import SystemClock
from agent_runtime.ports.dispatcher import Advance
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury, commit_of
from llm_client import ExecutionEngine, FunctionProvider
from llm_client.spec import RequestSpec
from support.hooked_storage import HookedStorage
from support.kernels import (
    BOUND,
    DOOMED,
    QUICK,
    kernel,
    opened,
    pending,
    status_becomes,
    types,
    until,
)
from support.operators import ask, asking, stepping

pytestmark = pytest.mark.timeout(BOUND * 3)


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
    """The idle clock runs out while the signals are being drained: the answered branch is live again at once."""
    storage = SlowFolding()
    async with kernel(storage, operators=[ask]) as k:
        handle = await k.execute(ExecutionRequest(operator="ask"))
        await handle.resolve_action((await pending(handle)).action_id, {"value": 1})
        assert (await handle.result(timeout=BOUND)).output == 1


class SlowFolding(MemoryStorage):
    """A storage that takes longer to drain signals than a job may idle in memory."""

    async def drain_signals(self, job_id: str, **given: Any) -> Any:
        await asyncio.sleep(QUICK.suspend_after * 3)
        return await super().drain_signals(job_id, **given)


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


async def test_a_journal_that_cannot_be_read_parks_its_job_and_stops_no_other() -> None:
    storage = MemoryStorage()
    async with kernel(storage, operators=[stepping]) as k:
        handle = await k.execute(ExecutionRequest(operator="stepping", input="a"))
        await handle.result()
    broken = kernel(storage, worker=False)
    other = await broken.execute(ExecutionRequest(operator="stepping", input="b"))
    fine = await broken.execute(ExecutionRequest(operator="stepping", input="c"))
    journal = storage._state.journals[other.job_id]
    journal[0] = dataclasses.replace(journal[0], content=b"x not a zlib stream")
    async with kernel(storage, operators=[stepping]) as k:
        assert (await k.handle(fine.job_id).result(timeout=BOUND)).output == "c"
        await status_becomes(k.handle(other.job_id), "blocked")
        assert (await k.handle(other.job_id).job()).error_code == "INTERNAL_ERROR"


async def test_a_handle_for_a_scope_reaches_that_scopes_jobs_alone() -> None:
    async with kernel(operators={"ask": ask}) as k:
        handle = await k.execute(ExecutionRequest(operator="ask", scope_id="a"))
        action = await pending(handle)
        others = k.handle(handle.job_id, scope_id="b")
        attempts: list[Callable[[], Awaitable[Any]]] = [
            others.status,
            others.job,
            others.result,
            others.cancel,
            others.get_pending_actions,
            lambda: others.resolve_action(action.action_id, {"value": 1}),
            lambda: anext(others.events()),
        ]
        for attempt in attempts:
            with pytest.raises(UnknownJob):
                await attempt()
        with pytest.raises(UnknownAction):
            await k.actions.cancel(action.action_id, scope_id="b")
        ours = k.handle(handle.job_id, scope_id="a")
        await ours.resolve_action(action.action_id, {"value": 1})
        assert (await ours.result(timeout=BOUND)).output == 1


class Twice:
    """A queue that brings every job twice, and at once."""

    def __init__(self) -> None:
        self._advance: Advance | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, advance: Advance) -> None:
        self._advance = advance

    def submit(self, job_id: str, **known: Any) -> None:
        assert self._advance is not None
        for _ in range(2):
            task = asyncio.ensure_future(self._advance(job_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self, *, drain: float) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_a_job_that_is_due_again_while_its_last_run_leaves_the_memory_runs_when_that_has_left() -> None:
    """Two runs of one job in a process would take each other's place, and the last to end set aside what has ended."""
    gone, left = asyncio.Event(), asyncio.Event()

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.action(ActionSpec(type="confirm"))
        except BaseException:
            await asyncio.wait_for(gone.wait(), BOUND)  # slow to leave
            left.set()
            raise
        await context.step(left.wait, name="wait", effect="read")
        return "ended"

    options, queue = dataclasses.replace(QUICK, cancel_timeout=BOUND), Twice()
    async with kernel(operators=[operator], options=options, dispatcher=queue) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
        await handle.resolve_action(question.action_id, {"confirmed": True})
        for _ in range(20):
            await asyncio.sleep(0)
        gone.set()
        assert (await handle.result(timeout=BOUND)).output == "ended"
        await queue.stop(drain=BOUND)  # all that was brought is done with
        assert (await types(handle))[-1] == "job.succeeded"


class SlowSweeps(MemoryStorage):
    """A storage that takes its time to say which jobs nobody can run."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def unlisted_jobs(self, seconds: float, *, at: datetime, limit: int = 500) -> Sequence[str]:
        self.asked.set()
        await self.answer.wait()
        return await super().unlisted_jobs(seconds, at=at, limit=limit)


async def test_a_slow_sweep_keeps_no_worker_from_showing_that_it_lives() -> None:
    storage = SlowSweeps()

    async def beaten() -> datetime:
        (worker,) = await storage.list_workers()
        return worker.heartbeat_at

    async with kernel(storage, operators=[stepping]), asyncio.timeout(BOUND):
        await storage.asked.wait()
        first = await beaten()

        async def twice() -> bool:
            return await beaten() > first + timedelta(seconds=2 * QUICK.sweep_interval)

        await until(twice)
        storage.answer.set()
