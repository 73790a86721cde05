"""A dispatcher in this process: a priority queue in front of a bounded number of tasks."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from agent_runtime.ports.dispatcher import RUN_CLEAN_UP_SECONDS, Advance
from llm_client.background import drained, in_background
from llm_client.logs import logger_of

logger = logger_of(__name__)

LOW: Final = 250
"""Jobs that are left when more are asked for."""


class _Lines:
    """Jobs that wait, in a line for each scope; the scope of which the fewest are taken is next, then the one whose turn was longest ago.

    Args:
        across_scopes: Let all of them wait in one line.
    """

    def __init__(self, *, across_scopes: bool) -> None:
        self._across_scopes = across_scopes
        self._order = itertools.count()
        self._lines: dict[str, list[tuple[int, int, str]]] = {}
        self._taken: Counter[str] = Counter()
        self._turns: list[tuple[int, int, str]] = []
        """How many of a scope are taken, since when, and the scope; only the newest of each scope counts."""
        self._newest: dict[str, int] = {}

    def add(self, job_id: str, priority: int, scope_id: str) -> None:
        """Let a job wait."""
        name = self._name_of(scope_id)
        line = self._lines.setdefault(name, [])
        heapq.heappush(line, (-priority, next(self._order), job_id))
        if len(line) == 1:
            self._queue(name)

    def take(self) -> tuple[str, str]:
        """Return the next job, and the name of its line, to be given back. There must be one."""
        while True:
            _, number, name = heapq.heappop(self._turns)
            if self._newest.get(name) == number:
                break
        line = self._lines[name]
        _, _, job_id = heapq.heappop(line)
        self._taken[name] += 1
        if line:
            self._queue(name)
        else:
            del self._lines[name], self._newest[name]
        return job_id, name

    def take_slot(self, scope_id: str) -> str:
        """Count a job that has not waited; return the name of its line, to be given back."""
        name = self._name_of(scope_id)
        self._taken[name] += 1
        return name

    def _name_of(self, scope_id: str) -> str:
        return "" if self._across_scopes else scope_id

    def is_for_idle(self) -> bool:
        """Whether the next job is of a scope of which none is taken. There must be one."""
        while self._newest.get(self._turns[0][2]) != self._turns[0][1]:
            heapq.heappop(self._turns)
        return not self._across_scopes and self._turns[0][0] == 0

    def give_back(self, name: str) -> None:
        """Learn that a job of a line has ended."""
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]
        if name in self._lines:
            self._queue(name)

    def clear(self) -> None:
        """Forget who waits."""
        self._lines.clear()
        self._turns.clear()
        self._newest.clear()

    def _queue(self, name: str) -> None:
        number = self._newest[name] = next(self._order)
        heapq.heappush(self._turns, (self._taken[name], number, name))
        if len(self._turns) > 2 * len(self._lines) + LOW:
            self._turns = [turn for turn in self._turns if self._newest.get(turn[2]) == turn[1]]
            heapq.heapify(self._turns)


class LocalDispatcher:
    """Calls `advance` for submitted jobs: of a scope the highest priority first, the oldest among equals; scopes take turns.

    Args:
        max_concurrency: Jobs advanced at the same time.
        across_scopes: Whether priority counts across scopes instead.
        spare_slot: Whether one job more may be advanced if none of its scope is; with a `max_concurrency` of one, never.
    """

    def __init__(self, *, max_concurrency: int, across_scopes: bool = False, spare_slot: bool = True) -> None:
        self._limit = max_concurrency
        self._limit_for_idle = max_concurrency + (spare_slot and max_concurrency > 1)
        self._advance: Advance | None = None
        self._waiting = _Lines(across_scopes=across_scopes)
        self._queued: set[str] = set()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: dict[str, tuple[int, str]] = {}
        """Jobs submitted while they were being advanced, with priority and scope."""
        self._promised = 0
        """Slots that are kept for jobs which are being stored."""
        self._stopping = False
        self.on_low: Callable[[], None] | None = None
        """Called when few jobs are left here: more may be due than were submitted."""

    async def start(self, advance: Advance) -> None:
        """Begin to execute what was and will be submitted."""
        self._advance = advance
        self._stopping = False
        self._fill()

    def submit(
        self,
        job_id: str,
        *,
        priority: int = 0,
        queue: str | None = None,
        operator: str | None = None,
        scope_id: str | None = None,
    ) -> None:
        """Ask for a job to be advanced, whatever its queue: the one process that executes serves all of them."""
        del queue, operator
        if job_id in self._running:
            self._again[job_id] = (priority, scope_id or "")
        elif job_id not in self._queued:
            self._queued.add(job_id)
            self._waiting.add(job_id, priority, scope_id or "")
            self._fill()

    def has_room(self) -> bool:
        """Whether a job that is submitted now would begin at once."""
        is_serving = self._advance is not None and not self._stopping
        return is_serving and not self._queued and len(self._running) + self._promised < self._limit

    @contextmanager
    def promised(self) -> Iterator[None]:
        """Keep a slot for a job that is being stored, and begins as soon as it is."""
        self._promised += 1
        try:
            yield
        finally:
            self._promised -= 1
            self._fill()

    def run_now(self, job_id: str, work: Coroutine[Any, Any, None], *, scope_id: str) -> None:
        """Do the work of a job at once, for which there was room when it was stored."""
        self._run_in_slot(job_id, work, self._waiting.take_slot(scope_id))

    def _fill(self) -> None:
        if self._advance is None or self._stopping:
            return
        while self._queued and self._has_slot():
            job_id, line = self._waiting.take()
            self._queued.discard(job_id)
            self._run_in_slot(job_id, self._advance(job_id), line)
        if len(self._queued) <= LOW and self.on_low is not None:
            self.on_low()

    def _has_slot(self) -> bool:
        """Whether the next job may begin. There must be one."""
        running = len(self._running) + self._promised
        return running < self._limit or (running < self._limit_for_idle and self._waiting.is_for_idle())

    def _run_in_slot(self, job_id: str, work: Coroutine[Any, Any, None], line: str) -> None:
        self._running[job_id] = in_background(self._run(job_id, work, line), name=f"advance {job_id}")

    async def _run(self, job_id: str, work: Coroutine[Any, Any, None], line: str) -> None:
        try:
            await work
        except Exception:
            logger.exception("job %s: advancing it failed unexpectedly", job_id)
        finally:
            del self._running[job_id]
            self._waiting.give_back(line)
            again = self._again.pop(job_id, None)
            if again is not None:
                self.submit(job_id, priority=again[0], scope_id=again[1])
            else:
                self._fill()

    async def stop(self, *, drain: float) -> None:
        """Take nothing more, wait for what runs, then cancel it."""
        self._stopping = True
        self._again.clear()
        self._waiting.clear()
        self._queued.clear()
        self._advance = None
        await drained(list(self._running.values()), seconds=drain, again=RUN_CLEAN_UP_SECONDS)
