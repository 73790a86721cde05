"""Telling spans: made for exporters and handed over in a thread, within a time, to a receiver that may be away or hang."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter

from agent_runtime.errors import ExportFailed
from agent_runtime.observability.otel.config import OTelConfig
from agent_runtime.observability.otel.job_trace import JobTrace
from agent_runtime.observability.otel.metrics import Metrics
from agent_runtime.observability.otel.sinks import sink_of
from agent_runtime.observability.otel.spans import Span
from agent_runtime.observability.otel.told_spans import SpanTeller
from llm_client.logs import logger_of
from llm_client.public_text import text_of
from llm_client.tools.threads import call_in_thread

Ended = tuple[Span, JobTrace]
AT_ONCE: Final = 256
"""Spans that are handed over at once: with their texts, a request of some megabytes at most."""
logger = logger_of(__name__)


class Telling:
    """Hands spans over, one lot at a time. It is made in a thread: exporters and resources look around.

    Args:
        config: Under which names, and how long it may take.
        exporter: Where spans go; by default to the processors of the provider.
        tracer_provider: By default the process's.
        meter_provider: Likewise.
    """

    def __init__(
        self,
        config: OTelConfig,
        *,
        exporter: SpanExporter | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._sink = sink_of(exporter, tracer_provider)
        self._timeout = config.export_timeout
        self._teller = SpanTeller(config, self._sink.resource, _version())
        self._metrics = Metrics(config, meter_provider, _version())
        self._busy = threading.Event()
        """Set while a thread is in the sink. One that hangs is not joined by others."""

    async def tell(self, ended: Sequence[Ended]) -> None:
        """Return when spans have been taken, and count them.

        Raises:
            ExportFailed: They have not been, or nobody knows.
        """
        told = await asyncio.to_thread(self._told, ended)
        for first in range(0, len(told), AT_ONCE):
            await self._hand_over(told[first : first + AT_ONCE])
        await asyncio.to_thread(self._count, ended)

    async def aclose(self) -> None:
        """Let go of the exporter, if it was made here. One that hangs, or fails, is left: nobody could do anything about it."""
        try:
            async with asyncio.timeout(self._timeout):
                await call_in_thread(self._sink.close, {}, "otel-close")
        except TimeoutError:
            logger.warning("the exporter has not closed for %g seconds, and is left", self._timeout)
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with it
            logger.warning("the exporter has failed to close: %s", text_of(error))

    def _count(self, ended: Sequence[Ended]) -> None:
        """Count spans. One that cannot be counted is left out: its span was told, and all others would wait for it."""
        for span, trace in ended:
            try:
                self._metrics.count(span, trace)
            except Exception as error:  # noqa: BLE001 -- whatever is wrong with it
                logger.warning("a span of job %s is not counted: %s", span.job_id, text_of(error))

    def _told(self, ended: Sequence[Ended]) -> list[ReadableSpan]:
        """Make spans for exporters. One that cannot be made is left out: all others would wait for it."""
        told = []
        for span, trace in ended:
            if not self._teller.is_told(span):
                continue
            try:
                told.append(self._teller.told(span, trace))
            except Exception as error:  # noqa: BLE001 -- whatever is wrong with it
                logger.warning("a span of job %s is not told: %s", span.job_id, text_of(error))
        return told

    async def _hand_over(self, spans: Sequence[ReadableSpan]) -> None:
        if self._busy.is_set():
            raise ExportFailed("the exporter is still busy with what it was given before")
        self._busy.set()
        try:
            async with asyncio.timeout(self._timeout):
                await call_in_thread(self._take, {"spans": spans}, "otel-export")
        except TimeoutError as error:
            raise ExportFailed(f"the exporter has not answered for {self._timeout:g} seconds") from error
        except ExportFailed:
            raise
        except Exception as error:
            raise ExportFailed(f"the exporter has failed: {text_of(error)}") from error

    def _take(self, spans: Sequence[ReadableSpan]) -> None:
        try:
            self._sink.take(spans)
        finally:
            self._busy.clear()


def _version() -> str:
    try:
        return version("durable-agent-runtime")
    except PackageNotFoundError:  # a copy that was not installed
        return "0"
