"""One run of one job: its branches, their waits, and who may begin a step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent_runtime.errors import ConcurrentSteps, FenceLost, JournalLimitReached, StorageError
from agent_runtime.kernel.branch import Branch
from agent_runtime.kernel.budgets import RunBudgets
from agent_runtime.kernel.governor import Governor
from agent_runtime.kernel.history import SIGNALS
from agent_runtime.kernel.writing import JournalWriter, RunServices
from agent_runtime.ports.journal import Claim
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.retry_policy import RetryPolicy
from llm_client.pausing import paused

if TYPE_CHECKING:
    from agent_runtime.kernel.streams import StreamLine

logger = logging.getLogger(__name__)


class JobRun(JournalWriter):
    """A claimed job while it is in this process's memory.

    Args:
        claim: The job and its journal.
        services: The kernel's.
    """

    def __init__(self, claim: Claim, services: RunServices) -> None:
        super().__init__(claim, services)
        self.loop = asyncio.get_running_loop()
        """Where the job runs."""
        self.budgets = RunBudgets(
            claim.job, services.ledger, services.clock, services.options, read=self.patiently
        )
        self.governor = Governor(self)
        """Asks the job's policy; set once its version has been found."""
        self.retry: RetryPolicy = claim.job.retry or services.retry
        """What outages mean to it; the operator's own once that has been found."""
        self.root = Branch(self)
        self.signals_waiting = False
        self.is_idle = False
        """Every branch has been blocked for as long as a job may idle in memory."""
        self.stopping = False
        """The operator is being cancelled; what it does not finish is settled with the job's end."""
        self.draining = False
        """No new step may begin: the process is going to stop."""
        self.out_of_time = False
        """The budget's running time is used up."""
        self.taken = False
        """This worker was taken for dead, and its jobs from it: not even an effect whose intent is written may begin."""
        self.unsent: set[str] = set()
        """Attempts of model calls whose intent is written and whose request has not left: so far they cost nothing."""
        self.left_lines: set[StreamLine] = set()
        """Streams nobody reads any more, in which effects are still going on."""
        self._waiters: dict[str, tuple[Branch, asyncio.Future[RuntimeEvent]]] = {}
        self._idle_timer: asyncio.TimerHandle | None = None
        self._folded_to = claim.job.last_seq
        """Place of the last signal that was taken into the journal."""
        self.fold_in_doubt = False
        """A fold has failed that may have been written all the same: who knows what the job is told there."""
        self._held_back = 0
        """Branches that stand before a step which the stopping process does not begin."""

    def operation_id(self, place: str) -> str:
        """Return the stable name of the operation at a place."""
        return f"{self.job.origin}:{place}"

    def row_name(self, operation_id: str) -> str:
        """Return the name of an operation among our own rows: a retry shares the operation's id, and not its rows."""
        return f"{self.job.job_id}:{operation_id.removeprefix(f'{self.job.origin}:')}"

    async def admit_step(self, branch: Branch | None = None) -> None:
        """Let a step begin, unless the process is stopping: then stand still until the run is given up.

        Args:
            branch: Where it begins, when streams may have been left there.

        Raises:
            JournalLimitReached: The journal is full.
        """
        self.check_open()
        if branch is not None and branch.streams:
            await branch.streams_ended()
        if self._last_seq >= self.services.options.max_events:
            raise JournalLimitReached(
                f"the job's journal has {self._last_seq} entries; split the work with context.continue_as_new"
            )
        await self.check_alive()
        if self.draining:
            await self._stand_still()

    async def check_alive(self) -> None:
        """Go on only while nobody can have taken this worker for dead; to be awaited right before an effect begins.

        A process that was paused finds out here whether its jobs were taken from it meanwhile.
        """
        heartbeat, delay = self.services.heartbeat, 0.05
        while not heartbeat.is_fresh():
            try:
                await heartbeat.refresh()
            except StorageError as error:
                logger.warning("job %s stands still: %s", self.job.job_id, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
        self.check_open()
        if self.taken:
            await self._stand_still()

    async def _stand_still(self) -> None:
        """Wait until the run is given up."""
        self._held_back += 1
        self.attention.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:  # its caller gave up waiting: it must not be counted beside what it does next
            self._held_back -= 1

    def wake(self) -> None:
        """Learn that signals wait to be folded."""
        self.signals_waiting = True
        self.attention.set()

    async def fold(self) -> None:
        """Take waiting signals into the journal and hand them to the branches that wait for them.

        An answered branch counts as live at once, before its task has run: otherwise the job, idle for long enough,
        could be suspended on top of an answer that nobody will announce again.
        """
        self.signals_waiting = False
        try:
            events = await self._take_signals()
        except FenceLost as error:
            self.lose(error)
            return
        except StorageError as error:
            self.fold_in_doubt = True
            logger.warning("job %s: signals cannot be read yet: %s", self.job.job_id, error)
            asyncio.get_running_loop().call_later(1.0, self.wake)
            return
        self.history.apply_all(events)
        for event in events:
            branch, waiter = self._waiters.pop(event.operation_id or "", (None, None))
            if branch is not None and waiter is not None and not waiter.done():
                waiter.set_result(event)
                branch.waiting = None
        self.check_idle()

    async def _take_signals(self) -> Sequence[RuntimeEvent]:
        """Fold the waiting signals; those of a fold whose answer was lost are in the journal already."""
        storage, options = self.services.storage, self.services.options
        taken = await storage.fold(self.job_id, fence=self.job.fence, at=self.services.clock.now())
        if self.fold_in_doubt:
            since = await storage.events(
                self.job_id, after_seq=self._folded_to, limit=options.max_events + len(taken)
            )
            taken = [event for event in since if event.type in SIGNALS]
            self.fold_in_doubt = False
        if taken:
            self._folded_to = taken[-1].seq or self._folded_to
        return taken

    async def wait(self, branch: Branch, operation_id: str, kind: str) -> RuntimeEvent:
        """Wait durably for the answer to an operation: the run may end here and another one return the answer."""
        arrived = self.history.arrived.get(operation_id)
        if arrived is not None:
            return arrived
        self.check_open()
        if branch.waiting is not None or branch.in_step is not None:
            raise ConcurrentSteps
        answer: asyncio.Future[RuntimeEvent] = asyncio.get_running_loop().create_future()
        self._waiters[operation_id] = (branch, answer)
        branch.waiting = kind
        self.check_idle()
        try:
            async with paused():
                return await answer
        finally:
            branch.waiting = None
            self._waiters.pop(operation_id, None)
            self.check_idle()

    def check_idle(self) -> None:
        """Start or stop the clock after which a job that only waits leaves the memory."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        self.is_idle = False
        for line in self.left_lines:
            line.cancel_if_blocked()
        if not self.closed and self.root.is_blocked():
            delay = 0.0 if self.draining else self.services.options.suspend_after
            self._idle_timer = asyncio.get_running_loop().call_later(delay, self._become_idle)

    def _become_idle(self) -> None:
        self._idle_timer = None
        self.is_idle = self.root.is_blocked()
        if self.is_idle:
            self.attention.set()

    def is_quiet(self) -> bool:
        """Whether no step is in flight anywhere: every branch waits, or stands before its next step."""
        return self._held_back + sum(1 for leaf in self.root.leaves() if leaf.waiting) >= len(
            self.root.leaves()
        )

    def close(self) -> None:
        """Write nothing any more and forget timers."""
        super().close()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def publish(self, type_: str, operation_id: str | None, data: dict[str, Any]) -> None:
        """Send a live event that is not stored."""
        self.services.bus.publish_live(
            RuntimeEvent(
                type=type_,
                job_id=self.job.job_id,
                scope_id=self.job.scope_id,
                timestamp=self.services.clock.now(),
                operation_id=operation_id,
                data=data,
            )
        )
