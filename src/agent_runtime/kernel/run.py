"""One run of one job: its history, its branches, its waits, and the only hand that writes its journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from agent_runtime.errors import ConcurrentSteps, FenceLost, JournalLimitReached, StorageError
from agent_runtime.events.bus import EventBus
from agent_runtime.kernel.branch import Branch
from agent_runtime.kernel.budgets import RunBudgets
from agent_runtime.kernel.governor import Governor
from agent_runtime.kernel.heartbeat import Heartbeat
from agent_runtime.kernel.history import History
from agent_runtime.kernel.options import KernelOptions
from agent_runtime.kernel.policies import Policies
from agent_runtime.ledger.ledger import Ledger
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.ids import new_commit_id
from agent_runtime.ports.journal import Claim, Commit, NewEvent, Storage, placed
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord
from llm_client.pausing import paused

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunServices:
    """What every run of a kernel uses."""

    storage: Storage
    clock: Clock
    bus: EventBus
    owner: str
    options: KernelOptions
    ledger: Ledger
    policies: Policies
    heartbeat: Heartbeat


class JobRun:
    """A claimed job while it is in this process's memory.

    Args:
        claim: The job and its journal.
        services: The kernel's.
    """

    def __init__(self, claim: Claim, services: RunServices) -> None:
        self.job: JobRecord = claim.job
        self.services = services
        self.history = History()
        self.history.apply_all(claim.events)
        self.budgets = RunBudgets(claim.job, services.ledger, services.clock, services.options)
        self.governor = Governor(self)
        """Asks the job's policy; set once its version has been found."""
        self.root = Branch(self)
        self.attention = asyncio.Event()
        """Set whenever the supervisor has something to look at."""
        self.signals_waiting = False
        self.is_idle = False
        """Every branch has been blocked for as long as a job may idle in memory."""
        self.closed = False
        """Nothing may be written any more: suspended, ended, or lost to another worker."""
        self.stopping = False
        """The operator is being cancelled; what it does not finish is settled with the job's end."""
        self.draining = False
        """No new step may begin: the process is going to stop."""
        self.out_of_time = False
        """The budget's running time is used up."""
        self.taken = False
        """This worker was taken for dead, and its jobs from it: not even an effect whose intent is written may begin."""
        self.lost: BaseException | None = None
        """Why the run cannot go on: `FenceLost`, or a storage that stays broken."""
        self._unwritten: list[NewEvent] = []
        """Recorded values that go out with the next commit: nothing that depends on them can be written earlier."""
        self._writing = 0
        """Commits on their way."""
        self._silence: asyncio.Future[None] | None = None
        """Done when nothing is being written any more."""
        self._last_word: asyncio.Future[None] | None = None
        """While this is there, who wants to write waits for it."""
        self._waiters: dict[str, tuple[Branch, asyncio.Future[RuntimeEvent]]] = {}
        self._idle_timer: asyncio.TimerHandle | None = None
        self._last_seq = claim.job.last_seq
        self._held_back = 0
        """Branches that stand before a step which the stopping process does not begin."""

    @property
    def job_id(self) -> str:
        """The job."""
        return self.job.job_id

    def operation_id(self, place: str) -> str:
        """Return the stable name of the operation at a place."""
        return f"{self.job.job_id}:{place}"

    async def commit(self, events: Sequence[NewEvent], **parts: Any) -> int:
        """Append events, and whatever else belongs to them, to the journal; return the first one's seq.

        A failing storage is tried again for a while. When the job has been lost to another worker, or the storage
        stays broken, the run ends here: the caller is cancelled and nothing more is written. A caller that is
        cancelled while it waits is let go when it is known what was written, so that nobody settles it again.
        """
        self.check_open()
        while self._last_word is not None:
            await asyncio.shield(self._last_word)
            self.check_open()
        self._writing += 1
        try:
            return await self._append(events, parts)
        finally:
            self._writing -= 1
            if not self._writing and self._silence is not None and not self._silence.done():
                self._silence.set_result(None)

    @asynccontextmanager
    async def last_word(self) -> AsyncIterator[None]:
        """Let what is being written be written, and then nobody but `conclude`; for the run's supervisor.

        The same fence covers everything a run writes. Without this, a task that the operator has left behind could
        write beneath the end of the job, or into a job that has been given up.
        """
        self.check_open()
        loop = asyncio.get_running_loop()
        self._last_word = held = loop.create_future()
        try:
            while self._writing:
                self._silence = loop.create_future()
                await self._silence
            self.check_open()
            yield
        finally:
            self._last_word = None
            held.set_result(None)

    async def conclude(self, events: Sequence[NewEvent], **parts: Any) -> None:
        """Write the last entries of this run, with which it gives the job up, inside `last_word`."""
        await self._append(events, parts)
        self.close()

    async def _append(self, events: Sequence[NewEvent], parts: Mapping[str, Any]) -> int:
        waiting, self._unwritten = self._unwritten, []
        commit = Commit(
            commit_id=new_commit_id(),
            at=self.services.clock.now(),
            job_id=self.job.job_id,
            fence=self.job.fence,
            scope_id=self.job.scope_id,
            events=[*waiting, *events],
            **parts,
        )
        cancelled: asyncio.CancelledError | None = None
        try:
            try:
                first_seq = await self._persist(commit)
            except asyncio.CancelledError as error:
                cancelled = error
                first_seq = await self._make_sure(commit)
        except (FenceLost, StorageError) as error:
            self.lose(error)
            raise cancelled or asyncio.CancelledError(str(error)) from error
        except Exception as error:  # refused: nothing was written, so what had waited waits on
            self._unwritten = [*waiting, *self._unwritten]
            if cancelled is not None:
                raise cancelled from error
            raise
        self._last_seq = max(self._last_seq, first_seq + len(commit.events) - 1)
        for seq, event in enumerate(events, first_seq + len(waiting)):
            self._learn(event, seq)
        if cancelled is not None:
            raise cancelled
        return first_seq

    def record(self, event: NewEvent) -> None:
        """Remember an event, to be written no later than the next commit."""
        self.check_open()
        self._unwritten.append(event)
        self._learn(event, None)

    def _learn(self, event: NewEvent, seq: int | None) -> None:
        job = self.job
        self.history.apply(placed(event, job.job_id, job.scope_id, seq or 0, self.services.clock.now()))

    async def _make_sure(self, commit: Commit) -> int:
        """Find out what became of a commit whose writer was cancelled: asking for it again tells, and adds nothing.

        Raises:
            StorageError: The storage does not tell in time.
        """
        again = asyncio.get_running_loop().create_task(self._persist(commit))
        try:
            await asyncio.wait((again,), timeout=self.services.options.cancel_timeout / 2)
            if again.done():
                return again.result()
        finally:
            again.cancel()
        raise StorageError("it is not known whether the last commit was written")

    async def _persist(self, commit: Commit) -> int:
        clock, options = self.services.clock, self.services.options
        give_up_at = clock.monotonic() + options.storage_patience
        delay = 0.05
        while True:
            try:
                return await self.services.storage.commit(commit)
            except StorageError as error:
                if clock.monotonic() + delay > give_up_at:
                    raise
                logger.warning("job %s: %s; trying again in %.2f s", self.job.job_id, error, delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
                if self.lost is not None:
                    raise

    def check_open(self) -> None:
        """Refuse to work for a run that has ended."""
        if self.closed:
            raise asyncio.CancelledError("this run of the job has ended")

    async def admit_step(self) -> None:
        """Let a step begin, unless the process is stopping: then stand still until the run is given up.

        Raises:
            JournalLimitReached: The journal is full.
        """
        self.check_open()
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

    def lose(self, error: BaseException) -> None:
        """Give the run up without writing anything more."""
        self.closed = True
        self.lost = self.lost or error
        self.attention.set()

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
            events = await self.services.storage.fold(
                self.job.job_id, fence=self.job.fence, at=self.services.clock.now()
            )
        except FenceLost as error:
            self.lose(error)
            return
        except StorageError as error:
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
        self.closed = True
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
