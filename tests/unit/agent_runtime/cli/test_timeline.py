"""The journal as steps with costs, and as a story."""

import contextlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from agent_runtime import BudgetSpec, ExecutionRequest, OperatorContext, RuntimeEvent
from agent_runtime.cli.output.amounts import counted, money, seconds
from agent_runtime.cli.output.narrator import Narrator
from agent_runtime.cli.output.timeline import show_steps, steps_of
from agent_runtime.errors import AgentRuntimeError
from llm_client import Agent, FunctionProvider, ProviderUnavailable, RequestSpec, ToolCall, tool
from llm_client.engine.engine import ExecutionEngine
from llm_client.engine.retry import RetryConfig
from llm_client.pricing.book import PriceBook
from llm_client.pricing.model_prices import ModelPrices
from support.kernels import kernel, pending


@tool(effect="idempotent")
def save(text: str) -> str:
    """Save it."""
    return f"saved {text}"


@tool(effect="read")
def fail() -> str:
    """Fail."""
    raise OSError("out of paper")


def model(spec: RequestSpec) -> Any:
    """Fail once, call two tools, and answer."""
    if not any(message.role == "assistant" for message in spec.messages):
        if not FAILED_ONCE:
            FAILED_ONCE.append(True)
            raise ProviderUnavailable("down", status=503)
        return [ToolCall("1", "save", {"text": "x"}), ToolCall("2", "fail", {})]
    return "done"


FAILED_ONCE: list[bool] = []


async def journal() -> list[RuntimeEvent]:
    FAILED_ONCE.clear()
    prices = PriceBook({"function:*": ModelPrices.of(input=1, output=1)})
    engine = ExecutionEngine(
        FunctionProvider(model), prices=prices, retry=RetryConfig(attempts=2, backoff=0.0)
    )
    agent = Agent(engine=engine, tools=[save, fail], use_middleware=False)
    async with kernel(agent=agent) as k:
        handle = await k.execute(ExecutionRequest(prompt="go", budgets=BudgetSpec(max_cost=1)))
        await handle.result()
        return [event async for event in handle.events()]


async def test_a_step_has_one_line_with_its_end_its_attempts_and_its_cost() -> None:
    events = await journal()

    steps = steps_of(events)

    assert [(step.kind, step.name, step.state) for step in steps] == [
        ("model", "function:function", "completed"),
        ("tool", "save", "completed"),
        ("tool", "fail", "failed"),
        ("model", "function:function", "completed"),
    ]
    assert [step.attempts for step in steps] == [2, 1, 0, 1]
    assert steps[0].note == "→ save, fail"
    assert "out of paper" in steps[2].note
    told = sum(Decimal(step.to_json()["cost"] or 0) for step in steps)
    assert told == Decimal(events[-1].data["usage"]["cost"])


async def good(context: OperatorContext, given: object) -> object:
    return given


async def bad(context: OperatorContext, given: object) -> object:
    raise OSError("out of paper")


async def parent(context: OperatorContext, given: object) -> None:
    await context.child("good", 1)
    with contextlib.suppress(AgentRuntimeError):
        await context.child("bad", 1)


async def test_a_child_has_one_line_with_its_end_and_its_job_or_what_went_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with kernel(operators={"good": good, "bad": bad, "parent": parent}) as k:
        handle = await k.execute(ExecutionRequest(operator="parent"))
        await handle.result()
        steps = steps_of([event async for event in handle.events()])
    assert [(step.name, step.state) for step in steps] == [("good", "succeeded"), ("bad", "failed")]
    assert steps[0].note.startswith("job-")
    assert "out of paper" in steps[1].note
    show_steps(steps)
    assert "no price" not in capsys.readouterr().out


async def test_the_table_ends_in_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    events = await journal()
    show_steps(steps_of(events))

    *_, total = capsys.readouterr().out.splitlines()

    assert total.split() == [
        "total",
        str(sum(step.usage.total_tokens for step in steps_of(events) if step.usage)),
        money(Decimal(events[-1].data["usage"]["cost"])),
    ]


def told(events: Iterable[RuntimeEvent], **options: Any) -> list[str]:
    lines: list[str] = []
    narrator = Narrator(lines.append, **options)
    for event in events:
        narrator.tell(event)
    return lines


async def test_the_narrator_tells_failures_and_tools() -> None:
    lines = told(await journal())

    assert [line.split()[0] for line in lines] == ["model", "model", "tool", "tool", "model"]
    assert "attempt 1 failed: down" in lines[0]
    assert "asks for save, fail" in lines[1]
    assert any("fail failed: " in line and "out of paper" in line for line in lines)


async def waits(context: OperatorContext, _: Any) -> str:
    from agent_runtime import ActionSpec

    await context.action(ActionSpec(type="confirm"))
    return "ok"


async def test_a_wait_is_not_told_as_a_crash_and_a_crash_is() -> None:
    async with kernel(operators=[waits]) as k:
        handle = await k.execute(ExecutionRequest(operator="waits"))
        action = await pending(handle)
        await handle.resolve_action(action.action_id, {"confirmed": True}, resolved_by="ann")
        await handle.result()
        events = [event async for event in handle.events()]

    assert told(events) == ["  person    resolved by ann"]
    crashed = [event for event in events if event.type != "job.suspended"]
    if any(event.type == "job.resumed" for event in events):
        assert "a new one goes on" in "\n".join(told(crashed))


def test_words_and_lines_do_not_run_into_each_other() -> None:
    written: list[str] = []
    narrator = Narrator(lambda line: written.append(f"{line}\n"), speak=written.append)
    for text in ("Hello ", "world"):
        narrator.tell(RuntimeEvent(type="model.token", data={"text": text, "reasoning": False}))
    narrator.tell(RuntimeEvent(type="model.token", data={"text": "hm", "reasoning": True}))
    assert narrator.spoken == "Hello world"
    narrator.line("next")

    assert "".join(written) == "Hello world\nnext\n"


def test_amounts_read_well() -> None:
    assert [money(Decimal(text)) for text in ("0", "0.000123", "1234.5")] == ["$0", "$0.000123", "$1,234.50"]
    assert [money(Decimal(text)) for text in ("0.0000001", "0.00000123", "0.0005")] == [
        "$0.0000001",
        "$0.00000123",
        "$0.000500",
    ]
    assert [counted(number, "job") for number in (0, 1, 2_000)] == ["0 jobs", "1 job", "2,000 jobs"]
    assert money(None) == "no price"
    assert [seconds(value) for value in (None, 0.5, 61, 3720)] == ["–", "0.50 s", "1 min 01 s", "1 h 02 min"]
