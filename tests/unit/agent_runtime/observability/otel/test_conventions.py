"""The names of the GenAI conventions, of the month that is asked for, and metrics with few values."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.trace import SpanKind

from agent_runtime import ExecutionRequest, OpenTelemetryAdapter, OTelConfig
from agent_runtime.observability.otel.metrics import MAX_VALUES, OTHER
from agent_runtime.storage.memory import MemoryStorage
from llm_client import Agent, CompletionResult, FunctionProvider, RequestSpec, ToolCall, Usage, tool
from support.kernels import BOUND, kernel

pytestmark = pytest.mark.timeout(BOUND * 3)
USAGE = Usage(
    input_tokens=100,
    output_tokens=20,
    cache_read_tokens=40,
    cache_write_tokens=8,
    reasoning_tokens=5,
    requests=1,
    cost=Decimal("0.25"),
    price_source="vendor",
)


@tool(effect="idempotent")
async def search(what: str) -> str:
    """Search."""
    return f"found {what}"


def _answer(spec: RequestSpec) -> CompletionResult:
    has_results = any(message.role == "tool" for message in spec.messages)
    calls = () if has_results else (ToolCall("a", "search", {"what": "x"}),)
    return CompletionResult(
        content="Done." if has_results else "",
        tool_calls=calls,
        model="gpt-5.2-2026-01-01",
        provider="azure",
        usage=USAGE,
        finish_reason="tool_calls" if calls else "stop",
    )


class Told:
    """What was told of one job."""

    def __init__(self, spans: Mapping[str, list[ReadableSpan]], metrics: Mapping[str, list[Any]]) -> None:
        self.spans = spans
        self.metrics = metrics

    def said(self, name: str) -> Mapping[str, Any]:
        return self.spans[name][0].attributes or {}

    def points(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        return {
            tuple(sorted(point.attributes.items())): getattr(point, "sum", getattr(point, "value", None))
            for point in self.metrics[name]
        }


async def told(config: OTelConfig, **asked: Any) -> Told:
    storage, exporter, reader = MemoryStorage(), InMemorySpanExporter(), InMemoryMetricReader()
    meters = MeterProvider([reader])
    adapter = OpenTelemetryAdapter(storage=storage, config=config, exporter=exporter, meter_provider=meters)
    agent = Agent(
        provider=FunctionProvider(_answer, name="azure", model="gpt-5.2"),
        tools=[search],
        system_message="Brief.",
    )
    async with kernel(storage, agent=agent, projections=[adapter]) as k:
        handle = await k.execute(ExecutionRequest(prompt="Go.", **asked))
        await handle.result(timeout=BOUND)
        assert await adapter.flush(BOUND)
    spans: dict[str, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        spans.setdefault(span.name, []).append(span)
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    meters.shutdown()
    return Told(spans, metrics)


COMMON = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "azure.ai.openai",
    "gen_ai.request.model": "gpt-5.2",
    "gen_ai.response.model": "gpt-5.2-2026-01-01",
    "gen_ai.agent.name": "agent",
    "gen_ai.conversation.id": "s-1",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.usage.cache_read.input_tokens": 40,
    "gen_ai.usage.reasoning.output_tokens": 5,
}
WRITES = {
    "2026-10": {"gen_ai.usage.cache_write.input_tokens": 8},
    "2026-07": {"gen_ai.usage.cache_creation.input_tokens": 8},
    "both": {"gen_ai.usage.cache_write.input_tokens": 8, "gen_ai.usage.cache_creation.input_tokens": 8},
}
OCTOBER = {
    "gen_ai.client.inference.duration",
    "gen_ai.execute_tool.duration",
    "gen_ai.invoke_agent.duration",
    *(
        f"gen_ai.client.inference.usage.{kind}"
        for kind in (
            "input_tokens",
            "output_tokens",
            "cache_read.input_tokens",
            "cache_write.input_tokens",
            "reasoning.output_tokens",
        )
    ),
}
JULY = {"gen_ai.client.token.usage", "gen_ai.client.operation.duration"}
METRICS = {"2026-10": OCTOBER, "2026-07": JULY, "both": OCTOBER | JULY}


@pytest.mark.parametrize("profile", ["2026-10", "2026-07", "both"])
async def test_a_profile_writes_the_names_of_its_month(profile: Any) -> None:
    found = await told(OTelConfig(profile=profile), session_id="s-1")
    call = found.spans["chat gpt-5.2"][0]
    about = dict(call.attributes or {})
    assert call.kind is SpanKind.CLIENT
    genai = {name: value for name, value in about.items() if name.startswith("gen_ai.")}
    assert genai == {
        **COMMON,
        **WRITES[profile],
        "gen_ai.response.finish_reasons": ["tool_calls"],
    }
    assert found.metrics.keys() - {"agent.jobs", "agent.usage.cost"} == METRICS[profile]
    if profile == "2026-07":
        known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
        assert {name for name in about if name.startswith("gen_ai.")} <= known
        assert {value for name, value in vars(gen_ai_metrics).items() if name.startswith("GEN_AI_")} >= JULY


async def test_sums_of_a_job_have_names_of_their_own_and_costs_are_told_once_for_each() -> None:
    found = await told(OTelConfig())
    job, tool_call = found.said("agent.job"), found.said("agent.tool")
    assert not [name for name in job if name.startswith("gen_ai.usage")]
    assert (job["agent.usage.input_tokens"], job["agent.usage.cost"], job["agent.turns"]) == (200, 0.5, 2)
    assert found.said("chat gpt-5.2")["agent.model.cost"] == 0.25
    assert "agent.usage.cost" not in found.said("chat gpt-5.2")
    assert (job["gen_ai.operation.name"], job["gen_ai.agent.name"]) == ("invoke_agent", "agent")
    assert (tool_call["gen_ai.operation.name"], tool_call["gen_ai.tool.name"]) == ("execute_tool", "search")


async def test_names_may_be_those_of_the_conventions() -> None:
    found = await told(OTelConfig(names="genai"))
    assert sorted(found.spans) == ["agent.run", "chat gpt-5.2", "execute_tool search", "invoke_agent agent"]


async def test_metrics_add_up_what_was_used_by_model_and_by_nobody() -> None:
    found = await told(OTelConfig(profile="both"), scope_id="tenant-1", principal_id="ann", session_id="s-1")
    about = (
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "azure.ai.openai"),
        ("gen_ai.request.model", "gpt-5.2"),
    )
    assert found.points("gen_ai.client.inference.usage.input_tokens") == {about: 200}
    assert found.points("agent.usage.cost") == {about: 0.5}
    assert found.points("gen_ai.client.token.usage") == {
        (*about, ("gen_ai.token.type", "input")): 200,
        (*about, ("gen_ai.token.type", "output")): 40,
    }
    jobs = (("agent.job.status", "succeeded"), ("gen_ai.agent.name", "agent"))
    assert found.points("agent.jobs") == {jobs: 1}
    told_of = {
        value for points in found.metrics.values() for point in points for value in point.attributes.values()
    }
    assert not told_of & {"tenant-1", "ann", "s-1"}


async def test_an_attribute_of_metrics_has_no_more_values_than_a_receiver_takes() -> None:
    storage, reader = MemoryStorage(), InMemoryMetricReader()
    meters = MeterProvider([reader])
    adapter = OpenTelemetryAdapter(
        storage=storage,
        config=replace(OTelConfig(), sampling_rate=0.0),
        exporter=InMemorySpanExporter(),
        meter_provider=meters,
    )
    names = [f"tool_{number}" for number in range(MAX_VALUES + 50)]

    async def use(context: Any, given: object) -> None:
        for name in names:
            await context.step(_nothing, name=name, effect="pure")
            await context.tool(name)

    tools = [tool(_named(name), name=name, effect="read") for name in names]
    async with kernel(storage, operators=[use], tools=tools, projections=[adapter]) as k:
        await (await k.execute(ExecutionRequest(operator="use"))).result(timeout=BOUND)
        assert await adapter.flush(BOUND)
    data = reader.get_metrics_data()
    assert data is not None
    (points,) = [
        metric.data.data_points
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "gen_ai.execute_tool.duration"
    ]
    told_of = {str((point.attributes or {})["gen_ai.tool.name"]) for point in points}
    meters.shutdown()
    assert len(told_of) == MAX_VALUES + 1
    assert OTHER in told_of


async def _nothing() -> None:
    pass


def _named(name: str) -> Any:
    async def named() -> str:
        return name

    named.__doc__ = "Say it."
    return named
