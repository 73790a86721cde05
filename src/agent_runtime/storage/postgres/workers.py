"""The rows of workers, and the jobs that they own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from agent_runtime.ports.clock import ServerClock
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage import rows
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.values import (
    decode,
    encode,
    to_text,
)

RELIST: Final = timedelta(seconds=1)
"""How old the listing of an operator becomes before it is renewed."""


class Workers:
    """Keeps the rows of workers."""

    _connections: Connections
    clock: ServerClock

    async def register_worker(self, worker: WorkerRecord) -> bool:
        """Store or renew a worker's row; return whether there was one to renew."""
        row = encode(rows.WORKER, rows.worker_row(worker))
        asked_at = self.clock.monotonic()
        ((is_new, now),) = await self._connections.fetch(sql.PUT_WORKER, *([value] for value in row))
        self.clock.learn(now, asked_at=asked_at)
        queues, operators = list(map(to_text, worker.queues)) or [""], list(map(to_text, worker.operators))
        await self._connections.fetch(sql.LIST_OPERATORS, queues, operators, RELIST)
        return not is_new

    async def list_workers(self) -> Sequence[WorkerRecord]:
        """Return registered workers."""
        found = await self._connections.fetch(f"SELECT {', '.join(rows.WORKER)} FROM runtime_workers")  # noqa: S608
        return [rows.worker_record(decode(rows.WORKER, tuple(row))) for row in found]

    async def remove_worker(self, worker_id: str, *, died: bool = False) -> None:
        """Delete a worker's row and free the jobs it owned."""
        await self._connections.fetch(sql.DELETE_WORKER, worker_id)
        await self._connections.fetch(sql.FREE_JOBS, worker_id, died)

    async def owned_jobs(self, worker_id: str) -> Sequence[tuple[str, int]]:
        """Return the jobs a worker owns."""
        found = await self._connections.fetch(sql.OWNED_JOBS, worker_id)
        return [(job_id, fence) for job_id, fence in found]

    async def free_job(self, job_id: str, *, fence: int) -> bool:
        """Take a job from its owner."""
        return bool(await self._connections.fetch(sql.FREE_JOB, job_id, fence))

    async def expire_workers(self, older_than: float) -> Sequence[str]:
        """Delete the rows of workers that have not renewed them for so many seconds, by the server's clock.

        The jobs of all workers that have no row are freed and returned.
        """
        await self._connections.fetch(sql.DELETE_STALE_WORKERS, timedelta(seconds=older_than))
        freed = await self._connections.fetch(sql.FREE_ABANDONED_JOBS)
        return [job_id for (job_id,) in freed]

    async def look_at_clock(self) -> None:
        """Ask the server for its time."""
        asked_at = self.clock.monotonic()
        ((now,),) = await self._connections.fetch("SELECT clock_timestamp()")
        self.clock.learn(now, asked_at=asked_at)
