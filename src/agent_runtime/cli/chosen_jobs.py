"""Executing only the jobs a command was asked for."""

from __future__ import annotations

from agent_runtime.ports.dispatcher import Advance
from agent_runtime.worker.local_dispatcher import LocalDispatcher


class ChosenJobs:
    """A dispatcher that leaves every other job of the database alone.

    A worker goes on with whatever is due. A command must not: somebody who asks for one thing does not expect that an
    interrupted run of last week goes on and spends money.
    """

    def __init__(self) -> None:
        self._inner = LocalDispatcher(max_concurrency=10)
        self._chosen: set[str] = set()

    def choose(self, job_id: str) -> None:
        """Execute this job from now on."""
        self._chosen.add(job_id)
        self._inner.submit(job_id)

    async def start(self, advance: Advance) -> None:
        """Begin to execute what was and will be submitted."""
        await self._inner.start(advance)

    def submit(
        self,
        job_id: str,
        *,
        priority: int = 0,
        queue: str | None = None,
        operator: str | None = None,
        scope_id: str | None = None,
    ) -> None:
        """Ask for a job to be advanced; one that was not chosen stays as it is."""
        if job_id in self._chosen:
            self._inner.submit(job_id, priority=priority)

    async def stop(self, *, drain: float) -> None:
        """Take nothing more and wait up to `drain` seconds for what runs."""
        await self._inner.stop(drain=drain)
