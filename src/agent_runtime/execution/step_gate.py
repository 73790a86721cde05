"""What every step passes before it begins, and where it waits when it may not."""

from __future__ import annotations

import asyncio
from typing import Final

from agent_runtime.errors import JournalLimitReached, RunSuspended, StorageError
from agent_runtime.execution.journal.writer import JournalWriter
from agent_runtime.execution.lifecycle import RunState
from agent_runtime.ledger.room import RoomWanted
from llm_client.background import Backoff
from llm_client.logs import logger_of
from llm_client.pausing import paused

logger = logger_of(__name__)

_LOOK_AGAIN: Final = 5.0
"""Seconds after which a step that waits for room in a budget looks again, while others of its job keep it in memory."""


class StepGate:
    """Lets the steps of one run begin.

    Args:
        journal: The run's.
    """

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._lifecycle = journal.lifecycle
        self._services = journal.services
        self._waiting: set[asyncio.Future[None]] = set()
        self.room_wanted: dict[asyncio.Future[None], RoomWanted] = {}
        """Those that wait for room in a budget."""

    @property
    def waiting(self) -> int:
        """How many steps stand here that may not begin."""
        return len(self._waiting)

    async def admit(self) -> None:
        """Let a step begin, unless the process is stopping: then wait until the run is given up.

        Raises:
            JournalLimitReached: The journal is full.
        """
        await self._services.turns.give()
        self._lifecycle.check_going_on()
        if self._journal.last_seq >= self._services.options.max_events:
            raise JournalLimitReached(
                f"the job's journal has {self._journal.last_seq} entries; split the work with context.continue_as_new"
            )
        await self.check_alive()
        if self._lifecycle.begins_nothing:
            await self._wait_for_release()

    async def check_alive(self) -> None:
        """Go on only while nobody can have taken this worker for dead; to be awaited right before an effect begins.

        A process that was paused finds out here whether its jobs were taken from it meanwhile.
        """
        if not self._services.lease.is_fresh():
            await self._refresh_lease()
        self._lifecycle.check_open()
        if self._lifecycle.state is RunState.EVICTED:
            await self._wait_for_release()

    async def _refresh_lease(self) -> None:
        lease, backoff = self._services.lease, Backoff(0.05, 1.0)
        while not lease.is_fresh():
            try:
                await lease.refresh()
            except StorageError as error:
                logger.warning("job %s waits: %s", self._journal.job.job_id, error)
                await backoff.pause()

    async def _wait_for_release(self) -> None:
        """Wait until the run is given up."""
        waiting = self._journal.loop.create_future()
        self._waiting.add(waiting)
        self._lifecycle.attention.set()
        try:
            await waiting
        finally:  # its caller gave up waiting: it must not be counted beside what it does next
            self._waiting.discard(waiting)

    async def wait_for_room(self, wanted: RoomWanted) -> None:
        """Stand before a step that a budget has no room for, until it is worth looking again.

        When nothing else of the job is in flight, the run ends here, and another one comes back to this step.
        """
        self._lifecycle.check_going_on()
        waiting: asyncio.Future[None] = self._journal.loop.create_future()
        seconds = _LOOK_AGAIN
        if wanted.until is not None:
            seconds = min(seconds, max(0.0, (wanted.until - self._services.clock.now()).total_seconds()))
        timer = self._journal.loop.call_later(seconds, _look_again, waiting)
        self._waiting.add(waiting)
        self.room_wanted[waiting] = wanted
        self._lifecycle.attention.set()
        try:
            async with paused():
                await waiting
        finally:
            timer.cancel()
            self._waiting.discard(waiting)
            del self.room_wanted[waiting]
        self._lifecycle.check_going_on()

    def look_for_room(self) -> None:
        """Let those look again who wait for room in a budget."""
        for waiting in list(self.room_wanted):
            _look_again(waiting)

    def unwind(self) -> None:
        """Leave every step that stands here: what it awaits raises `RunSuspended`."""
        for waiting in list(self._waiting):
            if not waiting.done():
                waiting.set_exception(RunSuspended())


def _look_again(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
