"""Code that ends the process, or raises what is no `Exception`: a failure of that code, and of nobody else's job."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from agent_runtime import ActionSpec, ExecutionRequest, JobFailed, OperatorContext, StepFailed
from agent_runtime.operators.operator import Operator
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.faults import DyingStorage, bury
from llm_client import Agent, FunctionProvider, ScriptedProvider, tool
from llm_client.messages import ToolCall
from llm_client.spec import RequestSpec
from support.kernels import BOUND, DOOMED, kernel, pending, resumed, types

pytestmark = pytest.mark.timeout(BOUND * 3)


class Odd(BaseException):
    """No `Exception`, as some libraries' outcomes are."""


def leaves() -> None:
    sys.exit(3)


async def leaves_later() -> None:
    await asyncio.sleep(0)
    sys.exit("bye")


def parses() -> None:
    argparse.ArgumentParser(exit_on_error=True, add_help=False).parse_args(["--unknown"])


def raises_odd() -> None:
    raise Odd("odd")


async def awaits_what_was_cancelled() -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task


def interrupts() -> None:
    raise KeyboardInterrupt


class Exits(Operator):
    """Leaves before there is anything to await."""

    def execute(self, input_data: Any, context: OperatorContext) -> Any:
        sys.exit(4)


IN_THE_LOOP = [leaves, leaves_later, raises_odd]
EXITS = [*IN_THE_LOOP, parses, interrupts, awaits_what_was_cancelled]


async def innocent(context: OperatorContext, given: object) -> str:
    await context.sleep(0.05)
    return "unharmed"


@pytest.mark.parametrize("exits", EXITS, ids=lambda function: function.__name__)
async def test_a_step_that_ends_the_process_has_failed_and_the_job_beside_it_goes_on(
    exits: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    async def operator(context: OperatorContext, given: object) -> str:
        try:
            await context.step(exits)
        except StepFailed as error:
            seen.append(str(error))
        await context.action(ActionSpec(type="confirm"))
        return "caught"

    async with kernel(operators=[operator, innocent]) as k:
        beside = await k.execute(ExecutionRequest(operator="innocent"))
        handle = await k.execute(ExecutionRequest(operator="operator"))
        assert (await resumed(handle)).content == "caught"
        assert (await beside.result()).content == "unharmed"
        assert "step.failed" in await types(handle)
    assert seen == [seen[0]] * 2
    assert seen[0].startswith(
        ("SystemExit: ", "Odd: odd", "RuntimeError: the code raised Key", "CancelledError")
    )


@pytest.mark.parametrize("exits", IN_THE_LOOP, ids=lambda function: function.__name__)
async def test_an_operator_that_ends_the_process_has_failed(
    exits: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    async def operator(context: OperatorContext, given: object) -> None:
        returned = exits()
        if returned is not None:
            await returned

    async def branches(context: OperatorContext, given: object) -> None:
        await context.gather(operator(context, given), innocent(context, given))

    async with kernel(operators=[operator, branches, Exits(), innocent]) as k:
        beside = await k.execute(ExecutionRequest(operator="innocent"))
        for name in ("operator", "branches", "Exits"):
            with pytest.raises(JobFailed, match=r"tried to end the process|odd"):
                await (await k.execute(ExecutionRequest(operator=name))).result()
        assert (await beside.result()).content == "unharmed"


@pytest.mark.parametrize(
    "exits", [*IN_THE_LOOP, awaits_what_was_cancelled], ids=lambda function: function.__name__
)
async def test_tools_that_end_the_process_are_failed_calls_that_the_model_reads(
    exits: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    @tool
    async def odd() -> str:
        """Do something."""
        returned = exits()
        if returned is not None:
            await returned
        return "done"

    agent = Agent(
        provider=ScriptedProvider([[ToolCall("1", "odd", {}), ToolCall("2", "odd", {})], "I see"]),
        tools=[odd],
    )
    async with kernel(agent=agent) as k:
        handle = await k.execute(ExecutionRequest(prompt="do it"))
        assert (await handle.result()).content == "I see"
        assert (await types(handle)).count("tool.failed") == 2


async def test_a_model_that_ends_the_process_fails_its_job_alone() -> None:
    def answer(spec: RequestSpec) -> str:
        sys.exit(5)

    agent = Agent(provider=FunctionProvider(answer))
    async with kernel(agent=agent, operators=[innocent]) as k:
        beside = await k.execute(ExecutionRequest(operator="innocent"))
        with pytest.raises(JobFailed):
            await (await k.execute(ExecutionRequest(prompt="hello"))).result()
        assert (await beside.result()).content == "unharmed"


@pytest.mark.parametrize("exits", IN_THE_LOOP, ids=lambda function: function.__name__)
async def test_a_reconcile_function_that_ends_the_process_cannot_tell(
    exits: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    storage = MemoryStorage()
    dying = DyingStorage(storage, lambda commit: False)

    async def pay() -> str:
        dying.die()
        return "paid"

    async def ask(operation_id: str) -> Any:
        returned = exits()
        if returned is not None:
            await returned

    async def operator(context: OperatorContext, given: object) -> str:
        return str(await context.step(pay, effect="reconcilable", reconcile=ask))

    doomed = kernel(dying, operators={"operator": operator}, options=DOOMED)
    handle = await doomed.execute(ExecutionRequest(operator="operator"))
    await dying.died.wait()
    await bury(doomed, dying, storage)
    async with kernel(storage, operators={"operator": operator}) as k:
        handle = k.handle(handle.job_id)
        question = await pending(handle)
        await handle.resolve_action(question.action_id, {"outcome": "done", "result": "paid"})
        assert (await handle.result()).content == "paid"


async def test_a_handler_of_events_that_ends_the_process_stays_subscribed() -> None:
    heard: list[str] = []

    async def handler(event: Any) -> None:
        heard.append(event.type)
        sys.exit(6)

    async with kernel(operators=[innocent]) as k:
        subscription = await k.bus.subscribe(handler)
        assert (await (await k.execute(ExecutionRequest(operator="innocent"))).result()).content == "unharmed"
        await subscription.unsubscribe()
    assert len(heard) > 1
