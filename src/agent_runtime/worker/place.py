"""The place of the one process that executes, for a process that executes chosen jobs alone.

A job that waits for a person may wait for days, and its process with it: somebody sits in front of it. Meanwhile nothing is
executed here, so another process may have the place. This one comes back for it when a chosen job can go on, if nobody else
has gone on with it by then.
"""

from __future__ import annotations

from typing import Final

from agent_runtime.execution.executor import Executor
from agent_runtime.execution.services import RunServices
from agent_runtime.ports.dispatcher import SelectiveDispatcher
from agent_runtime.values.job import SUSPENDED, JobStatus
from agent_runtime.worker.changes import ChangeRouter
from agent_runtime.worker.heartbeat import Heartbeat

PATIENCE_SECONDS: Final = 1.0
"""How long a job that could go on waits for another process before that is told: it may be who goes on with it."""


class Place:
    """Knows when to leave the executor's place, and when to come back.

    Args:
        services: The kernel's.
        dispatcher: Knows the chosen jobs.
        executor: Holds what is in memory.
        changes: Is told whether this process executes.
        heartbeat: Shows others what this process waits for.
    """

    def __init__(
        self,
        services: RunServices,
        *,
        dispatcher: SelectiveDispatcher,
        executor: Executor,
        changes: ChangeRouter,
        heartbeat: Heartbeat,
    ) -> None:
        self._services = services
        self._dispatcher = dispatcher
        self._executor = executor
        self._changes = changes
        self._heartbeat = heartbeat
        self._due_since: float | None = None
        self.is_shown = False
        """Whether others see that this process waits for its jobs."""

    async def leave(self) -> bool:
        """Give the place up if chosen jobs wait and none can go on; return whether it was.

        What comes meanwhile begins nothing here: whoever calls this asks once more behind it whether the place is wanted.
        """
        if self._executor.busy or not await self._all_wait() or await self._some_can_go_on():
            return False
        if self._executor.busy:  # something came while we looked
            return False
        self._executor.drain()
        self._changes.executes = False
        await self._services.storage.release_executor()
        return True

    async def is_wanted(self) -> bool:
        """Whether a chosen job could go on here."""
        if not await self._some_can_go_on():
            self._due_since = None
            return False
        return True

    async def wait(self) -> None:
        """Show that this process is there for its jobs, so that nobody sets them aside as nobody's."""
        await self._heartbeat.beat_beside()
        self.is_shown = True
        if (
            self._due_since is not None
            and self._services.clock.monotonic() - self._due_since >= PATIENCE_SECONDS
        ):
            self._dispatcher.must_wait()

    def is_taken(self) -> None:
        """Learn that another process has the place, which is wanted."""
        if self._due_since is None:
            self._due_since = self._services.clock.monotonic()

    async def _all_wait(self) -> bool:
        """Whether there are chosen jobs that have not ended, and each of them waits."""
        statuses = [await self._status(job_id) for job_id in self._dispatcher.chosen]
        active = [status for status in statuses if status is not None and status.is_active]
        return bool(active) and all(
            status in SUSPENDED and status is not JobStatus.BLOCKED for status in active
        )

    async def _status(self, job_id: str) -> JobStatus | None:
        job = await self._services.storage.get_job(job_id)
        return None if job is None else job.status

    async def _some_can_go_on(self) -> bool:
        services, chosen = self._services, self._dispatcher.chosen
        return bool(chosen) and bool(
            await services.storage.due_jobs(among=list(chosen), limit=1, ability=services.abilities.now())
        )
