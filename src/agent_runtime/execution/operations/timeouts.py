"""Bounds on time that survive a restart: `async with context.timeout(seconds)`.

A bound is a row in the timers' table. That it falls due decides nothing yet: the run that owns the job records that the
body was still inside (`timeout.expired`) or had gone on (`timeout.left`), and every later run does the same.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from types import TracebackType

from agent_runtime.errors import InvalidInput, JournalLimitReached
from agent_runtime.execution.branch import TIME_IS_UP, Branch, Operation
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.operations.failed_at import note_failure
from agent_runtime.execution.operations.withdrawal import withdraw
from agent_runtime.execution.waiters import WaitingLine
from agent_runtime.ports.commit import NewEvent, Timer
from agent_runtime.values.event import RuntimeEventType
from llm_client.json_text import JsonObject
from llm_client.pausing import TimeLimit

_UNINTERRUPTED = frozenset({"unsafe", "reconcilable"})
"""Effects that get time to finish: cut off, nobody would know whether they had happened."""


class TimeoutScope:
    """The body of one `context.timeout`.

    Args:
        branch: The line that enters it.
        seconds: How long the body may take, waits included.
    """

    def __init__(self, branch: Branch, seconds: float) -> None:
        self._branch = branch
        self._run = branch.run
        self._seconds = seconds
        self._operation: Operation | None = None
        self._expired = False
        self._cancellations = 0
        """How often this scope has cancelled the task that entered, which is told when the scope is left."""
        self._patience: asyncio.TimerHandle | None = None
        self.cut: set[str] = set()
        """Waits that were ended."""

    @property
    def operation_id(self) -> str:
        """The operation that began it."""
        if self._operation is None:
            raise InvalidInput("this context.timeout was not entered")
        return self._operation.id

    async def __aenter__(self) -> TimeoutScope:
        if self._operation is not None:
            raise InvalidInput("a context.timeout is entered once")
        branch, run = self._branch, self._run
        self._operation = operation = branch.reach("timeout", "timeout")
        with branch.step("timeout"):
            await branch.admit()
            if operation.step is None:
                await self._begin(operation)
        self._expired = run.history.timeouts.get(operation.id) == "expired"
        branch.timeouts.append(self)
        run.waiters.bounds[operation.id] = self
        if self._expired:
            self._be_patient()
            self.line_is_free()
        return self

    async def _begin(self, operation: Operation) -> None:
        due_at: datetime = self._run.services.clock.now() + timedelta(seconds=self._seconds)
        data = {"name": "timeout", "due_at": due_at.isoformat()}
        timer = Timer(
            self._run.job_id, _key(operation.id), due_at, RuntimeEventType.TIMEOUT_DUE, operation.id
        )
        await self._run.journal.commit(
            [NewEvent(RuntimeEventType.TIMEOUT_STARTED, operation.id, data)], set_timers=[timer]
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del kind, traceback
        operation_id, run = self.operation_id, self._run
        self._branch.timeouts.remove(self)
        run.waiters.bounds.pop(operation_id, None)
        if self._patience is not None:
            self._patience.cancel()
        task = asyncio.current_task()
        while self._cancellations and task is not None:
            self._cancellations -= 1
            task.uncancel()
        if run.lifecycle.is_over or run.is_asked_to_stop():
            return
        if self._expired:
            _go_on_after(self._branch, operation_id)
            await withdraw(run, self.cut)
            if _gives_way(run, error):
                passed = TimeoutError(f"{self._seconds:g} seconds have passed")
                note_failure(passed, operation_id)
                raise passed from error
        elif operation_id not in run.history.timeouts:
            left = NewEvent(RuntimeEventType.TIMEOUT_LEFT, operation_id, {"name": "timeout"})
            run.journal.record(left, clear_timers=[(run.job_id, _key(operation_id))])

    def is_over(self) -> bool:
        """Whether nothing more may begin inside: asked where something would."""
        if not self._expired and self.operation_id in self._run.history.arrived:
            self.expire()
        return self._expired

    def expire(self) -> None:
        """Learn that the time is up: record it, and end what goes on inside.

        Waits end at once. Effects that must not be cut off have `drain_timeout` to finish; then their outcome is unknown.
        """
        if self._expired or self.operation_id in self._run.history.timeouts:
            return
        self._expired = True
        data: JsonObject = {"name": "timeout", "next": _end_of_body(self._branch)}
        self._run.journal.record(NewEvent(RuntimeEventType.TIMEOUT_EXPIRED, self.operation_id, data))
        self._be_patient()
        if self.has_ended_before(self._branch.next_number):
            self._interrupt(_UNINTERRUPTED)

    def has_ended_before(self, number: int) -> bool:
        """Whether the time was up before the body came to the place of this number; earlier ones are recalled."""
        reached = self._run.history.expired_at.get(self.operation_id)
        return self._expired and reached is not None and number >= reached

    def line_is_free(self) -> None:
        """End what the body does besides, once a later run has got as far as it was when the time was up."""
        if self.has_ended_before(self._branch.next_number):
            asyncio.get_running_loop().call_soon(self._interrupt, _UNINTERRUPTED)

    def _be_patient(self) -> None:
        """Cut off for good what has not ended when `drain_timeout` has passed."""
        patience = self._run.services.options.drain_timeout
        self._patience = asyncio.get_running_loop().call_later(patience, self._interrupt, frozenset())

    def _interrupt(self, spared: frozenset[str]) -> None:
        """End what goes on inside, except for effects of the spared classes."""
        if self not in self._branch.timeouts:  # the body has ended meanwhile
            return
        current = asyncio.current_task()

        def is_spared(line: WaitingLine) -> bool:
            return any(effect_class(step.open_intent) in spared for _, step in line.enclosing_effects())

        start = self.operation_id.partition(":")[2]
        self._run.mail.give_back_unseen(self._branch.place, start, is_spared)
        for leaf in self._branch.leaves():
            if is_spared(leaf):
                continue
            if self._run.waiters.end(leaf, asyncio.CancelledError(TIME_IS_UP)):
                continue
            task = leaf.at_work.task
            if task is not None and task is not current:
                self._cancellations += task is self._branch.task
                task.cancel(TIME_IS_UP)


class RecordedLimit:
    """A bound on active time, kept by this process; that it was reached is recorded, so that every later run ends there too.

    Args:
        branch: The line it bounds.
        seconds: Time the body may take, durable waits excepted. A later run has all of it for what is not recorded yet.
    """

    def __init__(self, branch: Branch, seconds: float) -> None:
        self._branch = branch
        self._run = branch.run
        self._limit = TimeLimit(seconds)
        self._operation_id = ""
        self.cut: set[str] = set()
        """Waits that were ended."""

    @property
    def expired(self) -> bool:
        """Whether the time was up, in this run or in an earlier one."""
        return self._limit.expired or self._run.history.timeouts.get(self._operation_id) == "expired"

    async def __aenter__(self) -> RecordedLimit:
        operation = self._branch.reach("timeout", "limit")
        self._operation_id = operation.id
        if operation.step is None:
            self._record(RuntimeEventType.TIMEOUT_STARTED)
        self._branch.timeouts.append(self)
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run = self._run
        is_over = not (run.lifecycle.is_over or run.is_asked_to_stop()) and self.is_over()
        self._branch.timeouts.remove(self)
        await self._limit.__aexit__(kind, error, trace)
        if run.lifecycle.is_over or run.is_asked_to_stop():
            return
        if is_over:
            _go_on_after(self._branch, self._operation_id)
            await withdraw(run, self.cut)
            if _gives_way(run, error):
                raise TimeoutError from error
        elif self._operation_id not in run.history.timeouts:
            self._record(RuntimeEventType.TIMEOUT_LEFT)

    def is_over(self) -> bool:
        """Whether nothing more may begin inside: asked where something would."""
        if self.expired and self._operation_id not in self._run.history.timeouts:
            self._record(RuntimeEventType.TIMEOUT_EXPIRED, next=_end_of_body(self._branch))
        return self.expired

    def has_ended_before(self, number: int) -> bool:
        """Whether the time was up before the agent came to the place of this number; earlier ones are recalled."""
        reached = self._run.history.expired_at.get(self._operation_id)
        return reached is not None and number >= reached

    def line_is_free(self) -> None:
        """Do nothing: an agent does nothing besides its calls."""

    def _record(self, type_: RuntimeEventType, **more: int) -> None:
        self._run.journal.record(NewEvent(type_, self._operation_id, {"name": "limit", **more}))


def effect_class(intent: object) -> str:
    """Return the effect class that an intent names; what has no intent may be repeated."""
    return str(intent.get("effect", "unsafe")) if isinstance(intent, dict) else "read"


def _end_of_body(branch: Branch) -> int:
    """Return the number of the place that comes after all that a body has recorded, also what this run has yet to recall."""
    recorded = branch.run.history.furthest.get(branch.place, 0)
    return max(branch.next_number, recorded + 1)


def _gives_way(run: JobRun, error: BaseException | None) -> bool:
    """Whether that the time is up is raised instead of what leaves the body.

    Whether the body saw a failure before it was cut off is not recorded; that the time was up is.
    """
    if run.lifecycle.control_error is not None or isinstance(error, JournalLimitReached):
        return False
    return error is None or isinstance(error, asyncio.CancelledError | Exception)


def _go_on_after(branch: Branch, operation_id: str) -> None:
    """Have every run go on at the same place, however far its body got: what was cut off may have left no entry."""
    branch.next_number = branch.run.history.expired_at.get(operation_id, branch.next_number)


def _key(operation_id: str) -> str:
    return f"timeout:{operation_id}"
