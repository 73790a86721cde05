"""Executing only the jobs a command was asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection

from agent_runtime.ports.dispatcher import Advance
from agent_runtime.worker.local_dispatcher import LocalDispatcher


class ChosenJobs:
    """A dispatcher that leaves every other job of the database alone, and the executor's place while its own only wait.

    A worker goes on with whatever is due. A command must not: somebody who asks for one thing does not expect that an
    interrupted run of last week goes on and spends money. Nor does somebody who has left a question open in one terminal
    expect that nothing else can be done in another.
    """

    def __init__(self) -> None:
        self._inner = LocalDispatcher(max_concurrency=10)
        self._inner.on_low = self._changed
        self._chosen: dict[str, None] = {}
        self.on_change: Callable[[], None] | None = None
        """Called when a job was chosen, or has left the memory."""
        self.on_wait: Callable[[], None] | None = None
        """Called once while a chosen job that could go on waits for another process, which executes."""
        self._waits = False

    @property
    def chosen(self) -> Collection[str]:
        """The jobs that are executed here."""
        return self._chosen.keys()

    def choose(self, job_id: str) -> None:
        """Execute this job from now on."""
        self._chosen[job_id] = None
        self._inner.submit(job_id)
        self._changed()

    def must_wait(self) -> None:
        """Learn that a chosen job could go on, and another process executes."""
        if not self._waits and self.on_wait is not None:
            self._waits = True
            self.on_wait()

    async def start(self, advance: Advance) -> None:
        """Begin to execute what was and will be submitted."""
        self._waits = False
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

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
