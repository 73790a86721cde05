"""Where jobs stand, with one thing more than their status: whether anybody still works on them."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.values.job import JobRecord, JobStatus


def is_alive(worker: WorkerRecord) -> bool:
    """Whether a worker's process exists; one on another machine is taken at its word."""
    pid = worker.info.get("pid")
    if worker.info.get("host") != socket.gethostname() or not isinstance(pid, int):
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def standing(job: JobRecord, workers: Sequence[WorkerRecord]) -> str:
    """Return a job's status, or `interrupted` when it is running on paper only."""
    if job.status is not JobStatus.RUNNING:
        return str(job.status)
    alive = {worker.worker_id for worker in workers if is_alive(worker)}
    return str(job.status) if job.owner in alive else "interrupted"
