"""Who calls `advance`: a queue in this process, or one shared by many."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final, Protocol, runtime_checkable

Advance = Callable[[str], Coroutine[Any, Any, None]]
"""Given a job id, makes progress. May be called twice, late, or on two machines at once; never raises."""
RUN_CLEAN_UP_SECONDS: Final = 30.0
"""Time after which an `advance` that was cancelled and has not ended is cancelled again: a run bounds its cleaning up itself."""


class Dispatcher(Protocol):
    """Calls `advance` for jobs that are due."""

    async def start(self, advance: Advance) -> None:
        """Begin to execute what was and will be submitted."""
        ...

    def submit(
        self,
        job_id: str,
        *,
        priority: int = 0,
        queue: str | None = None,
        operator: str | None = None,
        scope_id: str | None = None,
    ) -> None:
        """Ask for a job to be advanced. Submitting a job that is queued already changes nothing.

        Args:
            job_id: The job.
            priority: Of a scope's jobs that wait for room, the highest is advanced first; scopes take turns.
            queue: The job's, where it is known.
            operator: Likewise.
            scope_id: Likewise.
        """
        ...

    async def stop(self, *, drain: float) -> None:
        """Take nothing more and wait up to `drain` seconds for what runs, then cancel it. Idempotent."""
        ...


@runtime_checkable
class SelectiveDispatcher(Dispatcher, Protocol):
    """A dispatcher of chosen jobs alone: while all of them only wait, another process may have the executor's place."""

    on_change: Callable[[], None] | None
    """To be called when a job was chosen, or has left the memory."""

    @property
    def chosen(self) -> Collection[str]:
        """The jobs."""
        ...

    def must_wait(self) -> None:
        """Learn that a chosen job could go on, and another process has the executor's place."""
        ...


@runtime_checkable
class SharedDispatcher(Dispatcher, Protocol):
    """A queue that several processes share: what one submits, another may execute.

    A job that is submitted and not due is left out. Entries can get lost with the process that holds them, so that
    every worker sweeps now and then.
    """

    async def open(self) -> None:
        """Become able to submit, without executing anything. Idempotent.

        Raises:
            StorageError: The queue cannot be used; the message says what to do.
        """
        ...

    def list_operators(self, operators: Callable[[], tuple[str, ...]]) -> None:
        """Learn what this process can run; only jobs of these operators are taken by it. To be told before `start`."""
        ...

    async def sweep(self, first: Sequence[str]) -> None:
        """Submit due jobs that have no entry, and clear away the entries of dead workers.

        Some sweeps together come to all jobs that are due; each looks at a bounded number.

        Args:
            first: The jobs that are due and come first; none of them is left out.

        Raises:
            StorageError: The queue cannot be reached.
        """
        ...
