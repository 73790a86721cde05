"""What must no longer be read from a cache of jobs, and gets deleted there as soon as Redis can be reached.

From the moment a change is heard until its entry is known to be deleted, this process does not trust the entry. So a
Redis that is away makes reading slower, not wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from agent_runtime.errors import StorageError
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.storage.redis.server import Server
from agent_runtime.values.event import RuntimeEvent
from llm_client.background import BackgroundLoop, Backoff
from llm_client.logs import logger_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

logger = logger_of(__name__)

MOST_JOBS: Final = 10_000
"""Jobs that wait to be deleted; beyond it, everything is given up instead."""
PAGE: Final = 500
FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 1.0
"""Seconds between two attempts to reach Redis: at first, and at most."""


class Invalidations:
    """Listens to a storage, and deletes what has changed.

    Args:
        server: Where the cache is.
        prefix: Begins the keys of its entries and their leases.
        epoch_key: Names the time that entries belong to; those of another are invalid. No name comes twice, so that an
            evicted one brings no entry back.
    """

    def __init__(self, server: Server, *, prefix: str, epoch_key: str) -> None:
        self._server = server
        self._prefix = prefix
        self._epoch_key = epoch_key
        self._jobs: dict[str, int] = {}
        """Jobs whose entries are not trusted, each with the number of the change that made them so."""
        self._everything = 0
        """Number of the change after which no entry at all is trusted; 0 when there is none."""
        self._changes = 0
        self._loop = BackgroundLoop(
            self.flush,
            name="deleting entries of the job cache",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(FIRST_DELAY, LONGEST_DELAY),
        )

    def entry_keys(self, job_id: str) -> tuple[str, str]:
        """Return the key of a job's entry and that of its lease."""
        return f"{self._prefix}:e:{job_id}", f"{self._prefix}:l:{job_id}"

    def distrusts(self, job_id: str) -> bool:
        """Whether a job's entry may be older than what this process has heard of."""
        return self._everything > 0 or job_id in self._jobs

    def add(self, job_id: str) -> None:
        """Distrust a job's entry until it is deleted."""
        self._changes += 1
        self._jobs[job_id] = self._changes
        if len(self._jobs) > MOST_JOBS:
            self.add_everything()
        self._loop.wake()

    def add_everything(self) -> None:
        """Distrust all entries until all are invalid."""
        self._changes += 1
        self._everything = self._changes
        self._jobs.clear()
        self._loop.wake()

    def committed(self, commit: Commit, first_seq: int) -> None:
        """Learn of a commit of this process: only the owner of a job changes its row."""
        if commit.job_id is not None:
            self.add(commit.job_id)

    def mailed(self, job_ids: Sequence[str]) -> None:
        """Do nothing: a message changes no job's row."""

    def agents_changed(self, changes: Sequence[tuple[str, str]]) -> None:
        """Do nothing: an agent is no job."""

    def signals_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        """Learn of signals that this process has drained, with a claim too."""
        self.add(job_id)

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        """Learn of another process's commits."""
        if changes is None:
            self.add_everything()
            return
        for change in changes:
            if change.kind in ("appended", "ended"):
                self.add(change.job_id)

    def start(self) -> None:
        """Begin to delete, in the background; what was written before anybody listened is not trusted."""
        self.add_everything()
        self._loop.start()

    async def stop(self) -> None:
        """Delete what is left, if Redis can be reached, and stop."""
        if self._loop.is_running:
            await self._loop.stop()
            with contextlib.suppress(StorageError):
                await self.flush()

    async def flush(self) -> None:
        """Delete what is not trusted. As long as that fails, the cache is not used for it.

        Raises:
            StorageError: Redis cannot be reached.
        """
        while self._everything or self._jobs:
            await self._flush_some()

    async def _flush_some(self) -> None:
        everything = self._everything
        jobs = dict(list(self._jobs.items())[:PAGE])

        async def delete(client: Redis) -> None:
            async with client.pipeline(transaction=False) as pipeline:
                if everything:
                    pipeline.set(self._epoch_key, new_id("epoch"))
                if jobs:
                    pipeline.delete(*(key for job_id in jobs for key in self.entry_keys(job_id)))
                await pipeline.execute()

        await self._server.answered(delete)
        if self._everything == everything:
            self._everything = 0
        for job_id, change in jobs.items():
            if (
                self._jobs.get(job_id) == change
            ):  # otherwise it has changed again, and somebody may have filled it
                del self._jobs[job_id]
