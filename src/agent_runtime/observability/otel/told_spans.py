"""Spans as OpenTelemetry's SDK has them."""

from __future__ import annotations

from typing import Final

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from agent_runtime.observability.otel.config import OTelConfig
from agent_runtime.observability.otel.content import fitted
from agent_runtime.observability.otel.conventions import attributes_of, name_of, name_text
from agent_runtime.observability.otel.job_trace import JobTrace
from agent_runtime.observability.otel.spans import Span, nanoseconds
from agent_runtime.ports.trace_context import TraceContext
from llm_client.public_text import printable

MAX_ERROR_BYTES: Final = 2048
_SHARE: Final = 1 << 64
_HALF: Final = _SHARE - 1


class SpanTeller:
    """Makes of spans what exporters take.

    Args:
        config: Under which names.
        resource: What they are of; with `service_name` of the configuration, if it has one.
        version: Of this package.
    """

    def __init__(self, config: OTelConfig, resource: Resource | None, version: str) -> None:
        self._config = config
        named = {} if config.service_name is None else {SERVICE_NAME: config.service_name}
        self.resource = (resource or Resource.create()).merge(Resource(named))
        self._scope = InstrumentationScope(config.tracer_name, version)
        self._bound = int(config.sampling_rate * _SHARE)

    def is_told(self, span: Span) -> bool:
        """Whether the trace is one of those that are told: as its caller says, or by its id."""
        return span.context.sampled or (span.context.trace_id & _HALF) < self._bound

    def told(self, span: Span, trace: JobTrace) -> ReadableSpan:
        """Return a span that has ended, for an exporter."""
        above = span.above
        return ReadableSpan(
            name=name_of(span, trace, self._config),
            context=_context(span.context),
            parent=None if above is None else _context(above, is_remote=span.above_is_elsewhere),
            resource=self.resource,
            attributes=attributes_of(span, trace, self._config),
            events=self._events(span),
            links=[Link(_context(one), {"agent.link": what}) for one, what in span.links],
            kind=SpanKind.CLIENT if span.family == "model" else SpanKind.INTERNAL,
            status=_status(span),
            start_time=nanoseconds(span.start),
            end_time=nanoseconds(span.end or span.start),
            instrumentation_scope=self._scope,
        )

    def _events(self, span: Span) -> list[Event]:
        events = [
            Event(one.name, {key: _plain(value) for key, value in one.facts.items()}, nanoseconds(one.at))
            for one in span.events
        ]
        if span.error is not None and self._config.record_exceptions and span.error_text:
            about = {
                "exception.type": name_text(span.error),
                "exception.message": fitted(printable(span.error_text), MAX_ERROR_BYTES),
            }
            events.append(Event("exception", about, nanoseconds(span.end or span.start)))
        return events


def _context(context: TraceContext, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, is_remote, TraceFlags(TraceFlags.SAMPLED))


def _plain(value: object) -> str | bool | int | float:
    return value if isinstance(value, bool | int | float) else name_text(value)


def _status(span: Span) -> Status:
    if span.error is None:
        return Status(StatusCode.UNSET)
    return Status(StatusCode.ERROR, name_text(span.error))
