"""A storage that fails for a while, or answers too late: the job neither fails nor waits for ever because of it."""

import asyncio
import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    Budget,
    BudgetExceededError,
    BudgetSpec,
    ExecutionRequest,
    JobCancelled,
    OperatorContext,
    StorageError,
)
from agent_runtime.ports.commit import Commit
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.values.event import RuntimeEvent
from llm_client import Agent, ExecutionEngine, FunctionProvider, RequestSpec, ScriptedProvider, tool
from llm_client.messages import Message, ToolCall
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from support.kernels import BOUND, QUICK, journal, kernel, pending, status_becomes, until
from support.soak.virtual import LoopClock, run_in_virtual_time

DEAR = PriceBook({"*:function": ModelPrices.of(input=1_000_000, output=1_000_000)})


class FailingStorage(MemoryStorage):
    """Fails a chosen operation a number of times.

    Args:
        name: Of the method.
        times: How often.
        written: Whether it does what it was asked all the same, and only its answer is lost.
        counts: Of the answers, those that can be lost.
        error: How it fails.
    """

    def __init__(
        self,
        name: str,
        *,
        times: int = 1,
        written: bool = False,
        counts: Callable[[Any], bool] = lambda answer: True,
        error: type[Exception] = StorageError,
    ) -> None:
        super().__init__()
        self.successes = 0
        self.left = times
        self.failures = 0
        real = getattr(self, name)

        async def failing(*args: Any, **kwargs: Any) -> Any:
            if not self.left:
                self.successes += 1
                return await real(*args, **kwargs)
            answer = await real(*args, **kwargs) if written else None
            if written and not counts(answer):
                return answer
            self.left -= 1
            self.failures += 1
            raise error("the server is away")

        setattr(self, name, failing)


async def ask_a_model(context: OperatorContext, given: Any) -> str:
    return (await context.model(RequestSpec(messages=[Message.user("hi")], max_tokens=10))).content


def engine() -> ExecutionEngine:
    return ExecutionEngine(FunctionProvider(lambda spec: "answer"), prices=DEAR)


@pytest.mark.parametrize("read", ["counters", "standing_budgets"])
@pytest.mark.parametrize("times", [1, 12])
def test_a_read_that_fails_is_not_the_jobs_failure(read: str, times: int) -> None:
    """Twelve failures last longer than a commit is tried again: the run is given up, and another one goes on."""

    async def main() -> None:
        storage = FailingStorage(read, times=times)
        async with kernel(storage, engine=engine(), operators=[ask_a_model], clock=LoopClock()) as k:
            request = ExecutionRequest(operator="ask_a_model", budgets=BudgetSpec(max_cost=1_000))
            handle = await k.execute(request)
            assert (await handle.result(timeout=BOUND)).content == "answer"
            assert storage.failures == times
            assert [event.type for event in await journal(handle)].count("model.completed") == 1

    run_in_virtual_time(main())


def test_a_standing_budget_that_cannot_be_read_yet_holds_all_the_same() -> None:
    async def main() -> None:
        storage = FailingStorage("standing_budgets", times=0)
        async with kernel(storage, clock=LoopClock(), worker=False) as elsewhere:
            await elsewhere.ledger.save_budget(Budget(name="little", max_cost_total=1))
        storage.left = 1
        async with kernel(storage, engine=engine(), operators=[ask_a_model], clock=LoopClock()) as k:
            handle = await k.execute(ExecutionRequest(operator="ask_a_model"))
            with pytest.raises(BudgetExceededError, match="little"):
                await handle.result(timeout=BOUND)
            assert storage.failures == 1

    run_in_virtual_time(main())


async def ask(context: OperatorContext, given: Any) -> Any:
    return (await context.action(ActionSpec(type="input"))).resolution


def has_events(answer: Sequence[RuntimeEvent]) -> bool:
    return bool(answer)


def test_an_answer_that_was_taken_into_the_journal_unnoticed_still_arrives() -> None:
    async def main() -> None:
        storage = FailingStorage("drain_signals", written=True, counts=has_events)
        async with kernel(storage, operators=[ask], clock=LoopClock()) as k:
            handle = await k.execute(ExecutionRequest(operator="ask"))
            question = await pending(handle)
            await handle.resolve_action(question.action_id, {"value": 7})
            assert (await handle.result(timeout=BOUND)).output == {"value": 7}
            assert storage.failures == 1

    run_in_virtual_time(main())


def test_a_request_to_stop_that_was_taken_into_the_journal_unnoticed_still_stops_the_job() -> None:
    async def main() -> None:
        storage = FailingStorage("drain_signals", written=True, counts=has_events)
        async with kernel(storage, operators=[ask], clock=LoopClock()) as k:
            handle = await k.execute(ExecutionRequest(operator="ask"))
            await pending(handle)
            await handle.cancel()
            with pytest.raises(JobCancelled):
                await handle.result(timeout=BOUND)
            assert storage.failures == 1

    run_in_virtual_time(main())


@pytest.mark.parametrize("name", ["register_worker", "due_jobs", "due_timers", "next_timer"])
def test_a_worker_lives_on_after_a_failure_that_nobody_expected(name: str) -> None:
    """One bad row, or a driver's own exception, must not silence the heartbeat, the sweep or the timers for good."""

    async def main() -> None:
        storage = FailingStorage(name, times=0, error=RuntimeError)
        async with kernel(storage, operators=[ask], clock=LoopClock()) as k:
            assert k.executes
            storage.left = 1

            async def tried_again() -> bool:
                return storage.failures == 1 and storage.successes > 2

            storage.successes = 0
            await until(tried_again)

    run_in_virtual_time(main())


def test_jobs_wake_though_looking_one_up_has_failed_in_a_way_that_nobody_expected() -> None:
    """The wake that failed is found by the sweep; the next ones must not need it."""
    unswept = replace(QUICK, sweep_interval=600.0)

    async def main() -> None:
        storage = FailingStorage("due_jobs", times=0, error=RuntimeError)
        async with kernel(storage, operators=[ask], clock=LoopClock(), options=unswept) as k:
            first, second = [await k.execute(ExecutionRequest(operator="ask")) for _ in range(2)]
            for handle in (first, second):
                await status_becomes(handle, "waiting_action")
            storage.left = 1
            await first.resolve_action((await pending(first)).action_id, {"value": 1})

            async def failed() -> bool:
                return storage.failures == 1

            await until(failed)
            await second.resolve_action((await pending(second)).action_id, {"value": 2})
            assert (await second.result(timeout=BOUND)).output == {"value": 2}
            assert await first.status() == "waiting_action"

    run_in_virtual_time(main())


class LateStorage(MemoryStorage):
    """Writes intents of tools at once, and tells so only after a while."""

    async def commit(self, commit: Commit) -> int:
        seq = await super().commit(commit)
        if any(event.type == "tool.started" for event in commit.events):
            await asyncio.sleep(0.08)
        return seq


@tool(effect="unsafe", timeout=0.05)
async def fire() -> str:
    """Do what must not be done twice."""
    return "fired"


async def fires(context: OperatorContext, given: Any) -> str:
    agent = Agent(provider=ScriptedProvider([ToolCall("c", "fire", {}), "done"]), tools=[fire])
    return (await agent.run("go", context=context.execution_ctx.to_request_context())).content


def test_an_intent_that_is_cancelled_twice_while_it_is_written_is_not_forgotten() -> None:
    """The tool's time runs out while the job, being cancelled, waits to hear what became of the intent."""

    async def main() -> None:
        storage = LateStorage()
        async with kernel(storage, operators=[fires], clock=LoopClock()) as k:
            handle = await k.execute(ExecutionRequest(operator="fires"))

            async def intended() -> bool:
                return any(event.type == "tool.started" for event in await journal(handle))

            await until(intended)
            await handle.cancel()
            with pytest.raises(JobCancelled):
                await handle.result(timeout=BOUND)
            assert [event.type for event in await journal(handle)].count("tool.unknown") == 1
            assert [question.type for question in await handle.get_pending_actions()] == ["reconcile"]

    run_in_virtual_time(main())


class LateValuesStorage(MemoryStorage):
    """Cannot write recorded values at the first try."""

    tried = False

    async def commit(self, commit: Commit) -> int:
        if not self.tried and any(event.type == "value.recorded" for event in commit.events):
            self.tried = True
            raise StorageError("the server is away")
        return await super().commit(commit)


async def stamps(context: OperatorContext, given: Any) -> Any:
    async def stamped() -> str:
        moment = context.now()
        await asyncio.sleep(0)  # what the other branch writes takes the moment with it
        return str(await context.step(echo, moment.isoformat(), effect="idempotent"))

    await context.gather(stamped(), context.emit("custom.said"))


async def echo(value: str) -> str:
    return value


def test_nothing_that_depends_on_a_recorded_value_is_written_before_it() -> None:
    async def main() -> None:
        storage = LateValuesStorage()
        async with kernel(storage, operators=[stamps], clock=LoopClock()) as k:
            handle = await k.execute(ExecutionRequest(operator="stamps"))
            await handle.result(timeout=BOUND)
            types = [event.type for event in await journal(handle)]
            assert storage.tried
            assert types.index("value.recorded") < types.index("step.started")

    run_in_virtual_time(main())


async def abandons(context: OperatorContext, given: Any) -> str:
    async def fails() -> None:
        raise RuntimeError("no")

    async def goes_on() -> None:
        await asyncio.sleep(0.01)
        await context.gather(context.step(echo, "a"), context.step(echo, "b"))

    try:
        await context.gather(fails(), goes_on())
    except RuntimeError:
        return "failed"
    return "?"


def test_branches_that_never_begin_leave_no_coroutine_behind() -> None:
    """A coroutine that nobody awaits is a warning, and here an error."""

    async def main() -> None:
        async with kernel(MemoryStorage(), operators=[abandons], clock=LoopClock()) as k:
            handle = await k.execute(ExecutionRequest(operator="abandons"))
            assert (await handle.result(timeout=BOUND)).content == "failed"

    run_in_virtual_time(main())
    gc.collect()


class TardyStorage(MemoryStorage):
    """Stores a job at once, and says so only when others have looked for what was left behind."""

    async def commit(self, commit: Commit) -> int:
        if not commit.create:
            return await super().commit(commit)
        listeners, self._listeners = self._listeners, []
        first_seq = await super().commit(commit)
        self._listeners = listeners
        await asyncio.sleep(QUICK.sweep_interval * 1.5)
        for listener in listeners:
            listener.committed(commit, first_seq)
        return first_seq


def test_a_job_that_is_on_its_way_to_us_is_not_taken_for_one_that_was_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with kernel(TardyStorage(), operators=[stamps], clock=LoopClock()) as k:
            handle = await k.execute(ExecutionRequest(operator="stamps"))
            await handle.result(timeout=BOUND)
            assert [event.type for event in await journal(handle)].count("job.started") == 1

    run_in_virtual_time(main())
    assert "without being executed" not in caplog.text


def test_a_job_whose_claim_was_never_answered_is_due_again() -> None:
    async def main() -> None:
        storage = FailingStorage("claim", written=True, counts=lambda claim: claim is not None)
        async with kernel(storage, operators=[ask], clock=LoopClock()) as k:
            handle = await k.execute(ExecutionRequest(operator="ask"))
            question = await pending(handle)
            await status_becomes(handle, "waiting_action")
            await handle.resolve_action(question.action_id, {"value": 7})
            assert (await handle.result(timeout=BOUND)).output == {"value": 7}
            assert storage.failures == 1

    run_in_virtual_time(main())
