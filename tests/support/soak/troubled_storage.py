"""A storage that fails, answers late or not at all, and dies, by chance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent_runtime import StorageError
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.journal import Claim
from agent_runtime.ports.storage import Storage
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.testing.faults import DyingStorage
from agent_runtime.values.event import RuntimeEvent
from support.soak.world import Life


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubles:
    """How often what goes wrong; each a share of the operations."""

    death: float = 0.0
    failure: float = 0.0
    """Half of the failing writes are written all the same, and their outcome is unknown to who wrote."""
    delay: float = 0.0
    outage: float = 0.0
    """How often a stretch begins in which everything fails."""


class TroubledStorage(DyingStorage):
    """Passes on to the real storage what chance lets through.

    Args:
        inner: The real one.
        life: The process that uses it; it dies with it.
        rng: Chance.
        troubles: How often what goes wrong.
    """

    def __init__(self, inner: Storage, life: Life, rng: random.Random, troubles: Troubles) -> None:
        super().__init__(inner, lambda _: False)
        self._life = life
        life.kill = self.die
        self._rng = rng
        self._troubles = troubles
        self._down_until = 0.0

    def die(self) -> None:
        self._life.dead = True
        super().die()

    async def _gate(self) -> None:
        """Fail, wait or hang, as chance has it, before an operation."""
        if self.died.is_set():
            await self._gone()
        rng, troubles, loop = self._rng, self._troubles, asyncio.get_running_loop()
        if rng.random() < troubles.outage:
            self._down_until = loop.time() + rng.choice((0.05, 0.3, 1.5))
        if loop.time() < self._down_until or rng.random() < troubles.failure / 2:
            raise StorageError("no luck")
        await self._perhaps_wait()

    async def _perhaps_wait(self) -> None:
        if self._rng.random() < self._troubles.delay:
            await asyncio.sleep(self._rng.choice((0.0, 0.001, 0.02, 0.1)))
        if self.died.is_set():
            await self._gone()

    async def _write(self, write: Any) -> Any:
        await self._gate()
        fate = self._rng.random()
        if fate < self._troubles.death / 2:
            self.die()
            await self._gone()
        # Once handed in, a write happens even when the writer is cancelled: so do a thread and a server.
        result = await asyncio.shield(asyncio.ensure_future(write()))
        if fate < self._troubles.death:
            self.die()
            await self._gone()
        await self._perhaps_wait()
        if self._rng.random() < self._troubles.failure / 2:
            raise StorageError("written, but who knows")
        return result

    async def commit(self, commit: Commit) -> int:
        seq: int = await self._write(lambda: self._inner.commit(commit))
        self._life.learn(commit.job_id, commit.events)
        return seq

    async def claim(self, job_id: str, **options: Any) -> Claim | None:
        claim: Claim | None = await self._write(lambda: self._inner.claim(job_id, **options))
        self._life.take(claim)
        return claim

    async def drain_signals(self, job_id: str, **options: Any) -> Sequence[RuntimeEvent]:
        events: Sequence[RuntimeEvent] = await self._write(
            lambda: self._inner.drain_signals(job_id, **options)
        )
        return events

    async def register_worker(self, worker: WorkerRecord) -> bool:
        renewed: bool = await self._write(lambda: self._inner.register_worker(worker))
        return renewed

    async def events(self, job_id: str, **options: Any) -> Sequence[RuntimeEvent]:
        await self._gate()
        return await self._inner.events(job_id, **options)

    async def due_jobs(self, **options: Any) -> Sequence[tuple[str, int]]:
        await self._gate()
        return await self._inner.due_jobs(**options)

    async def jobs_with_signals(self, owner: str) -> Sequence[str]:
        await self._gate()
        return await self._inner.jobs_with_signals(owner)

    async def due_timers(self, now: datetime, **options: Any) -> Any:
        await self._gate()
        return await self._inner.due_timers(now, **options)

    async def next_timer(self) -> datetime | None:
        await self._gate()
        return await self._inner.next_timer()

    async def counters(self, keys: Any) -> Any:
        await self._gate()
        return await self._inner.counters(keys)

    async def standing_budgets(self) -> Any:
        await self._gate()
        return await self._inner.standing_budgets()

    async def feed(self, **options: Any) -> Any:
        await self._gate()
        return await self._inner.feed(**options)

    async def take_cursor(self, name: str, **options: Any) -> Any:
        return await self._write(lambda: self._inner.take_cursor(name, **options))

    async def move_cursor(self, name: str, **options: Any) -> bool:
        moved: bool = await self._write(lambda: self._inner.move_cursor(name, **options))
        return moved

    async def owned_jobs(self, worker_id: str) -> Any:
        await self._gate()
        return await self._inner.owned_jobs(worker_id)
