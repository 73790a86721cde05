"""Taking the signals that wait for a job into its journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agent_runtime.errors import FenceLost, StorageError
from agent_runtime.execution.idleness import Idleness
from agent_runtime.execution.journal.history import SIGNALS
from agent_runtime.execution.journal.writer import JournalWriter
from agent_runtime.execution.waiters import Waiters
from agent_runtime.values.event import RuntimeEvent
from llm_client.logs import logger_of

logger = logger_of(__name__)


class SignalDrain:
    """Drains the signals of one run; for its supervisor.

    Args:
        journal: Where they are written.
        waiters: Who is told.
        idleness: Checked when somebody was.
        wake: Called a second after the storage has failed.
    """

    def __init__(
        self, journal: JournalWriter, waiters: Waiters, idleness: Idleness, wake: Callable[[], None]
    ) -> None:
        self._journal = journal
        self._waiters = waiters
        self._idleness = idleness
        self._wake = wake
        self._drained_to = journal.job.last_seq
        """Position of the last signal that was taken into the journal."""
        self.wanted = False
        """Signals wait."""
        self.in_doubt = False
        """A drain has failed that may have been written all the same: who knows what the job is told there."""

    async def drain(self) -> None:
        """Take waiting signals into the journal and hand them to the lines that wait for them."""
        self.wanted = False
        try:
            events = await self._taken()
        except FenceLost as error:
            self._journal.lifecycle.abort(error)
            return
        except StorageError as error:
            self.in_doubt = True
            logger.warning("job %s: signals cannot be read yet: %s", self._journal.job.job_id, error)
            self._journal.loop.call_later(1.0, self._wake)
            return
        history = self._journal.history
        history.apply_all(events)
        for event in events:
            if not history.is_superseded(event):
                self._waiters.deliver(event)
        self._idleness.check()

    async def _taken(self) -> Sequence[RuntimeEvent]:
        """Drain the waiting signals; those of a drain whose answer was lost are in the journal already."""
        journal = self._journal
        taken = await journal.drain_signals()
        if self.in_doubt:
            since = await journal.services.storage.events(
                journal.job.job_id,
                after_seq=self._drained_to,
                limit=journal.services.options.max_events + len(taken),
            )
            taken = [event for event in since if event.type in SIGNALS]
            self.in_doubt = False
        if taken:
            self._drained_to = taken[-1].seq or self._drained_to
        return taken
