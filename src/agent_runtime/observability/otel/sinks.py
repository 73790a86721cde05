"""Where spans go: to an exporter, or to what a tracer provider hands them on to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from agent_runtime.errors import ExportFailed
from agent_runtime.extras import optional_packages

FLUSH_MILLISECONDS: Final = 30_000


class Sink(Protocol):
    """Takes spans. Its methods may take long, and may hang: they are called in a thread."""

    @property
    def resource(self) -> Resource | None:
        """What the spans are of; `None` where nobody has said."""
        ...

    def take(self, spans: Sequence[ReadableSpan]) -> None:
        """Return when the spans have been taken. Raises `ExportFailed`."""
        ...

    def close(self) -> None:
        """Let go of what was opened for it."""
        ...


class ExporterSink:
    """Hands spans to an exporter, which says whether they have arrived.

    Args:
        exporter: Of a user's, or one that was made here.
        is_own: Whether it is closed here.
    """

    resource: Resource | None = None

    def __init__(self, exporter: SpanExporter, *, is_own: bool = False) -> None:
        self._exporter = exporter
        self._is_own = is_own

    def take(self, spans: Sequence[ReadableSpan]) -> None:
        """Export. What instruments HTTP clients makes no spans of it, which would be exported too."""
        token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            result = self._exporter.export(spans)
        finally:
            detach(token)
        if result is not SpanExportResult.SUCCESS:
            raise ExportFailed(
                "the exporter has not taken the spans; what it says is in the log of opentelemetry"
            )

    def close(self) -> None:
        """Close an exporter of our own."""
        if self._is_own:
            self._exporter.shutdown()


class ProviderSink:
    """Hands spans to the processors of a tracer provider, and has them passed on at once.

    Most processors do not say whether an exporter has taken what they have passed on.

    Args:
        provider: A user's, who has added the processors.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        # The provider has no public way to hand over a span that was not begun by a tracer of its own, under an id of its own.
        self._processor: SpanProcessor = provider._active_span_processor  # noqa: SLF001

    @property
    def resource(self) -> Resource | None:
        """The provider's."""
        return self._provider.resource

    def take(self, spans: Sequence[ReadableSpan]) -> None:
        """Pass spans on."""
        for span in spans:
            self._processor.on_end(span)
        if not self._provider.force_flush(FLUSH_MILLISECONDS):
            raise ExportFailed("the tracer provider has not passed the spans on in time")

    def close(self) -> None:
        """Leave it to its owner."""


def sink_of(exporter: SpanExporter | None, provider: TracerProvider | None) -> Sink:
    """Return where spans go: to what was given, else to the process's tracer provider, else as `OTEL_EXPORTER_OTLP_…` says.

    Raises:
        MissingDependency: There is no exporter for OTLP.
    """
    if exporter is not None:
        return ExporterSink(exporter)
    found = provider or trace.get_tracer_provider()
    if isinstance(found, TracerProvider):
        return ProviderSink(found)
    with optional_packages():
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return ExporterSink(OTLPSpanExporter(), is_own=True)
