"""Metrics of what has ended, by names of which there are few."""

from __future__ import annotations

from typing import Final

from opentelemetry.metrics import Counter, Histogram, MeterProvider, get_meter

from agent_runtime.observability.otel.config import OTelConfig
from agent_runtime.observability.otel.conventions import (
    Attributes,
    name_text,
    operation_of,
    provider_of,
    usage_of,
)
from agent_runtime.observability.otel.job_trace import JobTrace
from agent_runtime.observability.otel.spans import Span
from llm_client.usage import Usage

MAX_VALUES: Final = 200
"""Values that one attribute of metrics may have, beside `OTHER`: each makes a series, and some are what users call their things."""
OTHER: Final = "_OTHER"


class Metrics:
    """Counts spans that have ended.

    Each process counts what it has told. What it tells again, since it could not be kept that it was told, is counted again: for bills there is the ledger.

    Args:
        config: Under which names.
        provider: Where they go; by default to the process's meter provider.
        version: Of this package.
    """

    def __init__(self, config: OTelConfig, provider: MeterProvider | None, version: str) -> None:
        meter = get_meter(config.tracer_name, version, provider)
        self._seen: dict[str, set[str]] = {}
        october, july = config.profile != "2026-07", config.profile != "2026-10"
        self._cost = meter.create_counter(
            "agent.usage.cost", "{USD}", "What model calls have cost, in US dollars"
        )
        self._jobs = meter.create_counter("agent.jobs", "{job}", "Jobs that have ended")
        self._durations: dict[str, list[Histogram]] = {"model": [], "tool": [], "job": []}
        self._first: list[Histogram] = []
        self._tokens: dict[str, Counter] = {}
        self._token_usage: Histogram | None = None

        def seconds(name: str) -> Histogram:
            return meter.create_histogram(name, "s")

        if october:
            self._durations["model"].append(seconds("gen_ai.client.inference.duration"))
            self._durations["tool"].append(seconds("gen_ai.execute_tool.duration"))
            self._durations["job"].append(seconds("gen_ai.invoke_agent.duration"))
            self._first.append(seconds("gen_ai.client.inference.time_to_first_chunk"))
            self._tokens = {
                kind: meter.create_counter(f"gen_ai.client.inference.usage.{kind}", "{token}")
                for kind in (*("input_tokens", "output_tokens", "cache_read.input_tokens"), *_RARE)
            }
        if july:
            self._durations["model"].append(seconds("gen_ai.client.operation.duration"))
            self._first.append(seconds("gen_ai.client.operation.time_to_first_chunk"))
            self._token_usage = meter.create_histogram("gen_ai.client.token.usage", "{token}")

    def count(self, span: Span, trace: JobTrace) -> None:
        """Count a span."""
        if span.family == "model":
            self._count_call(span)
        elif span.family == "tool":
            about = self._about(span, {"gen_ai.tool.name": name_text(span.facts.get("name"))})
            for duration in self._durations["tool"]:
                duration.record(span.seconds, about)
        elif span.family == "job":
            agent = {"gen_ai.agent.name": name_text(trace.operator)}
            for duration in self._durations["job"]:
                duration.record(span.seconds, self._about(span, agent))
            self._jobs.add(
                1, self._about(span, {**agent, "agent.job.status": str(span.facts.get("outcome"))})
            )

    def _count_call(self, span: Span) -> None:
        about = self._about(
            span,
            {
                "gen_ai.operation.name": operation_of(span),
                "gen_ai.provider.name": provider_of(span),
                "gen_ai.request.model": name_text(span.facts.get("model")),
            },
        )
        for duration in self._durations["model"]:
            duration.record(span.seconds, about)
        first = span.facts.get("first_token_ms")
        if isinstance(first, int | float):
            for histogram in self._first:
                histogram.record(first / 1000, about)
        usage = usage_of(span)
        if usage is None or span.facts.get("cached"):
            return
        if usage.cost:
            self._cost.add(float(usage.cost), about)
        for kind, counter in self._tokens.items():
            if count := _count_of(usage, kind):
                counter.add(count, about)
        if self._token_usage is not None:
            self._token_usage.record(usage.input_tokens, {**about, "gen_ai.token.type": "input"})
            self._token_usage.record(usage.output_tokens, {**about, "gen_ai.token.type": "output"})

    def _about(self, span: Span, values: dict[str, str]) -> Attributes:
        if span.error is not None:
            values["error.type"] = name_text(span.error)
        return {name: self._bounded(name, value) for name, value in values.items() if value}

    def _bounded(self, name: str, value: str) -> str:
        seen = self._seen.setdefault(name, set())
        if value not in seen:
            if len(seen) >= MAX_VALUES:
                return OTHER
            seen.add(value)
        return value


_RARE: Final = ("cache_write.input_tokens", "reasoning.output_tokens")


def _count_of(usage: Usage, kind: str) -> int:
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read.input_tokens": usage.cache_read_tokens,
        "cache_write.input_tokens": usage.cache_write_tokens,
        "reasoning.output_tokens": usage.reasoning_tokens,
    }
    return counts[kind]
