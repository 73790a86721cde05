"""Jobs whose end somebody waits for, whichever process brings it about. A job that is blocked has stopped, too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final
from weakref import WeakValueDictionary

from agent_runtime.errors import InvalidInput, StorageError
from agent_runtime.ports.storage import Storage
from agent_runtime.values.event import RuntimeEvent
from llm_client.background import BackgroundLoop
from llm_client.logs import logger_of

logger = logger_of(__name__)

POLL_LIMIT: Final = 1000
"""Jobs asked for at once."""


class CompletionWaiters:
    """Terminal events to come, and those that say that a job is blocked.

    Args:
        storage: Where they are looked for, when another process has written them.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._ends: WeakValueDictionary[str, asyncio.Future[RuntimeEvent]] = WeakValueDictionary()
        self._changed: dict[str, None] = {}
        self._loop = BackgroundLoop(
            self._read_changed,
            name="looking at ended jobs",
            logger=logger,
            failures=(StorageError,),  # not tried again: the sweep finds them
        )

    def __contains__(self, job_id: str) -> bool:
        """Whether somebody waits for the job's end."""
        return job_id in self._ends

    def start(self) -> None:
        """Begin."""
        self._loop.start()

    async def stop(self) -> None:
        """Look no more; whoever waits learns that the job goes on later."""
        for end in list(self._ends.values()):
            if not end.done():
                end.set_exception(
                    InvalidInput("the kernel was closed before the job had ended; the job goes on later")
                )
                end.exception()  # nobody may be waiting; then it is no error that nobody hears of it
        await self._loop.stop()

    def end_of(self, job_id: str) -> asyncio.Future[RuntimeEvent]:
        """Return a future of the next event with which the job stops; shared by all who wait, forgotten with the last."""
        end = self._ends.get(job_id)
        if end is None or end.done():
            end = self._ends[job_id] = asyncio.get_running_loop().create_future()
        return end

    def came(self, event: RuntimeEvent) -> None:
        """Hand an event with which a job has stopped to those who wait for it."""
        end = self._ends.pop(event.job_id or "", None)
        if end is not None and not end.done():
            end.set_result(event)

    def on_remote_change(self, job_id: str) -> None:
        """Learn that a job has stopped in another process: only that one is looked at, however many are awaited."""
        if job_id in self._ends:
            self._changed[job_id] = None
            self._loop.wake()

    async def poll(self) -> None:
        """See which of all awaited jobs have ended: one question for a thousand, for most of them wait for long."""
        awaited = list(self._ends)
        for first in range(0, len(awaited), POLL_LIMIT):
            await self._read(await self._storage.stopped_jobs(awaited[first : first + POLL_LIMIT]))

    async def _read_changed(self) -> None:
        changed, self._changed = list(self._changed), {}
        await self._read(changed)

    async def _read(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            for event in await self._storage.tail(job_id, 1):
                if event.is_stop:
                    self.came(event)
