"""temporalio/sdk-java #2801: the span of a run that waited for days stayed open in a process, was never exported, and those below it had no parent.

A job waits for a week, and the process that began it is gone when it goes on. What it has done is told while it waits; in the end its trace is whole, and that
of a job that was run in one go.
"""

from collections import Counter
from pathlib import Path

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
)
from agent_runtime.testing.clock import FakeClock
from support.kernels import BOUND, QUICK, pending, status_becomes

pytestmark = pytest.mark.timeout(BOUND * 3)
DAY = 86_400


async def patient(context: OperatorContext, given: object) -> str:
    await context.step(nothing, name="first", effect="idempotent")
    await context.action(ActionSpec(type="confirm", payload={"go": "on?"}))
    await context.sleep(3 * DAY)
    await context.step(nothing, name="last", effect="idempotent")
    return "done"


async def nothing() -> None:
    pass


def shape(spans: list[ReadableSpan]) -> Counter[tuple[object, ...]]:
    """Return what spans there are, below what, without what is different for each job."""
    by_id = {span.context.span_id: span for span in spans if span.context}
    assert len(by_id) == len(spans)  # each was told once

    def told(span: ReadableSpan | None) -> tuple[object, ...]:
        about = {} if span is None else dict(span.attributes or {})
        place = str(about.get("agent.operation.id", "")).partition(":")[2]
        return (span and span.name, place, about.get("agent.run.segment"))

    for span in spans:
        assert span.parent is None or span.parent.span_id in by_id
    return Counter(
        (*told(span), *told(by_id.get(span.parent.span_id) if span.parent else None)) for span in spans
    )


async def played(address: str, *, restarts: bool) -> tuple[list[ReadableSpan], list[int]]:
    """Run the job, each part of it in a process of its own or all in one; return its spans, and how many were told by each wait."""
    clock, exporter, told_by = FakeClock(), InMemorySpanExporter(), []

    def process() -> tuple[RuntimeKernel, OpenTelemetryAdapter]:
        adapter = OpenTelemetryAdapter(config=OTelConfig(begin="first"), exporter=exporter)
        k = RuntimeKernel(
            storage=address, operators=[patient], projections=[adapter], options=QUICK, clock=clock
        )
        return k, adapter

    k, adapter = process()
    await k.start()
    job_id = (await k.execute(ExecutionRequest(operator="patient"))).job_id
    for status in ("waiting_action", "sleeping", "succeeded"):
        await status_becomes(k.handle(job_id), status)
        assert await adapter.flush(BOUND)
        told_by.append(len(exporter.get_finished_spans()))
        if restarts:
            await k.aclose()
            k, adapter = process()
            await k.start()
        clock.move(days=4)
        if status == "waiting_action":
            handle = k.handle(job_id)
            await handle.resolve_action((await pending(handle)).action_id, {"confirmed": True})
    await k.aclose()
    return list(exporter.get_finished_spans()), told_by


async def test_a_job_that_waits_for_a_week_between_processes_has_the_trace_of_one_that_was_run_in_one_go(
    tmp_path: Path,
) -> None:
    in_one_go, _ = await played(f"sqlite:///{tmp_path / 'one.db'}", restarts=False)
    spans, told_by = await played(f"sqlite:///{tmp_path / 'many.db'}", restarts=True)
    assert shape(spans) == shape(in_one_go)
    assert told_by[0] == 2  # the first step and the run up to the question
    assert told_by == sorted(set(told_by))
    (job,) = [span for span in spans if span.name == "agent.job"]
    assert job.end_time is not None
    assert job.start_time is not None
    assert job.end_time - job.start_time == 8 * DAY * 10**9
    assert len({span.context.trace_id for span in spans if span.context}) == 1
