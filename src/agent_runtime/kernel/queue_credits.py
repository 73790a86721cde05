"""Room in the queues of scopes, granted to this process some credits at a time: so that not each submission counts what waits.

A bound that is counted in the commit is exact, and costs as much as there are jobs to count, under a lock for which others
wait. So a large one is counted outside of commits, and while there is much room a process takes a share of it at once. Those
credits are its own for some seconds, whatever others submit meanwhile: so several processes may pass the bound by their shares.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from agent_runtime.errors import QueueFull
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.storage import Storage
from agent_runtime.values.capacity import QueueBounds
from agent_runtime.values.job import JobRecord
from llm_client.background import begin

EXACT_ROOM: Final = 1_000
"""With this much room or less, each submission is counted in its commit."""
SHARES: Final = 16
"""A process takes one of so many parts of the room at once."""
GRANT_SECONDS: Final = 10.0
"""How long credits that were granted and not taken are kept."""
MOST_SCOPES: Final = 1_024
"""Scopes of which is known what was granted; of others it is counted again."""


class _Count(NamedTuple):
    room: int
    writing: int
    """Submissions that were on their way when it was counted: whether they are in it nobody knows."""


@dataclass(slots=True)
class _Grant:
    """What this process may submit to one scope without counting."""

    credits: int = 0
    until: float = 0.0
    writing: int = 0
    """Submissions on their way."""
    counting: asyncio.Task[_Count] | None = None

    @property
    def is_idle(self) -> bool:
        return not self.writing and (self.counting is None or self.counting.done())


class QueueCredits:
    """What one process may submit.

    Args:
        storage: Where jobs wait.
        clock: What tells how old a grant is.
    """

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._grants: OrderedDict[str, _Grant] = OrderedDict()

    @asynccontextmanager
    async def admitted(self, job: JobRecord, bounds: QueueBounds) -> AsyncIterator[QueueBounds]:
        """Give what the commit that stores a job has still to count; it is made inside.

        Args:
            job: It is going to wait for a worker.
            bounds: What holds for it.

        Raises:
            QueueFull: Its scope's queue is full.
        """
        bound = bounds.per_scope
        if bound is None or bound <= EXACT_ROOM:
            yield bounds
            return
        grant = self._grant(job.scope_id)
        has_slot = await self._take(grant, job, bound)
        grant.writing += 1
        try:
            yield replace(bounds, per_scope=None) if has_slot else bounds
        finally:
            grant.writing -= 1

    def _grant(self, scope_id: str) -> _Grant:
        grant = self._grants.setdefault(scope_id, _Grant())
        self._grants.move_to_end(scope_id)
        if len(self._grants) > MOST_SCOPES:
            oldest = next((name for name, one in self._grants.items() if one.is_idle), scope_id)
            if oldest != scope_id:
                del self._grants[oldest]
        return grant

    async def _take(self, grant: _Grant, job: JobRecord, bound: int) -> bool:
        """Take a credit; return whether there was one, or the commit has to count."""
        while not (grant.credits and self._clock.monotonic() < grant.until):
            if grant.counting is None or grant.counting.done():
                counting = self._count(grant, job.scope_id, bound)
                grant.counting = begin(counting, name="queue count", context=Context())
            room, writing = await asyncio.shield(grant.counting)
            if room <= 0 and not await self._is_known(job):
                raise QueueFull(limit=bound, scope_id=job.scope_id)
            if room - writing <= EXACT_ROOM:
                return False
        grant.credits -= 1
        return True

    async def _count(self, grant: _Grant, scope_id: str, bound: int) -> _Count:
        """Count once for all who wait for it, and grant a share of the room."""
        writing = grant.writing
        room = bound - await self._storage.count_waiting(scope_id, most=bound)
        if room - writing > EXACT_ROOM:
            grant.credits = (room - writing) // SHARES
            grant.until = self._clock.monotonic() + GRANT_SECONDS
        return _Count(room, writing)

    async def _is_known(self, job: JobRecord) -> bool:
        """Whether a job is there already, of which its submitter is to be told."""
        key = job.idempotency_key
        return key is not None and await self._storage.find_job(job.scope_id, key) is not None
