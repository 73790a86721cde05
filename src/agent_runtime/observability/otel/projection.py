"""The projection that tells spans from the journals of all jobs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

from agent_runtime.observability.otel.config import OTelConfig
from agent_runtime.observability.otel.content import Texts
from agent_runtime.observability.otel.job_trace import JobTrace
from agent_runtime.observability.otel.telling import Ended, Telling
from agent_runtime.ports.feed import FeedEntry
from agent_runtime.ports.storage import Storage
from agent_runtime.values.event import RuntimeEvent
from llm_client.logs import logger_of
from llm_client.public_text import text_of

PROJECTION: Final = "otel"
MAX_JOBS: Final = 5_000
"""Jobs that are followed in the memory; the journals of others are read again when something happens in them."""
MAX_KEPT: Final = 200_000
"""Operations of all of them that something is known of: some tens of megabytes."""
_AT_ONCE: Final = 50
"""Entries of a journal that are read at once: their content may be long."""
logger = logger_of(__name__)


class SpanProjection:
    """Tells of one storage's jobs.

    What it remembers of a job follows from its journal, and is made anew whenever it may not fit what it is handed: by another process, after a
    failure, when entries come again.

    Args:
        storage: Whose journals.
        config: How it is told.
        telling: Hands the spans over; made when there is something to tell.
    """

    name = PROJECTION

    def __init__(
        self, storage: Storage, config: OTelConfig, telling: Callable[[], Awaitable[Telling]]
    ) -> None:
        self.storage = storage
        self._config = config
        self._telling = telling
        self._texts = Texts(config)
        self._traces: OrderedDict[str, JobTrace] = OrderedDict()

    @property
    def begin(self) -> Literal["first", "now"]:
        """As the configuration says; what is only in the memory of this process is told from its beginning."""
        return self._config.begin if self.storage.is_durable else "first"

    async def project(self, entries: Sequence[FeedEntry]) -> None:
        """Tell of the spans that end with entries. Raises `ExportFailed`."""
        by_job: dict[str, list[RuntimeEvent]] = {}
        for _, event in entries:
            by_job.setdefault(event.job_id or "", []).append(event)
        try:
            ready = [(await self._trace(job_id, events), events) for job_id, events in by_job.items()]
            ended = await asyncio.to_thread(_read, ready)
            await (await self._telling()).tell(ended)
        except BaseException:  # these entries come again
            for job_id in by_job:
                self._traces.pop(job_id, None)
            raise
        self._forget(by_job)

    async def _trace(self, job_id: str, events: list[RuntimeEvent]) -> JobTrace:
        """Return what is known of a job before entries of it; of these, none may be missing in between."""
        first, last = events[0].seq or 0, events[-1].seq or 0
        if len(events) != last - first + 1:
            events[:] = await self.storage.events(job_id, after_seq=first - 1, limit=max(1, last - first + 1))
        trace = self._traces.get(job_id)
        if trace is None or trace.seq >= first:
            job = None if first == 1 and not events[0].data else await self.storage.get_job(job_id)
            trace = JobTrace(job_id, texts=self._texts, session_id=None if job is None else job.session_id)
        while trace.seq < first - 1:
            limit = min(_AT_ONCE, first - 1 - trace.seq)
            page = await self.storage.events(job_id, after_seq=trace.seq, limit=limit)
            if not page:
                break
            await asyncio.to_thread(_read, [(trace, page)])
        self._traces[job_id] = trace
        self._traces.move_to_end(job_id)
        return trace

    def _forget(self, job_ids: dict[str, list[RuntimeEvent]]) -> None:
        """Keep no more than there is room for, and nothing of jobs that have ended."""
        for job_id in job_ids:
            if self._traces[job_id].is_over:
                del self._traces[job_id]
        kept = sum(map(len, self._traces.values()))
        while self._traces and (len(self._traces) > MAX_JOBS or kept > MAX_KEPT):
            _, trace = self._traces.popitem(last=False)
            kept -= len(trace)


def _read(ready: Sequence[tuple[JobTrace, Sequence[RuntimeEvent]]]) -> list[Ended]:
    """Return the spans that end with entries. An entry that cannot be read is passed by: all jobs' spans would wait for it."""
    ended: list[Ended] = []
    for trace, events in ready:
        for event in events:
            try:
                ended += [(span, trace) for span in trace.read(event)]
            except Exception as error:  # noqa: BLE001 -- whatever is wrong with it
                logger.warning("entry %s of job %s is not told: %s", event.seq, event.job_id, text_of(error))
    return ended
