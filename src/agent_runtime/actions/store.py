"""What an `ActionManager` needs of a store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from agent_runtime.ports.commit import Commit, Timer
from agent_runtime.ports.readers import ActionReader
from agent_runtime.values.job import JobRecord


class ActionStorage(ActionReader, Protocol):
    """The part of a storage that actions need; every `Storage` is one.

    Implementations: memory, SQLite, Postgres and Redis; all pass `agent_runtime.testing.actions_contract`.
    """

    async def commit(self, commit: Commit) -> int:
        """Write all of `commit` or nothing: new actions, changes of pending ones, and the timers of their expiry.

        Raises:
            ActionAlreadyResolved: A changed action is no longer pending, or has votes the writer has not seen.
            UnknownAction: There is no such action.
            StorageError: Nothing was written.
        """
        ...

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return a job, or `None`; always `None` where no jobs are kept."""
        ...

    async def due_timers(self, now: datetime, *, limit: int = 500) -> Sequence[Timer]:
        """Return timers that have fallen due, oldest first: those of pending actions, and where jobs are kept, others."""
        ...


class ActionStore(Protocol):
    """A view of a storage, as in `InMemoryActionStore()`."""

    @property
    def storage(self) -> ActionStorage:
        """The storage it is a view of."""
        ...
