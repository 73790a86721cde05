"""The rows of workers, and the jobs that they own."""

from __future__ import annotations

from collections.abc import Sequence

from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage.memory.state import State
from agent_runtime.values.deaths import OpenClaim


class Workers:
    """Keeps the rows of workers."""

    _state: State

    async def register_worker(self, worker: WorkerRecord) -> bool:
        """Store or renew a worker's row."""
        known = worker.worker_id in self._state.workers
        self._state.workers[worker.worker_id] = worker
        for queue in worker.queues or ("",):
            for operator in worker.operators:
                self._state.listed[queue, operator] = worker.heartbeat_at
        return known

    async def list_workers(self) -> Sequence[WorkerRecord]:
        """Return registered workers."""
        return list(self._state.workers.values())

    async def remove_worker(self, worker_id: str, *, died: bool = False) -> None:
        """Delete a worker's row and free the jobs it owned."""
        self._state.workers.pop(worker_id, None)
        if not self._state.workers:  # what the last one knew is gone with it, as it is where a process ends
            self._state.listed.clear()
        for job in [job for job in self._state.jobs.values() if job.owner == worker_id]:
            self._state.put_job(job, owner=None, open_claim=job.open_claim if died else OpenClaim.NONE)

    async def owned_jobs(self, worker_id: str) -> Sequence[tuple[str, int]]:
        """Return the jobs a worker owns."""
        return [(job.job_id, job.fence) for job in self._state.jobs.values() if job.owner == worker_id]

    async def free_job(self, job_id: str, *, fence: int) -> bool:
        """Take a job from its owner."""
        job = self._state.jobs.get(job_id)
        if job is None or job.owner is None or job.fence != fence:
            return False
        self._state.put_job(job, owner=None, open_claim=OpenClaim.NONE)
        return True

    async def expire_workers(self, older_than: float) -> Sequence[str]:
        """Do nothing: all workers live in this process."""
        return ()
