"""What a client is told of a job that is under way: a few words for each thing that happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.server.rates import Rates
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from llm_client.public_text import public_text

MAX_WORDS: Final = 500
"""Characters of a message."""
PER_SECOND: Final = 10.0
BURST: Final = 50
"""Messages to one client: who joins a job late is not told of everything that has happened."""
_TOLD: Final = ("job.", "step.", "tool.", "model.", "child.", "action.", "custom.", "artifact.")
"""Families of events that say how far a job is; the others are book-keeping."""

Report = Callable[[float, str], Awaitable[None]]
"""Takes how many things have happened, and what the last one was."""


def is_told(event: RuntimeEvent) -> bool:
    """Whether an event says how far a job is, and is no book-keeping."""
    return str(event.type).startswith(_TOLD) and event.type != RuntimeEventType.JOB_SUSPENDED


def words_for(event: RuntimeEvent) -> str:
    """Return what an event is told as."""
    data = event.data
    if event.type == RuntimeEventType.JOB_PROGRESS:
        said = data.get("message")
        done = f"{float(data.get('progress') or 0.0):.0%}"
        return public_text(f"{done}: {said}" if said else done, MAX_WORDS)
    name = data.get("name") or data.get("model") or ""
    return public_text(
        f"{event.type}: {name}" if isinstance(name, str) and name else str(event.type), MAX_WORDS
    )


class Watching:
    """Follows a job, and those that go on in its place, for one client.

    Args:
        kernel: Whose job.
        handle: The job.
        report: Is told of what happens; a slow one is waited for, and misses nothing but time.
        asked: Is called when the job asks something.
    """

    def __init__(
        self, kernel: Kernel, handle: ExecutionHandle, *, report: Report, asked: Callable[[], None]
    ) -> None:
        self._kernel = kernel
        self._handle = handle
        self._report = report
        self._asked = asked
        self._job_id, self._seq = handle.job_id, 0
        """How far it is."""
        self._count = 0
        self._rates = Rates(kernel.clock, per_second=PER_SECOND, burst=BURST)

    async def follow(self) -> None:
        """Follow until the end. Raises `AgentRuntimeError` when the journal cannot be read; called again, it goes on where it was."""
        while True:
            handle = self._kernel.handle(self._job_id)
            async for event in handle.events(self._seq, with_content=False, text=False):
                self._seq = event.seq or self._seq
                await self._take(event)
            goes_on = (await self._handle.job()).job_id
            if goes_on == self._job_id:
                return
            self._job_id, self._seq = goes_on, 0

    async def _take(self, event: RuntimeEvent) -> None:
        if event.type == RuntimeEventType.ACTION_REQUIRED:
            self._asked()
        if is_told(event):
            self._count += 1
            if self._rates.take(self._handle.job_id) > 0:
                return  # the next one has the count of this one, too
            await self._report(self._count, words_for(event))
