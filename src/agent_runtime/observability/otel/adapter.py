"""OpenTelemetry for a kernel, or for a bus alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Literal, Self

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter

from agent_runtime.errors import ConfigurationError, ExportFailed
from agent_runtime.events.bus import EventBus
from agent_runtime.observability.otel.config import OTelConfig
from agent_runtime.observability.otel.live import LiveSpans
from agent_runtime.observability.otel.projection import PROJECTION, SpanProjection
from agent_runtime.observability.otel.telling import Telling
from agent_runtime.ports.clock import SystemClock, clock_of
from agent_runtime.ports.feed import FeedEntry
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.storage import Storage
from agent_runtime.worker.projectors import Projector
from llm_client.background import stopped
from llm_client.logs import logger_of

HELD_SECONDS: Final = 15.0
"""How long no other process takes over after the last sign of life of one that tells."""
FLUSH_SECONDS: Final = 10.0
_PAUSE: Final = 0.02
_NEEDS: Final = "an OpenTelemetryAdapter needs a kernel that it is a projection of, or a bus, or a storage"
logger = logger_of(__name__)


class OpenTelemetryAdapter:
    """Tells of jobs as traces and metrics.

    Give it to a kernel as one of its `projections`, or `start` it: with the bus of a kernel it follows that kernel's journals, as a projection
    does, so that nothing is lost or told twice under two ids, whatever happens to processes. With a bus that belongs to no kernel it tells of what is heard on it, as long as the process lives.

    Args:
        event_bus: A kernel's (`kernel.bus`), or one of somebody's own. A projection needs none.
        config: What is told, and how.
        storage: Whose journals are told of, where neither a kernel nor a bus says so.
        exporter: Where spans go, and that says whether they have arrived. Without one they go to the processors of the tracer provider; without an SDK's provider, to where
            `OTEL_EXPORTER_OTLP_ENDPOINT` says.
        tracer_provider: By default the process's.
        meter_provider: Where metrics go; by default to the process's.
    """

    name = PROJECTION

    def __init__(
        self,
        event_bus: EventBus | None = None,
        config: OTelConfig | None = None,
        *,
        storage: Storage | None = None,
        exporter: SpanExporter | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self.config = config or OTelConfig()
        self._bus = event_bus
        self._storage = storage
        self._exporter = exporter
        self._providers = (tracer_provider, meter_provider)
        self._telling: Telling | None = None
        self._making = asyncio.Lock()
        self._projection: SpanProjection | None = None
        self._projectors: list[Projector] = []
        self._live: LiveSpans | None = None

    def belongs_to(self, storage: Storage) -> None:
        """Learn whose journals it is handed, from the kernel that was given it as a projection.

        Raises:
            ConfigurationError: Another kernel was given it, with another storage.
        """
        if self._projection is not None and self._projection.storage is not storage:
            raise ConfigurationError("an OpenTelemetryAdapter tells of one storage's jobs; make one for each")
        self._storage = storage
        self._projection = self._projection or SpanProjection(storage, self.config, self._told)

    @property
    def begin(self) -> Literal["first", "now"]:
        """Where it begins as a projection that nobody has run before."""
        return self._as_projection().begin

    async def project(self, entries: Sequence[FeedEntry]) -> None:
        """Tell of what ends with entries of a kernel's journals. Raises `ExportFailed`."""
        await self._as_projection().project(entries)

    async def start(self) -> None:
        """Begin to tell, without being given to a kernel. Idempotent.

        Raises:
            StorageError: The journals cannot be read.
        """
        if self._projectors or self._live is not None:
            return
        sources = self._sources()
        if not sources:
            if self._bus is None:
                raise ConfigurationError(_NEEDS)
            self._live = LiveSpans(self._bus, self.config, self._told, SystemClock())
            await self._live.start()
            return
        self._projectors = [await self._projector(storage) for storage in sources]
        for projector in self._projectors:
            projector.start()

    async def _projector(self, storage: Storage) -> Projector:
        """Return what keeps the spans of a storage's jobs up. What is written from now on is told of, also before it has begun."""
        await storage.open()
        projection = SpanProjection(storage, self.config, self._told)
        clock, me = clock_of(storage), new_id("otel")
        begin = 0 if projection.begin == "first" else await storage.feed_end()
        now = clock.now()
        cursor = await storage.take_cursor(PROJECTION, holder=me, at=now, until=now, begin=begin)
        if cursor is not None:
            await storage.move_cursor(
                PROJECTION, fence=cursor.fence, position=cursor.position, at=now, until=None
            )
        return Projector(
            projection, storage, clock, holder=me, interval=self.config.interval, held_for=HELD_SECONDS
        )

    async def flush(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Wait until all that has ended by now was told; return whether it was in so many seconds."""
        try:
            async with asyncio.timeout(timeout):
                if self._live is not None:
                    await self._live.flush()
                for storage in self._sources():
                    await _caught_up(storage)
        except (TimeoutError, ExportFailed):
            return False
        return True

    async def stop(self, timeout: float = FLUSH_SECONDS) -> None:
        """Tell of what has ended by now, for so many seconds, and stop."""
        if not self._projectors and self._live is None:
            return
        if not await self.flush(timeout):
            logger.warning("not everything was told to OpenTelemetry in %g seconds", timeout)
        live, self._live = self._live, None
        projectors, self._projectors = self._projectors, []
        steps = [projector.stop for projector in projectors]
        await stopped(*steps, *(() if live is None else (live.stop,)))

    async def aclose(self) -> None:
        """Stop, and let go of the exporter if it was made here."""
        await self.stop()
        telling, self._telling = self._telling, None
        if telling is not None:
            await telling.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _told(self) -> Telling:
        """Return what hands spans over: one for all, so that a receiver that hangs is asked by one."""
        async with self._making:
            if self._telling is None:
                tracer_provider, meter_provider = self._providers
                self._telling = await asyncio.to_thread(
                    Telling,
                    self.config,
                    exporter=self._exporter,
                    tracer_provider=tracer_provider,
                    meter_provider=meter_provider,
                )
            return self._telling

    def _sources(self) -> Sequence[Storage]:
        """Return the storages whose journals are told of."""
        if self._storage is not None:
            return (self._storage,)
        found: Sequence[Storage] = getattr(self._bus, "sources", ())
        return found

    def _as_projection(self) -> SpanProjection:
        if self._projection is None:
            sources = self._sources()
            if len(sources) != 1:
                raise ConfigurationError(_NEEDS)
            self._projection = SpanProjection(sources[0], self.config, self._told)
        return self._projection


async def _caught_up(storage: Storage) -> None:
    """Return when all that is written by now was told of."""
    end = await storage.feed_end()
    while True:
        if any(one.name == PROJECTION and one.position >= end for one in await storage.cursors()):
            return
        await asyncio.sleep(_PAUSE)
