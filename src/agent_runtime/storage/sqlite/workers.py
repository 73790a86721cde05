"""The rows of workers, and the jobs that they own."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage import rows
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import (
    decode,
    encode,
    from_time,
)
from agent_runtime.storage.sqlite.writer import Writer


class Workers:
    """Keeps the rows of workers."""

    _reader: Reader
    _writer: Writer

    async def register_worker(self, worker: WorkerRecord) -> bool:
        """Store or renew a worker's row."""
        row = encode(rows.WORKER, rows.worker_row(worker))
        queues, at = worker.queues or ("",), from_time(worker.heartbeat_at)
        listed = [(queue, operator, at) for queue in queues for operator in worker.operators]

        def put(db: sqlite3.Connection) -> bool:
            known = db.execute(sql.HAS_WORKER, (worker.worker_id,)).fetchone()[0]
            db.execute(sql.PUT_WORKER, row)
            db.executemany(sql.LIST_OPERATOR, listed)
            return bool(known)

        renewed: bool = await self._writer.run(put)
        return renewed

    async def list_workers(self) -> Sequence[WorkerRecord]:
        """Return registered workers."""
        found = await self._reader.rows(f"SELECT {', '.join(rows.WORKER)} FROM runtime_workers")  # noqa: S608
        return [rows.worker_record(decode(rows.WORKER, row)) for row in found]

    async def remove_worker(self, worker_id: str, *, died: bool = False) -> None:
        """Delete a worker's row and free the jobs it owned."""

        def remove(db: sqlite3.Connection) -> None:
            db.execute(sql.DELETE_WORKER, (worker_id,))
            db.execute(sql.FREE_JOBS, (died, worker_id))

        await self._writer.run(remove)

    async def owned_jobs(self, worker_id: str) -> Sequence[tuple[str, int]]:
        """Return the jobs a worker owns."""
        found = await self._reader.rows(
            "SELECT job_id, fence FROM runtime_jobs WHERE owner = ?", (worker_id,)
        )
        return [(job_id, fence) for job_id, fence in found]

    async def free_job(self, job_id: str, *, fence: int) -> bool:
        """Take a job from its owner."""
        freed: int = await self._writer.run(lambda db: db.execute(sql.FREE_JOB, (job_id, fence)).rowcount)
        return freed == 1

    async def expire_workers(self, older_than: float) -> Sequence[str]:
        """Do nothing: the executor's lock tells whether the one worker lives."""
        return ()
