"""A dispatcher in this process: a priority queue in front of a bounded number of tasks."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final

from agent_runtime.ports.background import drained
from agent_runtime.ports.dispatcher import Advance
from llm_client.logs import logger_of

logger = logger_of(__name__)

LOW: Final = 250
"""Jobs that are left when more are asked for."""


class LocalDispatcher:
    """Calls `advance` for submitted jobs, the highest priority first, the oldest among equals.

    Args:
        max_concurrency: Jobs advanced at the same time.
    """

    def __init__(self, *, max_concurrency: int) -> None:
        self._limit = max_concurrency
        self._advance: Advance | None = None
        self._heap: list[tuple[int, int, str]] = []
        self._order = itertools.count()
        self._queued: set[str] = set()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: dict[str, int] = {}
        """Jobs submitted while they were being advanced, with their priority."""
        self._stopping = False
        self.on_low: Callable[[], None] | None = None
        """Called when few jobs are left here: more may be due than were submitted."""

    async def start(self, advance: Advance) -> None:
        """Begin to execute what was and will be submitted."""
        self._advance = advance
        self._stopping = False
        self._fill()

    def submit(
        self, job_id: str, *, priority: int = 0, queue: str | None = None, operator: str | None = None
    ) -> None:
        """Ask for a job to be advanced, whatever its queue: the one process that executes serves all of them."""
        del queue, operator
        if job_id in self._running:
            self._again[job_id] = priority
        elif job_id not in self._queued:
            self._queued.add(job_id)
            heapq.heappush(self._heap, (-priority, next(self._order), job_id))
            self._fill()

    def _fill(self) -> None:
        if self._advance is None or self._stopping:
            return
        loop = asyncio.get_running_loop()
        while self._heap and len(self._running) < self._limit:
            _, _, job_id = heapq.heappop(self._heap)
            self._queued.discard(job_id)
            task = loop.create_task(self._run(self._advance, job_id), name=f"advance {job_id}")
            self._running[job_id] = task
        if len(self._heap) <= LOW and self.on_low is not None:
            self.on_low()

    async def _run(self, advance: Advance, job_id: str) -> None:
        try:
            await advance(job_id)
        except Exception:
            logger.exception("job %s: advancing it failed unexpectedly", job_id)
        finally:
            del self._running[job_id]
            priority = self._again.pop(job_id, None)
            if priority is not None:
                self.submit(job_id, priority=priority)
            else:
                self._fill()

    async def stop(self, *, drain: float) -> None:
        """Take nothing more, wait for what runs, then cancel it."""
        self._stopping = True
        self._again.clear()
        self._heap.clear()
        self._queued.clear()
        self._advance = None
        await drained(list(self._running.values()), seconds=drain)
