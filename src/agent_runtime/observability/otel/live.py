"""Spans of a bus that belongs to no kernel: what is heard on it is all there is."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import islice
from typing import Final

from agent_runtime.errors import ExportFailed
from agent_runtime.events.bus import EventBus, Subscription
from agent_runtime.observability.otel.config import OTelConfig
from agent_runtime.observability.otel.content import Texts
from agent_runtime.observability.otel.job_trace import BEGINNINGS, ENDS, NOTED, JobTrace
from agent_runtime.observability.otel.telling import AT_ONCE, Ended, Telling
from agent_runtime.ports.clock import Clock
from agent_runtime.values.event import EPOCH, TERMINAL_TYPES, RuntimeEvent
from agent_runtime.values.event import RuntimeEventType as Type
from llm_client.background import BackgroundLoop, Backoff
from llm_client.logs import logger_of
from llm_client.public_text import text_of

INTERVAL: Final = 1.0
MAX_WAITING: Final = 20_000
"""Spans that wait for a receiver that is away; beyond it the oldest are lost."""
MAX_JOBS: Final = 5_000
"""Jobs that are followed; beyond it what is known of the one that was heard of longest ago is lost."""
HEARD: Final = frozenset(
    {
        *(Type.JOB_CREATED, Type.JOB_STARTED, Type.JOB_RESUMED, Type.JOB_SUSPENDED, Type.JOB_BLOCKED),
        Type.WAIT_WITHDRAWN,
        *BEGINNINGS,
        *ENDS,
        *NOTED,
        *TERMINAL_TYPES,
    }
)
logger = logger_of(__name__)


class LiveSpans:
    """Tells of what is heard on a bus.

    Args:
        bus: The bus.
        config: How it is told.
        telling: Hands the spans over.
        clock: What time it is, for events that do not say.
    """

    def __init__(
        self, bus: EventBus, config: OTelConfig, telling: Callable[[], Awaitable[Telling]], clock: Clock
    ) -> None:
        self._bus = bus
        self._telling = telling
        self._clock = clock
        self._texts = Texts(config)
        self._traces: OrderedDict[str, JobTrace] = OrderedDict()
        self._waiting: deque[Ended] = deque(maxlen=MAX_WAITING)
        self._subscription: Subscription | None = None
        self._loop = BackgroundLoop(
            self._tell,
            name="telling spans",
            logger=logger,
            failures=(ExportFailed,),
            backoff=Backoff(1.0, 60.0),
        )

    async def start(self) -> None:
        """Listen."""
        if self._subscription is None:
            self._subscription = await self._bus.subscribe(
                self._hear, event_types=HEARD, queue_size=MAX_WAITING
            )
            self._loop.start(after=INTERVAL)

    async def flush(self) -> None:
        """Hand over what has ended. Raises `ExportFailed`."""
        while self._waiting:
            await self._tell()

    async def stop(self) -> None:
        """Listen no more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.unsubscribe()
        await self._loop.stop()

    async def _hear(self, event: RuntimeEvent) -> None:
        job_id = event.job_id
        if job_id is None:
            return
        if event.timestamp == EPOCH:
            event = replace(event, timestamp=self._clock.now())
        trace = self._traces.setdefault(job_id, JobTrace(job_id, texts=self._texts))
        self._traces.move_to_end(job_id)
        try:
            self._waiting.extend((span, trace) for span in trace.read(event))
        except Exception as error:  # noqa: BLE001 -- an event of somebody's own may hold anything
            logger.warning("an event of job %s is not told: %s", job_id, text_of(error))
        if trace.is_over:
            self._traces.pop(job_id, None)
        while len(self._traces) > MAX_JOBS:
            self._traces.popitem(last=False)

    async def _tell(self) -> float:
        some = list(islice(self._waiting, AT_ONCE))
        if some:
            await (await self._telling()).tell(some)
            for one in some:
                if self._waiting and self._waiting[0] is one:
                    self._waiting.popleft()
        return 0 if self._waiting else INTERVAL
