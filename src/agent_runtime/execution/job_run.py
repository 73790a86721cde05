"""One run of one job: its branches, their waits, and who may begin a step."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from agent_runtime.errors import (
    ConcurrentSteps,
    FenceLost,
    JournalLimitReached,
    NondeterminismError,
    RunSuspended,
    StorageError,
    UnrecordedCancellation,
)
from agent_runtime.execution.branch import Branch
from agent_runtime.execution.budgets import RunBudgets
from agent_runtime.execution.history import SIGNALS, History
from agent_runtime.execution.journal_writer import JournalWriter
from agent_runtime.execution.operations.receiving import Receiving
from agent_runtime.execution.operations.tokens import ResumeTokens
from agent_runtime.execution.policy_enforcer import PolicyEnforcer
from agent_runtime.execution.services import RunServices
from agent_runtime.execution.transcripts import Transcripts
from agent_runtime.ledger.room import RoomWanted
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord
from agent_runtime.values.retry_policy import RetryPolicy
from agent_runtime.values.waits import WaitSet
from llm_client.background import Backoff
from llm_client.logs import logger_of
from llm_client.pausing import paused

if TYPE_CHECKING:
    from agent_runtime.execution.operations.streams import StreamLine
    from agent_runtime.execution.operations.timeouts import TimeoutScope

logger = logger_of(__name__)

_LOOK_AGAIN = 5.0
"""Seconds after which a step that waits for room in a budget looks again, while others of its job keep it in memory."""

ControlError = NondeterminismError | ConcurrentSteps | UnrecordedCancellation
"""The operator's code and its journal do not belong together: the run cannot go on, whatever the code catches."""
E = TypeVar("E", NondeterminismError, ConcurrentSteps, UnrecordedCancellation)


@dataclass(slots=True, eq=False)
class _Waiter:
    """A branch that waits for the answer to an operation; any number may wait for one."""

    branch: Branch
    answer: asyncio.Future[RuntimeEvent]


class JobRun(JournalWriter):
    """A claimed job while it is in this process's memory.

    Args:
        job: It.
        history: Its journal, learnt.
        services: The kernel's.
    """

    def __init__(self, job: JobRecord, history: History, services: RunServices) -> None:
        super().__init__(job, history, services)
        self.loop = asyncio.get_running_loop()
        """Where the job runs."""
        self.budgets = RunBudgets(
            job,
            services.ledger,
            services.clock,
            services.options,
            read=self.patiently,
            stand_by=self.wait_for_room,
        )
        self.enforcer = PolicyEnforcer(self)
        """Asks the job's policy; set once its version has been found."""
        self.retry: RetryPolicy = job.retry or services.retry
        """What outages mean to it; the operator's own once that has been found."""
        self.tokens = ResumeTokens()
        self.mail = Receiving(self)
        """The messages it waits for."""
        self.transcripts = Transcripts()
        """The messages of model calls that the journal holds."""
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
        self.control_error: ControlError | None = None
        """Why every further operation is refused."""
        self.timeouts: dict[str, TimeoutScope] = {}
        """Bounds on time whose bodies run, by operation."""
        self._waiters: dict[str, list[_Waiter]] = {}
        """By the operation whose answer they wait for."""
        self._still: set[asyncio.Future[None]] = set()
        """Whoever stands before an operation that this process does not begin."""
        self.room_wanted: dict[asyncio.Future[None], RoomWanted] = {}
        """Those of them that wait for room in a budget."""
        self._idle_timer: asyncio.TimerHandle | None = None
        self._folded_to = job.last_seq
        """Place of the last signal that was taken into the journal."""
        self.fold_in_doubt = False
        """A fold has failed that may have been written all the same: who knows what the job is told there."""

    def operation_id(self, place: str) -> str:
        """Return the stable name of the operation at a place.

        A retry goes on under the names of the job it retries; where it was asked for new keys, only with what it recalls.
        """
        inherited = f"{self.job.origin}:{place}"
        if self.job.origin == self.job.job_id or inherited in self.history.steps:
            return inherited
        own = self.own_operation_id(place)
        is_own = own in self.history.steps or self.history.created_data("new_seed") is not None
        return own if is_own else inherited

    def own_operation_id(self, place: str) -> str:
        """Return the name of an operation that shares none with the job that is retried."""
        return f"{self.job.job_id}:{place}"

    def seed_of(self, operation_id: str) -> str:
        """Return what chance comes from at an operation."""
        new_seed = self.history.created_data("new_seed")
        is_own = new_seed is not None and operation_id.startswith(f"{self.job.job_id}:")
        return str(new_seed) if is_own else self.job.seed

    def row_name(self, operation_id: str) -> str:
        """Return the name of an operation among our own rows: a retry shares the operation's id, and not its rows."""
        return self.own_operation_id(operation_id.partition(":")[2])

    def is_asked_to_stop(self) -> bool:
        """Whether the job is asked to end: nothing begins any more but what cleans up."""
        return self.stopping or self.history.stop_request is not None

    def check_going_on(self) -> None:
        """Let something begin, unless the run has ended, or its code does not belong to its journal.

        Raises:
            RunSuspended: The run has ended; the job goes on later.
            ControlError: The one that was raised first.
        """
        self.check_open()
        if self.control_error is not None:
            raise self.control_error

    def refuse(self, error: E) -> E:
        """Keep the first error that ends this run whatever the operator catches, and return it to be raised."""
        if self.control_error is None:
            self.control_error = error
            self.attention.set()
        return error

    async def admit_step(self, branch: Branch | None = None) -> None:
        """Let a step begin, unless the process is stopping: then stand still until the run is given up.

        Args:
            branch: Where it begins, when streams may have been left there.

        Raises:
            JournalLimitReached: The journal is full.
        """
        await self.services.turns.give()
        self.check_going_on()
        if branch is not None and branch.streams:
            await branch.streams_ended()
        if self.last_seq >= self.services.options.max_events:
            raise JournalLimitReached(
                f"the job's journal has {self.last_seq} entries; split the work with context.continue_as_new"
            )
        await self.check_alive()
        if self.draining:
            await self._stand_still()

    async def check_alive(self) -> None:
        """Go on only while nobody can have taken this worker for dead; to be awaited right before an effect begins.

        A process that was paused finds out here whether its jobs were taken from it meanwhile.
        """
        lease, backoff = self.services.lease, Backoff(0.05, 1.0)
        while not lease.is_fresh():
            try:
                await lease.refresh()
            except StorageError as error:
                logger.warning("job %s stands still: %s", self.job.job_id, error)
                await backoff.pause()
        self.check_open()
        if self.taken:
            await self._stand_still()

    async def _stand_still(self) -> None:
        """Wait until the run is given up."""
        still = asyncio.get_running_loop().create_future()
        self._still.add(still)
        self.attention.set()
        try:
            await still
        finally:  # its caller gave up waiting: it must not be counted beside what it does next
            self._still.discard(still)

    async def wait_for_room(self, wanted: RoomWanted) -> None:
        """Stand before a step that a budget has no room for, until it is worth looking again.

        When nothing else of the job is in flight, the run ends here, and another one comes back to this step.
        """
        self.check_going_on()
        loop = asyncio.get_running_loop()
        still: asyncio.Future[None] = loop.create_future()
        seconds = _LOOK_AGAIN
        if wanted.until is not None:
            seconds = min(seconds, max(0.0, (wanted.until - self.services.clock.now()).total_seconds()))
        timer = loop.call_later(seconds, self._look_again, still)
        self._still.add(still)
        self.room_wanted[still] = wanted
        self.attention.set()
        try:
            async with paused():
                await still
        finally:
            timer.cancel()
            self._still.discard(still)
            del self.room_wanted[still]
        self.check_going_on()

    def look_for_room(self) -> None:
        """Let those look again who wait for room in a budget."""
        for still in list(self.room_wanted):
            self._look_again(still)

    @staticmethod
    def _look_again(still: asyncio.Future[None]) -> None:
        if not still.done():
            still.set_result(None)

    def wake(self) -> None:
        """Learn that signals wait to be folded, or messages to be taken."""
        self.signals_waiting = self.mail.wanted = True
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
            if not self.history.is_superseded(event):
                self.deliver(event)
        self.check_idle()

    def deliver(self, event: RuntimeEvent) -> None:
        """Hand an answer that is in the journal to the branches that wait for it, and end a time that is up."""
        operation_id = event.operation_id or ""
        for waiter in self._waiters.pop(operation_id, ()):
            if not waiter.answer.done():
                waiter.answer.set_result(event)
                waiter.branch.waiting = None
        if operation_id in self.timeouts and operation_id in self.history.arrived:
            self.timeouts[operation_id].expire()

    def deliver_arrived(self) -> bool:
        """Hand out answers that are in the journal while somebody still waits for them; return whether there were any.

        A job must never be suspended on top of an answer: nobody would announce it again.
        """
        arrived = [
            self.history.arrived[operation_id]
            for operation_id in (*self._waiters, *self.timeouts)
            if operation_id in self.history.arrived and operation_id not in self.history.timeouts
        ]
        for event in arrived:
            self.deliver(event)
        return bool(arrived)

    def waiting_for(self, kind: str) -> list[str]:
        """Return the operations of a kind that branches wait for, in the order in which they began."""
        return [
            one
            for one, waiters in self._waiters.items()
            if any(each.branch.waiting == kind for each in waiters)
        ]

    def waits_for(self, operation_id: str) -> Branch | None:
        """Return a branch that waits for the answer to an operation, if one does."""
        waiters = self._waiters.get(operation_id, ())
        return next((waiter.branch for waiter in waiters if not waiter.answer.done()), None)

    async def _take_signals(self) -> Sequence[RuntimeEvent]:
        """Fold the waiting signals; those of a fold whose answer was lost are in the journal already."""
        storage, options = self.services.storage, self.services.options
        taken = await self.take_signals()
        if self.fold_in_doubt:
            since = await storage.events(
                self.job_id, after_seq=self._folded_to, limit=options.max_events + len(taken)
            )
            taken = [event for event in since if event.type in SIGNALS]
            self.fold_in_doubt = False
        if taken:
            self._folded_to = taken[-1].seq or self._folded_to
        return taken

    async def wait(
        self, branch: Branch, operation_id: str, kind: str, *, settles: bool = False
    ) -> RuntimeEvent:
        """Wait durably for the answer to an operation: the run may end here and another one return the answer.

        Args:
            branch: Who waits.
            operation_id: What for.
            kind: Kind of the wait.
            settles: Whether this finds out what became of an effect in flight, which a branch that has been stopped does too.
        """
        arrived = self.history.arrived.get(operation_id)
        if arrived is not None:
            if kind == "message":
                self.mail.arrived(operation_id, branch)
            return arrived
        self.check_going_on()
        if branch.waiting is not None or branch.in_step is not None:
            raise self.refuse(ConcurrentSteps())
        if self.is_asked_to_stop():
            raise branch.cancel()
        if not settles and (why := branch.stop_reason("action")) is not None:
            branch.cut(operation_id)
            raise asyncio.CancelledError(why)
        waiter = _Waiter(branch, asyncio.get_running_loop().create_future())
        self._waiters.setdefault(operation_id, []).append(waiter)
        branch.waiting = kind
        self.check_idle()
        if kind == "message":
            self.mail.want()
        try:
            async with paused():
                return await waiter.answer
        except asyncio.CancelledError as cancelled:
            if not self.closed:
                branch.cut(operation_id)
            left = branch.left_by(cancelled)
            if kind == "message" and isinstance(left, asyncio.CancelledError) and not self.closed:
                self.mail.give_back([operation_id])
            raise left from None
        finally:
            branch.waiting = None
            self._forget(operation_id, waiter)
            self.check_idle()

    def wait_sets(self) -> list[WaitSet]:
        """Return what the job waits for: waits that were gathered are one set, all others and every bound on time their own."""
        sets: dict[tuple[str, bool], dict[str, None]] = {}
        for operation_id, waiters in self._waiters.items():
            for waiter in waiters:
                key = waiter.branch.wait_set or (operation_id, False)
                sets.setdefault(key, {})[operation_id] = None
        bounds = [WaitSet(operation_ids=(operation_id,)) for operation_id in self.timeouts]
        return [
            *(WaitSet(operation_ids=tuple(ids), ends_with_failure=fails) for (_, fails), ids in sets.items()),
            *bounds,
        ]

    def _forget(self, operation_id: str, waiter: _Waiter) -> None:
        waiting = self._waiters.get(operation_id, [])
        if waiter in waiting:
            waiting.remove(waiter)
        if not waiting:
            self._waiters.pop(operation_id, None)

    def end_wait(self, branch: Branch, error: BaseException) -> bool:
        """Raise an error where a branch waits for an answer; return whether it does."""
        found = [one for waiting in self._waiters.values() for one in waiting if one.branch is branch]
        for waiter in found:
            if not waiter.answer.done():
                waiter.answer.set_exception(error)
        return bool(found)

    def unwind(self) -> None:
        """Leave the operator where it waits: what it awaits raises `RunSuspended`."""
        waiting = [waiter.answer for waiters in self._waiters.values() for waiter in waiters]
        still: list[asyncio.Future[Any]] = [*waiting, *self._still]
        for future in still:
            if not future.done():
                future.set_exception(RunSuspended())

    def interrupt(self) -> None:
        """Raise the job's cancellation in every line that has not had it yet: where it waits, or in what it does."""
        for leaf in self.root.leaves():
            if leaf.is_cleaning:
                continue
            if self.end_wait(leaf, asyncio.CancelledError("the job is asked to stop")):
                continue
            line = leaf.at_work
            if line.in_step is None and line.effect is None:
                line.cancel()
            if line.task is not None:
                line.task.cancel("the job is asked to stop")

    def operation_ended(self) -> None:
        """Let the supervisor look whether all that was in flight has ended, when it waits for that."""
        if self.control_error is not None:
            self.attention.set()

    def is_in_flight(self) -> bool:
        """Whether an effect runs anywhere."""
        return any(
            not leaf.waiting and (leaf.in_step is not None or leaf.effect is not None)
            for leaf in self.root.leaves()
        )

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
        return len(self._still) + sum(1 for leaf in self.root.leaves() if leaf.waiting) >= len(
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
