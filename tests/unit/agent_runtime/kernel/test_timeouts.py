"""`context.timeout`: a bound on time that every run of the job keeps alike."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from agent_runtime import (
    ActionSpec,
    BudgetSpec,
    ExecutionRequest,
    InvalidInput,
    JobFailed,
    OperatorContext,
    current_context,
)
from agent_runtime.ports.commit import Commit
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import commit_of
from llm_client import Agent, AgentConfig, Delay, ExecutionEngine, ScriptedProvider, tool
from llm_client.messages import ToolCall
from support.hooked_storage import HookedStorage
from support.kernels import BOUND, QUICK, journal, kernel, pending, run_key, status_becomes, types, until
from support.kernels import resumed as resumed_with
from support.operators import asking, identity

pytestmark = pytest.mark.timeout(BOUND * 3)
SHORT = 0.05


async def resumed(operators: Any, *, tokens: bool = False) -> Any:
    """Run a job that asks for a confirmation at its end, in two kernels; return its output."""
    storage = MemoryStorage()
    async with kernel(storage, operators=operators) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await status_becomes(handle, "waiting_action")
    async with kernel(storage, operators=operators) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(action.action_id, {"confirmed": True})
        return (await handle.result(timeout=BOUND)).output


@pytest.mark.parametrize("body", ["sleep", "action", "child", "read", "model", "nothing"])
async def test_a_bound_ends_whatever_goes_on_inside_and_every_run_says_the_same(body: str) -> None:
    runs: list[str] = []
    engine = ExecutionEngine(ScriptedProvider([Delay(60, "late")]))

    async def child(context: OperatorContext, given: object) -> None:
        await context.sleep(3600)

    async def slow() -> None:
        runs.append("slow")
        await asyncio.sleep(60)

    inside: dict[str, Any] = {
        "sleep": lambda context: context.sleep(3600),
        "action": lambda context: context.action(ActionSpec(type="input")),
        "child": lambda context: context.child("child"),
        "read": lambda context: context.step(slow, effect="read"),
        "model": lambda context: engine.complete(asking()),
        "nothing": lambda context: asyncio.sleep(60),
    }

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            async with context.timeout(SHORT):
                await inside[body](context)
        except TimeoutError:
            ended = "timed out"
        else:
            ended = "in time"
        await context.action(ActionSpec(type="confirm"))
        return ended

    def only_confirm(action: Any) -> bool:
        return bool(action.type == "confirm")

    storage = MemoryStorage()
    operators = {"operator": operator, "child": child}
    async with kernel(storage, operators=operators) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        async with asyncio.timeout(BOUND):
            while not (asked := [a for a in await k.actions.list_pending() if only_confirm(a)]):
                await asyncio.sleep(0.005)
        await status_becomes(handle, "waiting_action")
        assert (await types(handle)).count("timeout.expired") == 1
        assert await k.actions.list_pending() == asked
    async with kernel(storage, operators=operators) as k:
        handle = k.handle(handle.job_id)
        await handle.resolve_action(asked[0].action_id, {"confirmed": True})
        assert (await handle.result(timeout=BOUND)).output == "timed out"
    assert len(runs) <= 1


async def test_a_body_that_is_quick_is_in_time_on_every_run_and_leaves_no_timer() -> None:
    async def operator(context: OperatorContext, given: object) -> str:
        async with context.timeout(3600):
            value = await context.step(identity, "quick")
        await context.action(ActionSpec(type="confirm"))
        return str(value)

    assert await resumed([operator]) == "quick"


async def test_a_bound_goes_on_while_the_job_is_out_of_the_memory() -> None:
    async def operator(context: OperatorContext, given: object) -> str:
        try:
            async with context.timeout(0.3):
                await context.action(ActionSpec(type="input"))
        except TimeoutError:
            return "timed out"
        return "answered"

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        await pending(handle)
        await status_becomes(handle, "waiting_action")
        assert await storage.next_timer() is not None
        assert (await handle.result(timeout=BOUND)).output == "timed out"
        assert await k.actions.list_pending() == []


async def test_an_answer_in_time_wins_over_a_bound_that_passes_later() -> None:
    async def operator(context: OperatorContext, given: object) -> Any:
        async with context.timeout(0.3):
            answered = await context.action(ActionSpec(type="input"))
        await context.sleep(0.5)
        return answered.resolution

    async with kernel(operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        await handle.resolve_action(action.action_id, {"value": 7})
        assert (await handle.result(timeout=BOUND)).output == {"value": 7}
        assert "timeout.left" in await types(handle)


async def test_an_effect_that_cannot_be_repeated_has_time_to_finish() -> None:
    """It ends within the drain limit: its outcome is known, and the bound is raised after it."""

    async def pay() -> str:
        await asyncio.sleep(0.2)
        return "paid"

    async def operator(context: OperatorContext, given: object) -> list[str]:
        seen = []
        try:
            async with context.timeout(SHORT):
                seen.append(await context.step(pay))
                seen.append(await context.step(identity, "more"))
        except TimeoutError:
            seen.append("timed out")
        await context.action(ActionSpec(type="confirm"))
        return seen

    assert await resumed([operator]) == ["paid", "timed out"]


async def test_an_effect_that_does_not_end_is_unknown_and_asked_about_before_the_bound_is_raised() -> None:
    import dataclasses

    from support.kernels import QUICK

    started: list[str] = []

    async def pay() -> None:
        started.append("pay")
        await asyncio.sleep(60)

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            async with context.timeout(SHORT):
                await context.step(pay)
        except TimeoutError:
            return "timed out"
        return "paid"

    options = dataclasses.replace(QUICK, drain_timeout=0.1)
    async with kernel(operators=[operator], options=options) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        action = await pending(handle)
        assert action.type == "reconcile"
        await handle.resolve_action(action.action_id, {"outcome": "done", "result": None})
        assert (await handle.result(timeout=BOUND)).output == "timed out"
    assert started == ["pay"]


@pytest.mark.parametrize("leaves", [True, False], ids=["another run", "the same run"])
async def test_what_is_to_be_done_again_is_not_when_its_time_is_up(leaves: bool) -> None:
    started: list[str] = []

    async def pay() -> None:
        started.append("pay")
        await asyncio.sleep(60)

    async def operator(context: OperatorContext, given: object) -> list[str]:
        seen = []
        try:
            async with context.timeout(SHORT):
                await context.gather(context.step(pay), context.action(ActionSpec(type="input")))
        except TimeoutError:
            seen.append("timed out")
        seen.append(await context.step(identity, "after"))
        return seen

    options = replace(QUICK, drain_timeout=0.1, suspend_after=0.01 if leaves else 3600.0)
    async with kernel(operators=[operator], options=options) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))

        async def lost() -> Any:
            return [one for one in await handle.get_pending_actions() if one.type == "reconcile"]

        (question,) = await until(lost)
        if leaves:
            await status_becomes(handle, "waiting_action")
        await handle.resolve_action(question.action_id, {"outcome": "retry"})
        assert (await handle.result(timeout=BOUND)).output == ["timed out", "after"]
        (failed,) = [event for event in await journal(handle) if event.type == "step.failed"]
    assert failed.data["error"] == "its time was up before it was done again"
    assert started == ["pay"]


async def test_an_inner_bound_does_not_end_the_outer_one() -> None:
    async def operator(context: OperatorContext, given: object) -> list[str]:
        seen = []
        async with context.timeout(3600):
            try:
                async with context.timeout(SHORT):
                    await context.sleep(3600)
            except TimeoutError:
                seen.append("inner")
            seen.append(await context.step(identity, "after"))
        await context.action(ActionSpec(type="confirm"))
        return seen

    assert await resumed([operator]) == ["inner", "after"]


async def test_a_bound_around_branches_ends_all_of_them() -> None:
    async def operator(context: OperatorContext, given: object) -> str:
        try:
            async with context.timeout(SHORT):
                await context.gather(context.sleep(3600), context.action(ActionSpec(type="input")))
        except TimeoutError:
            await context.action(ActionSpec(type="confirm"))
            return "timed out"
        return "in time"

    storage = MemoryStorage()
    async with kernel(storage, operators=[operator]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        async with asyncio.timeout(BOUND):
            while [a.type for a in await k.actions.list_pending()] != ["confirm"]:
                await asyncio.sleep(0.005)
        (action,) = await k.actions.list_pending()
        await handle.resolve_action(action.action_id, {"confirmed": True})
        assert (await handle.result(timeout=BOUND)).output == "timed out"


async def test_code_that_swallows_the_end_of_its_time_is_told_at_the_end_of_the_body() -> None:
    async def operator(context: OperatorContext, given: object) -> str:
        try:
            async with context.timeout(SHORT):
                try:
                    await context.sleep(3600)
                except asyncio.CancelledError:
                    await asyncio.sleep(0)
        except TimeoutError:
            await context.action(ActionSpec(type="confirm"))
            return "timed out"
        return "in time"

    assert await resumed([operator]) == "timed out"


class Late(MemoryStorage):
    """Answers late, as one does that is far away: so a bound is reached between a commit and what follows it."""

    async def commit(self, commit: Commit) -> int:
        first_seq = await super().commit(commit)
        await asyncio.sleep(0.06)
        return first_seq


@tool(effect="read")
async def looks() -> str:
    """Look for a long time."""
    await asyncio.sleep(60)
    return "seen"


@tool(effect="unsafe")
async def waits() -> str:
    """Wait for a person."""
    await current_context().action(ActionSpec(type="input"))
    return "told"


async def _for_ever(call: Callable[[], Awaitable[Any]]) -> None:
    while True:
        await call()


def bounded(context: OperatorContext) -> dict[str, Callable[[], Awaitable[Any]]]:
    """What an operator may put a bound around, by name."""
    slow = ExecutionEngine(ScriptedProvider([Delay(60, "late")]))

    def agent(name: str) -> Agent:
        return Agent(provider=ScriptedProvider([ToolCall("1", name, {}), "done"]), tools=[looks, waits])

    async def started() -> None:
        await (await context.start_child("child")).result()

    return {
        "sleep": lambda: context.sleep(3600),
        "action": lambda: context.action(ActionSpec(type="input")),
        "child": lambda: context.child("child"),
        "started child": started,
        "step": lambda: context.step(asyncio.sleep, 60),
        "model": lambda: slow.complete(asking()),
        "tool": lambda: context.tool("looks"),
        "tool that waits": lambda: context.tool("waits"),
        "agent": lambda: agent("looks").run("go"),
        "agent whose tool waits": lambda: agent("waits").run("go"),
        "gather": lambda: context.gather(context.sleep(3600), context.step(asyncio.sleep, 60)),
        "gathered waits": lambda: context.gather(context.sleep(3600), context.child("child")),
        "branches that wait": lambda: context.gather(_for_ever(lambda: context.sleep(3600))),
        "wait_any": lambda: context.wait_any(context.sleep(3600), context.child("child")),
        "emit": lambda: _for_ever(lambda: context.emit("custom.beat")),
        "progress": lambda: _for_ever(lambda: context.progress(0.5)),
    }


BOUNDED = sorted(bounded(OperatorContext()))


async def child_that_waits(context: OperatorContext, given: object) -> None:
    await context.sleep(3600)


async def refused(
    storage: MemoryStorage, around: str, bound: Callable[[Awaitable[Any]], Awaitable[Any]]
) -> None:
    """Run an operator that puts a bound around something; it is refused, whatever the operator catches."""

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await bound(bounded(context)[around]())
        except TimeoutError:
            return "timed out"
        return "in time"

    options = dataclasses.replace(QUICK, drain_timeout=0.1)
    operators = {"operator": operator, "child": child_that_waits}
    async with kernel(storage, operators=operators, tools=[looks, waits], options=options) as k:
        with pytest.raises(JobFailed, match=r"context\.timeout") as caught:
            await (await k.execute(ExecutionRequest(operator="operator"))).result(timeout=BOUND)
    assert caught.value.error_code == "UNRECORDED_CANCELLATION"


@pytest.mark.parametrize("storage", [MemoryStorage, Late])
@pytest.mark.parametrize("around", BOUNDED)
async def test_a_bound_that_nothing_records_is_refused_with_the_remedy(
    around: str, storage: type[MemoryStorage]
) -> None:
    async def bound(call: Awaitable[Any]) -> Any:
        async with asyncio.timeout(0.008 if storage is MemoryStorage else 0.03):
            return await call

    await refused(storage(), around, bound)


@pytest.mark.parametrize(
    "around", [name for name in BOUNDED if "wait" in name or name in ("sleep", "action")]
)
@pytest.mark.parametrize("bound", ["timeout", "wait_for"])
async def test_a_bound_is_refused_that_would_be_forgotten_when_the_job_leaves_the_memory(
    around: str, bound: str
) -> None:
    async def timeout(call: Awaitable[Any]) -> Any:
        async with asyncio.timeout(3600):
            return await call

    async def wait_for(call: Awaitable[Any]) -> Any:
        return await asyncio.wait_for(call, 3600)

    await refused(MemoryStorage(), around, timeout if bound == "timeout" else wait_for)


async def test_a_bound_around_what_a_tool_or_a_step_does_itself_is_nobodys_business() -> None:
    """What ends a tool's function is recorded with the tool, and an exited bound is none."""

    @tool(effect="idempotent")
    async def careful() -> str:
        """Ask with patience."""
        async with asyncio.timeout(3600):
            return str((await current_context().action(ActionSpec(type="confirm"))).resolution)

    async def operator(context: OperatorContext, given: object) -> str:
        async with asyncio.timeout(3600) as passed:
            pass
        assert not passed.expired()
        return str(await context.tool("careful"))

    async with kernel(operators=[operator], tools=[careful]) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert "confirmed" in str((await resumed_with(handle)).output)


async def test_an_agent_that_ran_out_of_its_own_time_did_so_on_every_run() -> None:
    calls: list[str] = []

    def note(event: Any) -> None:
        calls.append(event.name)

    engine = ExecutionEngine(ScriptedProvider([Delay(60, "late"), "second"]), hooks=[note])
    agent = Agent(engine=engine, config=AgentConfig(timeout=SHORT))

    async def operator(context: OperatorContext, given: object) -> str:
        status = (await agent.run("hello")).status
        await context.action(ActionSpec(type="confirm"))
        return status

    assert await resumed([operator]) == "timeout"
    assert calls.count("request.start") == 1


async def test_a_bound_takes_seconds_that_can_be() -> None:
    async def operator(context: OperatorContext, given: object) -> None:
        async with context.timeout(-1):
            pass

    async with kernel(operators=[operator]) as k:
        with pytest.raises(JobFailed, match="seconds"):
            await (await k.execute(ExecutionRequest(operator="operator"))).result(timeout=BOUND)
    with pytest.raises(InvalidInput):
        async with OperatorContext().timeout(-1):
            pass


@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_a_bound_that_cut_off_an_effect_while_its_end_was_written_is_passed_in_every_run(
    ends: str,
) -> None:
    """The first run never saw the end; one that recalls it must neither go on inside nor raise the failure."""
    storage = MemoryStorage()

    async def effect() -> None:
        if ends == "badly":
            raise ValueError("broken")

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            async with context.timeout(SHORT):
                await context.step(effect)
                await context.step(identity, "never", name="inside")
        except TimeoutError:
            pass
        late = await context.step(identity, "late", name="outside")
        await context.action(ActionSpec(type="confirm"))
        return str(late)

    async def until_it_is_cut_off() -> None:
        async with asyncio.timeout(BOUND):
            while not [e for e in await storage.events(handle.job_id) if e.type == "timeout.due"]:
                await asyncio.sleep(0.005)
            for _ in range(20):
                await asyncio.sleep(0)

    ended = commit_of("step.failed" if ends == "badly" else "step.completed", "effect")
    hooked = HookedStorage(storage, ended, until_it_is_cut_off)
    async with kernel(hooked, operators=[operator], options=replace(QUICK, drain_timeout=0.0)) as k:
        handle = await k.execute(ExecutionRequest(operator="operator"))
        question = await pending(handle)
        await status_becomes(handle, "waiting_action")
        await handle.resolve_action(question.action_id, {"confirmed": True})
        assert (await handle.result(timeout=BOUND)).output == "late"


async def test_a_model_call_that_is_cut_off_before_its_intent_is_written_gives_back_nothing() -> None:
    """It waits for its turn to write, behind a commit that carries what had been recorded before."""
    storage, held = MemoryStorage(), asyncio.Event()
    engine = ExecutionEngine(ScriptedProvider(["never asked"]))

    async def effect(context: OperatorContext) -> None:
        context.now()
        await context.step(identity, "x", name="effect")

    async def ask() -> None:
        await held.wait()
        await engine.complete(asking())

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            async with context.timeout(SHORT):
                await context.gather(effect(context), ask())
        except TimeoutError:
            return "late"
        return "in time"

    async def until_it_is_cut_off() -> None:
        held.set()
        async with asyncio.timeout(BOUND):
            while not await storage.jobs_with_signals(
                k.worker_id
            ):  # it is drained after what is being written
                await asyncio.sleep(0.005)
            for _ in range(20):
                await asyncio.sleep(0)

    hooked = HookedStorage(storage, commit_of("step.started", "effect"), until_it_is_cut_off)
    async with kernel(hooked, operators=[operator]) as k:
        request = ExecutionRequest(operator="operator", budgets=BudgetSpec(max_tokens=100_000))
        handle = await k.execute(request)
        assert (await handle.result(timeout=BOUND)).output == "late"
        (counters,) = await k.storage.counters([run_key(handle.job_id)])
        assert counters.reserved.tokens == 0
        assert "model.attempt_failed" not in await types(handle)
