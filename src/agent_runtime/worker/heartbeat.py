"""A worker's heartbeat, and whether the worker itself may still trust it.

Other workers free the jobs of one whose heartbeat has become old. A process that was paused – SIGSTOP, a suspended
laptop, a stalled virtual machine – must not go on as if nothing had happened: before an effect begins it asks whether
its own heartbeat is fresh, by a clock that runs on while the machine sleeps.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from agent_runtime.ports.clock import Clock
from agent_runtime.ports.storage import Storage
from agent_runtime.ports.workers import WorkerRecord

FRESH_SHARE: Final = 0.7
"""Share of the time-out for which a heartbeat counts as fresh to its own worker: well before others give it up."""


class Heartbeat:
    """Keeps one worker's row alive.

    Args:
        storage: Where the row is.
        clock: What time it is.
        worker_id: The worker.
        queues: The queues it serves; none for all.
        operators: Names of the operators it knows.
        dispatch: `queue` or `local`, to be seen by people and other workers.
        timeout: Seconds after which others take the worker for dead.
        code_version: The version of its code, to be seen by people.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        *,
        worker_id: str,
        queues: Sequence[str],
        operators: Callable[[], tuple[str, ...]],
        dispatch: str,
        timeout: float,
        code_version: str | None = None,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._worker_id = worker_id
        self._queues = tuple(queues)
        self._operators = operators
        self._dispatch = dispatch
        self._timeout = timeout
        self._code_version = code_version
        self.on_lost: Callable[[], None] | None = None
        """Called when the row was gone: others have taken this worker for dead, and its jobs from it."""
        self._started_at: datetime | None = None
        self._beaten_at = 0.0
        self._beating = asyncio.Lock()

    async def beat(self) -> None:
        """Register the worker, or renew its row.

        Raises:
            StorageError: The storage does not answer.
        """
        async with self._beating:
            asked_at = self._clock.monotonic()
            now = self._clock.now()
            is_first = self._started_at is None
            self._started_at = self._started_at or now
            renewed = await self._storage.register_worker(self._record(now, self._started_at))
            if not renewed and not is_first and self.on_lost is not None:
                self.on_lost()
            self._beaten_at = asked_at

    async def beat_beside(self) -> None:
        """Register a process that is there for jobs of its own, and executes nothing while another one has the place.

        The row counts as new each time: whoever takes the place forgets it, and this process serves nobody else's jobs.

        Raises:
            StorageError: The storage does not answer.
        """
        async with self._beating:
            self._started_at = None
            now = self._clock.now()
            await self._storage.register_worker(self._record(now, now, waits=True))

    def _record(self, now: datetime, started_at: datetime, **more: object) -> WorkerRecord:
        return WorkerRecord(
            worker_id=self._worker_id,
            queues=self._queues,
            operators=self._operators(),
            started_at=started_at,
            heartbeat_at=now,
            info={
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "dispatch": self._dispatch,
                "timeout": self._timeout,
                **({} if self._code_version is None else {"code_version": self._code_version}),
                **more,
            },
        )

    def is_fresh(self) -> bool:
        """Whether nobody can have taken this worker for dead yet. Always so where only one process can execute."""
        if not self._storage.is_shared:
            return True
        return self._clock.monotonic() - self._beaten_at < self._timeout * FRESH_SHARE

    async def refresh(self) -> None:
        """Make sure that the worker counts as alive, or learn that its jobs were taken from it.

        Raises:
            StorageError: The storage does not answer.
        """
        if not self.is_fresh():
            await self.beat()
