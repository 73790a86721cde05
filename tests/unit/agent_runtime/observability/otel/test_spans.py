"""The spans of jobs: what there is one of, what is below what, how long it took, and how it ended."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent_runtime import (
    ActionSpec,
    ExecutionRequest,
    OpenTelemetryAdapter,
    OperatorContext,
    OTelConfig,
    RuntimeKernel,
    current_context,
)
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.clock import FakeClock
from llm_client import Agent, FunctionProvider, RequestSpec, ToolCall, tool
from support.kernels import BOUND, kernel, pending, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 3)
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Told:
    """A kernel whose spans are kept in the memory."""

    def __init__(self, *operators: Any, config: OTelConfig | None = None, **options: Any) -> None:
        self.storage = MemoryStorage()
        self.exporter = InMemorySpanExporter()
        self.adapter = OpenTelemetryAdapter(
            storage=self.storage, config=config or OTelConfig(), exporter=self.exporter
        )
        self.kernel: RuntimeKernel = kernel(
            self.storage, operators=operators, projections=[self.adapter], **options
        )

    async def spans(self) -> dict[str, ReadableSpan]:
        """Return the spans of everything that has happened, by id."""
        assert await self.adapter.flush(BOUND)
        found: dict[str, ReadableSpan] = {}
        for span in self.exporter.get_finished_spans():
            assert id_of(span) not in found
            found[id_of(span)] = span
        return found

    async def named(self) -> dict[str, list[ReadableSpan]]:
        found: dict[str, list[ReadableSpan]] = {}
        for span in (await self.spans()).values():
            found.setdefault(span.name, []).append(span)
        return found


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def above(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def said(span: ReadableSpan, name: str) -> Any:
    assert span.attributes is not None
    return span.attributes.get(name)


def seconds(span: ReadableSpan) -> float:
    assert span.end_time is not None
    assert span.start_time is not None
    return (span.end_time - span.start_time) / 1e9


@tool(effect="idempotent")
async def search(what: str) -> str:
    """Search."""
    return f"found {what}"


@tool(effect="read")
async def look(what: str) -> str:
    """Look."""
    return f"saw {what}"


@tool(effect="unsafe")
async def deploy(what: str) -> str:
    """Deploy, when somebody has said yes."""
    answer = await current_context().action(ActionSpec(type="confirm", payload={"what": what}))
    return f"deployed {what}" if (answer.resolution or {})["confirmed"] else "left"


def calls(*asked: ToolCall) -> Callable[[RequestSpec], Any]:
    def answer(spec: RequestSpec) -> Any:
        has_results = any(message.role == "tool" for message in spec.messages)
        return "Done." if has_results else list(asked)

    return answer


def agent(*asked: ToolCall, tools: Any = (search, look, deploy)) -> Agent:
    return Agent(provider=FunctionProvider(calls(*asked)), tools=list(tools), system_message="Be brief.")


async def test_a_job_its_run_its_calls_of_models_and_tools_and_a_question_are_spans_below_one_another() -> (
    None
):
    told = Told(
        agent=agent(ToolCall("a", "search", {"what": "x"}), ToolCall("b", "deploy", {"what": "y"})),
    )
    async with told.kernel as k:
        handle = await k.execute(ExecutionRequest(prompt="Go.", session_id="s-1"))
        action = await pending(handle)
        await handle.resolve_action(action.action_id, {"confirmed": True})
        await handle.result(timeout=BOUND)
        named = await told.named()
    (job,), (asked,) = named["agent.job"], named["agent.action"]
    runs = {id_of(span): span for span in named["agent.run"]}
    first = next(span for span in runs.values() if said(span, "agent.run.segment") == 0)
    tools = {said(span, "gen_ai.tool.name"): span for span in named["agent.tool"]}
    assert above(job) is None
    assert {above(span) for span in runs.values()} == {id_of(job)}
    assert set(tools) == {"search", "deploy"}
    assert {above(span) for span in tools.values()} == {id_of(first)}
    assert above(asked) == id_of(tools["deploy"])
    assert len(named["chat function"]) == 2
    assert {above(span) for span in named["chat function"]} <= set(runs)
    assert {span.context.trace_id for span in (await told.spans()).values() if span.context} == {
        job.context.trace_id if job.context else 0
    }
    assert said(job, "agent.job.status") == "succeeded"
    assert said(asked, "agent.action.status") == "resolved"
    assert said(named["chat function"][0], "gen_ai.conversation.id") == "s-1"


async def sleeper(context: OperatorContext, given: object) -> str:
    await context.step(nothing, effect="idempotent")
    await context.sleep(3 * 86_400)
    await context.step(nothing, effect="idempotent")
    return "awake"


async def nothing() -> None:
    pass


async def test_a_job_that_sleeps_for_days_has_a_run_before_and_one_after_which_says_where_it_began() -> None:
    clock = FakeClock()
    told = Told(sleeper, clock=clock)
    async with told.kernel as k:
        handle = await k.execute(ExecutionRequest(operator="sleeper"))
        await status_becomes(handle, "sleeping")
        before = await told.named()
        assert set(before) == {"agent.step", "agent.run"}  # what has ended is told while the job sleeps
        clock.move(days=3)
        await handle.result(timeout=BOUND)
        named = await told.named()
    first, second = sorted(named["agent.run"], key=lambda span: said(span, "agent.run.segment"))
    assert (said(first, "agent.run.outcome"), said(first, "agent.run.waits")) == ("suspended", ["timer"])
    assert [link.context.span_id for link in second.links] == [first.context.span_id if first.context else 0]
    assert seconds(named["agent.timer"][0]) == seconds(named["agent.job"][0]) == 3 * 86_400
    assert seconds(first) == seconds(second) == 0


async def parent(context: OperatorContext, given: object) -> Any:
    return (await context.child("sleeper")).output_data


async def test_a_child_is_below_the_step_that_waits_for_it_in_one_trace_with_the_caller() -> None:
    clock = FakeClock()
    told = Told(parent, sleeper, clock=clock)
    async with told.kernel as k:
        handle = await k.execute(ExecutionRequest(operator="parent", traceparent=CALLER))
        while not (children := await told.storage.list_jobs(_children_of(handle.job_id))):
            await asyncio.sleep(0.01)
        await status_becomes(k.handle(children[0].job_id), "sleeping")
        clock.move(days=3)
        await handle.result(timeout=BOUND)
        spans = await told.spans()
    assert {f"{span.context.trace_id:032x}" for span in spans.values() if span.context} == {
        CALLER.split("-")[1]
    }
    jobs = {said(span, "agent.job.id"): span for span in spans.values() if span.name == "agent.job"}
    (step,) = [span for span in spans.values() if span.name == "agent.child"]
    assert above(jobs[handle.job_id]) == CALLER.split("-")[2]
    assert above(jobs[children[0].job_id]) == id_of(step)
    assert said(step, "agent.child.job.id") == children[0].job_id


def _children_of(job_id: str) -> Any:
    from agent_runtime import JobFilter

    return JobFilter(parent_job_id=job_id)


async def again(context: OperatorContext, given: int) -> str:
    await context.step(nothing, effect="idempotent")
    if given:
        context.continue_as_new(given - 1)
    return "done"


@pytest.mark.parametrize("traceparent", [CALLER, None])
async def test_a_job_that_goes_on_as_a_new_one_stays_in_its_callers_trace_else_begins_one_that_is_linked(
    traceparent: str | None,
) -> None:
    told = Told(again)
    async with told.kernel as k:
        handle = await k.execute(ExecutionRequest(operator="again", input=1, traceparent=traceparent))
        await handle.result(timeout=BOUND)
        jobs = (await told.named())["agent.job"]
    first, second = sorted(jobs, key=lambda span: span.end_time or 0)
    assert first.context is not None
    assert second.context is not None
    assert (first.context.trace_id == second.context.trace_id) is (traceparent is not None)
    assert above(first) == above(second) == (None if traceparent is None else CALLER.split("-")[2])
    assert [(link.context.trace_id, link.context.span_id) for link in second.links] == [
        (first.context.trace_id, first.context.span_id)
    ]


class Doors:
    """What a step meets: closed at first."""

    closed = True


async def knock(context: OperatorContext, given: object) -> str:
    await context.step(nothing, effect="idempotent")
    return await context.step(enter, effect="idempotent")


async def enter() -> str:
    if Doors.closed:
        raise ValueError("closed")
    return "inside"


async def test_a_retry_is_in_the_trace_of_the_job_it_retries_and_tells_nothing_twice() -> None:
    Doors.closed = True
    told = Told(knock)
    async with told.kernel as k:
        failed = await k.execute(ExecutionRequest(operator="knock"))
        await k.wait_for_end(failed.job_id)
        Doors.closed = False
        retry = await k.retry(failed.job_id)
        await retry.result(timeout=BOUND)
        spans = (await told.spans()).values()
    steps = [
        (said(span, "agent.job.id"), said(span, "agent.step.outcome"))
        for span in spans
        if "step" in span.name
    ]
    assert steps == [
        (failed.job_id, "completed"),
        (failed.job_id, "failed"),
        (retry.job_id, "completed"),  # and none of what was copied
    ]
    jobs = {said(span, "agent.job.id"): span for span in spans if span.name == "agent.job"}
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    assert above(jobs[retry.job_id]) == id_of(jobs[failed.job_id])
    error = jobs[failed.job_id]
    assert (error.status.status_code.name, said(error, "error.type")) == ("ERROR", "StepFailed")
    assert [event.name for event in error.events] == ["exception"]


async def test_what_is_open_when_a_job_is_cancelled_ends_with_it() -> None:
    clock = FakeClock()
    told = Told(sleeper, clock=clock)
    async with told.kernel as k:
        handle = await k.execute(ExecutionRequest(operator="sleeper"))
        await status_becomes(handle, "sleeping")
        await handle.cancel()
        await k.wait_for_end(handle.job_id)
        named = await told.named()
    assert said(named["agent.job"][0], "agent.job.status") == "cancelled"
    assert len(named["agent.timer"]) == 1
    assert told.adapter._projection is not None
    assert not told.adapter._projection._traces  # and nothing of it is kept


async def test_a_tool_that_only_reads_begins_when_it_was_asked_for() -> None:
    clock = FakeClock()

    @tool(effect="read")
    async def slow() -> str:
        """Take a minute."""
        clock.move(minutes=1)
        return "slow"

    told = Told(agent=agent(ToolCall("a", "slow", {}), tools=[slow]), clock=clock)
    async with told.kernel as k:
        await (await k.execute(ExecutionRequest(prompt="Go."))).result(timeout=BOUND)
        named = await told.named()
    (reading,) = named["agent.tool"]
    assert said(reading, "agent.start") == "inferred"
    assert seconds(reading) == 60
    assert [seconds(span) for span in named["chat function"]] == [0, 0]
