"""Processes that execute jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRecord:
    """A process that executes jobs."""

    worker_id: str
    queues: tuple[str, ...] = ("default",)
    operators: tuple[str, ...] = ()
    started_at: datetime
    heartbeat_at: datetime
    info: Mapping[str, Any] = field(default_factory=dict)
    """What people may want to know. `timeout` counts: so many seconds without a heartbeat the worker has at least."""

    @property
    def only_waits(self) -> bool:
        """Whether it executes nothing now: it waits for its own jobs, and for the place of the one process that executes."""
        return bool(self.info.get("waits"))


class Workers(Protocol):
    """Who executes jobs, and whether they live."""

    async def register_worker(self, worker: WorkerRecord) -> bool:
        """Store or renew a worker's row; return whether there was one to renew."""
        ...

    async def list_workers(self) -> Sequence[WorkerRecord]:
        """Return the workers that are registered."""
        ...

    async def remove_worker(self, worker_id: str, *, died: bool = False) -> None:
        """Delete a worker's row and free the jobs it owned.

        Args:
            worker_id: The worker.
            died: It does not sign off in good order, which counts against the jobs.
        """
        ...

    async def owned_jobs(self, worker_id: str) -> Sequence[tuple[str, int]]:
        """Return the jobs a worker owns, each with its fence."""
        ...

    async def free_job(self, job_id: str, *, fence: int) -> bool:
        """Take a job from its owner, who never had it in memory; return whether it was owned under this fence.

        It does not count as a death.
        """
        ...

    async def expire_workers(self, older_than: float) -> Sequence[str]:
        """Delete the rows of workers that have not renewed them for `older_than` seconds, or their own `timeout`.

        The longer of the two counts: a worker trusts its own heartbeat by its own time-out.

        The jobs of all workers that have no row are freed and returned. Nothing happens where only one process can
        execute: there, taking the executor's place frees what a dead one has left.
        """
        ...
