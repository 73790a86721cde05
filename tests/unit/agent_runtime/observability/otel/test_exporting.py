"""Receivers that are away, refuse or hang: jobs do not notice, nothing is lost, and the loop never waits."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent_runtime import (
    ExecutionRequest,
    ExportFailed,
    InMemoryEventBus,
    OpenTelemetryAdapter,
    OperatorContext,
    OTelConfig,
    RuntimeEvent,
    RuntimeKernel,
)
from agent_runtime.errors import ConfigurationError
from agent_runtime.observability.otel.telling import Telling
from agent_runtime.storage.memory import MemoryStorage
from support.kernels import BOUND, QUICK, kernel, until
from support.otlp import receiver

pytestmark = pytest.mark.timeout(BOUND * 3)
SOON = OTelConfig(interval=0.01, begin="first")


async def work(context: OperatorContext, given: object) -> str:
    await context.step(nothing, effect="idempotent")
    return "done"


async def nothing() -> None:
    pass


async def run(k: RuntimeKernel, count: int = 1) -> list[str]:
    handles = [await k.execute(ExecutionRequest(operator="work")) for _ in range(count)]
    for handle in handles:
        await handle.result(timeout=BOUND)
    return [handle.job_id for handle in handles]


class Hanging(SpanExporter):
    """Hangs until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.inside = 0
        self.most = 0
        self.taken: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.let_go.wait(BOUND)
        self.inside -= 1
        self.taken += spans
        return SpanExportResult.SUCCESS


async def test_an_exporter_that_hangs_holds_up_no_job_and_is_joined_by_no_second_thread() -> None:
    exporter = Hanging()
    adapter = OpenTelemetryAdapter(
        InMemoryEventBus(), replace(SOON, export_timeout=0.05), storage=MemoryStorage(), exporter=exporter
    )
    assert adapter._storage is not None
    async with kernel(adapter._storage, operators=[work], projections=[adapter]) as k:
        await run(k, 5)
        with pytest.raises(ExportFailed, match="not answered"):
            await adapter.project(await adapter._storage.feed(after=0, upto=99))
        for _ in range(2):
            with pytest.raises(ExportFailed, match="still busy"):
                await adapter.project(await adapter._storage.feed(after=0, upto=99))
        assert await run(k, 1)
        exporter.let_go.set()
        assert await adapter.flush(BOUND)
    assert exporter.most == 1
    assert {span.name for span in exporter.taken} == {"agent.job", "agent.run", "agent.step"}


async def test_a_kernel_ends_in_time_while_an_exporter_hangs() -> None:
    exporter, storage = Hanging(), MemoryStorage()
    adapter = OpenTelemetryAdapter(storage=storage, config=SOON, exporter=exporter)
    async with asyncio.timeout(BOUND):
        async with kernel(storage, operators=[work], projections=[adapter]) as k:
            await run(k)

            async def hangs() -> bool:
                return exporter.inside > 0

            await until(hangs)
    exporter.let_go.set()


async def test_what_a_receiver_has_refused_or_not_heard_arrives_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = MemoryStorage()
    with receiver() as otlp:
        otlp.refuses = 1
        exporter = await asyncio.to_thread(OTLPSpanExporter, otlp.endpoint, timeout=1)
        adapter = OpenTelemetryAdapter(storage=storage, config=SOON, exporter=exporter)
        async with kernel(storage, operators=[work], projections=[adapter]) as k:
            made = await run(k, 3)
            assert await adapter.flush(BOUND)
        await asyncio.to_thread(exporter.shutdown)
        assert sorted(otlp.by_id()) == sorted(span.span_id for span in otlp.spans)
        for job_id in made:
            assert sorted(span.name for span in otlp.of_job(job_id)) == [
                "agent.job",
                "agent.run",
                "agent.step",
            ]
    assert "has not taken the spans" in caplog.text


async def test_an_adapter_that_is_started_follows_the_journals_of_the_buses_kernel(tmp_path: Path) -> None:
    address, exporter = f"sqlite:///{tmp_path / 'runs.db'}", InMemorySpanExporter()
    for count in (1, 2):  # the second one goes on where the first one was
        async with (
            RuntimeKernel(storage=address, operators=[work], options=QUICK) as k,
            OpenTelemetryAdapter(k.bus, replace(SOON, begin="now"), exporter=exporter),
        ):
            await run(k)
        assert len(exporter.get_finished_spans()) == count * 3


async def test_an_adapter_that_has_begun_now_tells_nothing_of_what_was_before(tmp_path: Path) -> None:
    address, exporter = f"sqlite:///{tmp_path / 'runs.db'}", InMemorySpanExporter()
    async with RuntimeKernel(storage=address, operators=[work], options=QUICK) as k:
        await run(k)
        async with OpenTelemetryAdapter(k.bus, OTelConfig(interval=0.01), exporter=exporter):
            (later,) = await run(k)
    assert {(span.attributes or {})["agent.job.id"] for span in exporter.get_finished_spans()} == {later}


async def test_spans_go_to_the_processors_of_a_tracer_provider() -> None:
    exporter, storage = InMemorySpanExporter(), MemoryStorage()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    adapter = OpenTelemetryAdapter(storage=storage, tracer_provider=provider)
    async with kernel(storage, operators=[work], projections=[adapter]) as k:
        await run(k, 400)  # more spans than a batch processor keeps
        assert await adapter.flush(BOUND)
    await asyncio.to_thread(provider.shutdown)
    assert len({span.context.span_id for span in exporter.get_finished_spans() if span.context}) == 1_200


async def test_a_projection_learns_from_its_kernel_whose_journals_it_follows(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    adapter = OpenTelemetryAdapter(config=SOON, exporter=exporter)
    address = f"sqlite:///{tmp_path / 'runs.db'}"
    async with RuntimeKernel(storage=address, operators=[work], projections=[adapter], options=QUICK) as k:
        await run(k)
        assert await adapter.flush(BOUND)
    assert len(exporter.get_finished_spans()) == 3
    with pytest.raises(ConfigurationError, match="one storage"):
        kernel(operators=[work], projections=[adapter])


async def test_an_adapter_without_journals_says_what_it_needs() -> None:
    with pytest.raises(ConfigurationError, match="needs a kernel"):
        await OpenTelemetryAdapter().start()
    with pytest.raises(ConfigurationError, match="needs a kernel"):
        await OpenTelemetryAdapter(InMemoryEventBus()).project([])


@pytest.mark.parametrize(
    "wrong",
    [
        {"sampling_rate": 1.5},
        {"sampling_rate": float("nan")},
        {"sampling_rate": True},
        {"profile": "2025-01"},
        {"names": "otel"},
        {"begin": "later"},
        {"max_attribute_bytes": 0},
        {"max_attribute_bytes": 300.5},
        {"export_timeout": 0},
    ],
)
def test_a_configuration_that_cannot_be_used_names_the_field(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        OTelConfig(**wrong)  # type: ignore[arg-type]


async def test_traces_are_sampled_whole_and_a_caller_who_keeps_one_has_it_kept() -> None:
    storage, exporter = MemoryStorage(), InMemorySpanExporter()
    adapter = OpenTelemetryAdapter(storage=storage, config=OTelConfig(sampling_rate=0.5), exporter=exporter)
    callers = [f"00-{number:032x}-{1:016x}-{flag}" for number in (1, (1 << 128) - 1) for flag in ("00", "01")]
    async with kernel(storage, operators=[work], projections=[adapter]) as k:
        for traceparent in callers:
            handle = await k.execute(ExecutionRequest(operator="work", traceparent=traceparent))
            await handle.result(timeout=BOUND)
        await run(k, 60)
        assert await adapter.flush(BOUND)
    by_trace: dict[int, int] = {}
    for span in exporter.get_finished_spans():
        assert span.context is not None
        by_trace[span.context.trace_id] = by_trace.get(span.context.trace_id, 0) + 1
    assert by_trace.pop(1) == 6  # kept by its id, with both flags
    assert by_trace.pop((1 << 128) - 1) == 3  # kept by its caller
    assert set(by_trace.values()) == {3}
    assert 10 <= len(by_trace) <= 50


async def test_a_bus_without_a_kernel_is_told_of_as_it_is_heard() -> None:
    bus, exporter = InMemoryEventBus(), InMemorySpanExporter()
    adapter = OpenTelemetryAdapter(bus, OTelConfig(service_name="mine"), exporter=exporter)
    await adapter.start()
    for type_, data in (
        ("job.created", {}),
        ("job.started", {}),
        ("tool.started", {"tool_name": "search", "name": "search"}),
        ("tool.completed", {"tool_name": "search", "name": "search"}),
        ("tool.started", {"name": {"no": "text"}}),
        ("model.completed", {"usage": "none", "duration_ms": "long"}),
        ("job.succeeded", {}),
    ):
        await bus.publish(RuntimeEvent(type=type_, job_id="job-1", data=data))

    async def heard() -> bool:
        return adapter._live is not None and len(adapter._live._waiting) >= 4

    await until(heard)
    await adapter.aclose()
    names = sorted(span.name for span in exporter.get_finished_spans())
    assert names == ["agent.job", "agent.run", "agent.tool", "agent.tool", "chat"]
    assert {span.resource.attributes["service.name"] for span in exporter.get_finished_spans()} == {"mine"}
    assert len({span.context.trace_id for span in exporter.get_finished_spans() if span.context}) == 1


async def test_without_anything_else_spans_go_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiver() as otlp:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", otlp.endpoint)
        monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: None)
        storage = MemoryStorage()
        adapter = OpenTelemetryAdapter(storage=storage, config=SOON)
        async with kernel(storage, operators=[work], projections=[adapter]) as k:
            await run(k)
            assert await adapter.flush(BOUND)
        telling = adapter._telling
        assert isinstance(telling, Telling)
        await adapter.aclose()
        assert sorted(span.name for span in otlp.spans) == ["agent.job", "agent.run", "agent.step"]


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_an_adapter_of_a_bus_alone_stops_though_nobody_takes_its_spans(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(Hanging):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.FAILURE if how == "refuses" else super().export(spans)

    bus, exporter = InMemoryEventBus(), Refusing()
    adapter = OpenTelemetryAdapter(bus, exporter=exporter)
    await adapter.start()
    for type_ in ("job.created", "job.succeeded"):
        await bus.publish(RuntimeEvent(type=type_, job_id="job-1"))

    async def heard() -> bool:
        return adapter._live is not None and len(adapter._live._waiting) == 1

    await until(heard)
    async with asyncio.timeout(BOUND):
        await adapter.stop(0.2)
    exporter.let_go.set()
    assert "not everything was told" in caplog.text
    assert not bus.has_listeners("job-1")


async def test_an_export_is_no_span_itself() -> None:
    seen: list[object] = []

    class Looking(InMemorySpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            seen.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
            return super().export(spans)

    adapter = OpenTelemetryAdapter(config=SOON, exporter=Looking())
    async with kernel(operators=[work], projections=[adapter]) as k:
        await run(k)
        assert await adapter.flush(BOUND)
    assert set(seen) == {True}


@pytest.mark.parametrize(
    ("how", "said"), [("hangs", "has not closed for 0.1 seconds"), ("fails", "failed to close")]
)
async def test_an_exporter_that_does_not_close_ends_nothing(
    how: str, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    let_go = threading.Event()

    def close() -> None:
        if how == "fails":
            raise OSError("the connection is gone")
        let_go.wait(BOUND)

    adapter = OpenTelemetryAdapter(
        config=replace(SOON, export_timeout=0.1), storage=MemoryStorage(), exporter=InMemorySpanExporter()
    )
    async with adapter:
        monkeypatch.setattr((await adapter._told())._sink, "close", close)
    let_go.set()
    assert said in caplog.text
