"""Branches: the lines of work inside one run, and the places their operations take in the journal.

Every operation's place is a path such as `3.0.1`: the first of branch 0 below the third. Concurrent branches number their
own operations below their own place, so how they interleave can never change the name of one.

A run follows a journal again up to its frontier: what is recorded is recalled, and what is not may begin only where
nothing that comes after it is recorded, in its own line or in a line around it. Otherwise changed code – or a branch that
was stopped when its sibling failed – would do something now that was never done then, below what has happened since.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from contextvars import ContextVar, Token
from typing import Final, NamedTuple, Protocol

from agent_runtime.errors import (
    ConcurrentSteps,
    ConfigurationError,
    InvalidInput,
    NondeterminismError,
    RunSuspended,
    UnrecordedCancellation,
)
from agent_runtime.execution.job_run import JobRun
from agent_runtime.execution.journal.history import Step, StepKind
from agent_runtime.ports.commit import NewEvent
from agent_runtime.values.event import RuntimeEvent, RuntimeEventType
from agent_runtime.values.message import check_identity
from llm_client.pausing import paused

WAITS: Final = frozenset({"action", "timer", "child", "message"})
"""Kinds of operations that end with something from outside."""
_EFFECTS: Final = frozenset({"model", "tool", "step"})
_NEVER_TWICE: Final = frozenset({"unsafe", "reconcilable"})


class StreamOfLine(Protocol):
    """The line of work of a stream, as the branches around it and in it see it."""

    @property
    def was_left(self) -> bool:
        """Whether the journal says that the reader left before the end."""

    @property
    def left(self) -> bool:
        """Whether nobody reads any more."""

    @property
    def waits_for_the_line(self) -> bool:
        """Whether the reader's line goes on only when this one does, or when it has ended."""

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The stream's task, while it runs."""

    def passed(self) -> None:
        """Learn that the reader's line goes on: what he has not read by now he never will."""

    async def admit(self) -> None:
        """Let a step begin of which the journal holds no end, unless the reader had left by then: then none does."""

    async def wait_for_release(self) -> None:
        """Wait in the line for its reader to leave where he had left."""


class Bound(Protocol):
    """A bound on time that a line is inside of."""

    cut: set[str]
    """Waits that were ended."""

    def is_over(self) -> bool:
        """Whether nothing more may begin inside."""

    def has_ended_before(self, number: int) -> bool:
        """Whether the time was up before the body came to the place of this number."""

    def line_is_free(self) -> None:
        """Learn that the operation in flight has ended."""


class Operation(NamedTuple):
    """A place in the journal that the code has reached."""

    id: str
    place: str
    step: Step | None
    """What is recorded there."""


TIME_IS_UP = "the time of a context.timeout is up"


class Branch:
    """One line of work. It has at most one operation in flight; more need branches of their own.

    Args:
        run: The run it belongs to.
        place: Where it stands in the journal; empty for the root.
        parent: The branch that opened it.
        is_line: Whether operations are numbered in it; what only stands around another branch is none.
    """

    __slots__ = (
        "_used_keys",
        "abandoned",
        "attempt",
        "batch",
        "children",
        "cleaning",
        "deciding",
        "dropped_tools",
        "effect",
        "in_step",
        "is_line",
        "line",
        "next_number",
        "opened_at",
        "parent",
        "place",
        "rivals",
        "run",
        "streams",
        "task",
        "timeouts",
        "to_open",
        "wait_set",
        "waiting",
    )

    def __init__(
        self, run: JobRun, place: str = "", parent: Branch | None = None, *, is_line: bool = True
    ) -> None:
        self.run = run
        self.place = place
        self.parent = parent
        self.is_line = is_line
        self.opened_at = 0 if parent is None else parent.next_number
        """The number of the place that the line around this branch takes next."""
        self.task = asyncio.current_task()
        """The task that works in it."""
        self.children: set[Branch] = set()
        self.in_step: str | None = None
        """Name of the operation in flight."""
        self.waiting: str | None = None
        """Kind of the durable wait this branch is in."""
        self.wait_set: tuple[str, bool] | None = None
        """The set that its wait belongs to, and whether that ends with the first failure."""
        self.rivals: Sequence[str] = ()
        """Operations of which only the first that is answered counts, this branch's own among them."""
        self.effect: Step | None = None
        """The tool call or step whose function runs in this branch."""
        self.attempt = 1
        """Which attempt of `effect` this is."""
        self.abandoned = False
        """A sibling has failed: nothing more may begin here."""
        self.cleaning = False
        """The job's cancellation was raised here: what follows cleans up, without waits."""
        self.deciding = False
        """A branch inside has ended in a way that decides for all of them, and this line is about to go on: although the others
        wait, the run does not."""
        self.to_open: set[int] = set()
        """Branches inside whose turn to begin has not come yet."""
        self.timeouts: list[Bound] = []
        """Bounds on time that this line is inside of, the innermost last."""
        self.dropped_tools: Sequence[str] = ()
        """Patterns of tools that the model of the last call was not offered."""
        self.batch = ""
        """Place of the last model step, below which its tool calls stand."""
        self.line: StreamOfLine | None = None
        """The stream whose call runs in this branch."""
        self.streams: list[StreamOfLine] = []
        """Streams that were opened here since the last step, and those that were left and have not ended."""
        self.next_number: int = 1
        """Of the place that the next operation takes."""
        self._used_keys: set[str] = set()

    def reach(self, kind: StepKind, name: str, *, key: str | None = None, effect: str = "") -> Operation:
        """Take the place of the next operation, or the one a key names, and see whether it may begin here.

        The streams that were read before are left.

        Args:
            kind: What the code asks for.
            name: Its name.
            key: Instead of a number.
            effect: Effect class of a step.

        Raises:
            NondeterminismError: Something else is recorded there, or something that comes after it.
            asyncio.CancelledError: The job is to end, a sibling has failed or time is up, and this has no outcome.
            RunSuspended: The run is over.
        """
        self.leave_streams()
        self.run.lifecycle.check_going_on()
        if self._is_cancelled_here():
            raise self.cancel()
        if key is None and any(scope.has_ended_before(self.next_number) for scope in self.timeouts):
            raise asyncio.CancelledError(TIME_IS_UP)
        number = None if key is not None else self.next_number
        place = self._take_place(key)
        operation = self._matched(place, kind, name)
        if not self._is_settled(operation):
            self._admit(operation, kind, number, keyed_effect=effect if key is not None else "")
        return operation

    def reach_at(self, place: str, kind: StepKind, name: str) -> Operation:
        """See whether an operation may begin at a place that is not one of this line's own, as tool calls of a model have.

        Raises:
            NondeterminismError: As for `reach`; so do the others.
        """
        self.run.lifecycle.check_going_on()
        operation = self._matched(place, kind, name)
        if not self._is_settled(operation):
            self._admit(operation, kind, None)
        return operation

    def _matched(self, place: str, kind: StepKind, name: str) -> Operation:
        operation_id = self.run.operation_id(place)
        try:
            return Operation(operation_id, place, self.run.history.match(operation_id, kind, name))
        except NondeterminismError as error:
            raise self.run.lifecycle.refuse(error) from None

    def _is_settled(self, operation: Operation) -> bool:
        """Whether the code gets what it asks for from the journal alone."""
        step = operation.step
        if step is None:
            return False
        if step.kind in _EFFECTS:
            return step.outcome is not None and step.outcome.data.get("final", True)
        history = self.run.history
        if step.kind not in WAITS:
            return True
        return operation.id in history.arrived and operation.id not in history.withdrawn

    def _admit(
        self, operation: Operation, kind: StepKind, number: int | None, *, keyed_effect: str = ""
    ) -> None:
        """Let an operation without an outcome begin or go on, where it may."""
        if self.run.is_asked_to_stop():
            self._admit_while_stopping(operation, kind, number)
        step = operation.step
        is_open = (
            step is not None and step.state != "blocked" and (step.open_intent or step.state == "unknown")
        )
        why = self.stop_reason(kind)
        if why is not None and (not is_open or self.is_recorded_ahead()):
            self.cut(operation.id)
            raise asyncio.CancelledError(why)
        is_retried = kind == "child" and operation.place in self.run.history.retried_children
        if step is None and not is_retried and not self._is_in_left_stream():
            self._check_frontier(operation, kind, number, keyed_effect)

    def _is_in_left_stream(self) -> bool:
        """Whether a stream around this branch was left in an earlier run: then nothing begins in it, and its line says so."""
        return any(branch.line is not None and branch.line.was_left for branch in self.upwards())

    def _admit_while_stopping(self, operation: Operation, kind: StepKind, number: int | None) -> None:
        if not self.is_cleaning:
            if operation.step is None and number is not None:
                self.next_number = number  # the first thing that cleans up takes this place
            raise self.cancel()
        if kind in WAITS:
            raise asyncio.CancelledError("a job that cleans up does not wait")

    def _check_frontier(
        self, operation: Operation, kind: StepKind, number: int | None, keyed_effect: str
    ) -> None:
        """Refuse to begin something below what the journal has of later."""
        furthest = self.run.history.furthest.get(self.place, 0)
        if number is not None:
            is_late = furthest > number
        elif keyed_effect:  # steps with keys have no order among themselves
            is_late = keyed_effect in _NEVER_TWICE and furthest >= self.next_number
        else:
            is_late = furthest >= self.next_number
        is_asked = kind not in ("tool", "model") and f"{operation.id}?" in self.run.history.steps
        if is_late or is_asked or self.is_passed():
            raise self.run.lifecycle.refuse(
                NondeterminismError(
                    f"at {operation.id!r} the code begins a {kind} that the journal does not record, although it records "
                    "what comes after it; guard the new code with context.patched(...), or let the version that began "
                    "this job finish it"
                )
            )

    def is_passed(self) -> bool:
        """Whether a line around this branch is recorded to have gone on after it."""
        return any(
            parent.is_line and self.run.history.furthest.get(parent.place, 0) >= branch.opened_at
            for branch in self.upwards()
            if (parent := branch.parent) is not None
        )

    def is_recorded_ahead(self) -> bool:
        """Whether anything is recorded at the place this line has reached, or after it."""
        return self.run.history.furthest.get(self.place, 0) >= self.next_number or self.is_passed()

    def stop_reason(self, kind: StepKind) -> str | None:
        """Return why nothing more may begin here; an effect that is in flight may finish, but not begin to wait."""
        for branch in self.upwards():
            if branch.abandoned:
                return "a sibling branch has failed"
            if any(scope.is_over() for scope in branch.timeouts):
                return TIME_IS_UP
            if branch.effect is not None and kind not in WAITS:
                return None
        return None

    def cut(self, operation_id: str) -> None:
        """Let the bounds that are over know which operation they have ended."""
        for branch in self.upwards():
            for scope in branch.timeouts:
                if scope.is_over():
                    scope.cut.add(operation_id)

    @property
    def is_cleaning(self) -> bool:
        """Whether the job's cancellation was raised in this line or in one around it."""
        return any(branch.cleaning for branch in self.upwards())

    def _is_cancelled_here(self) -> bool:
        run = self.run
        return (
            run.is_asked_to_stop()
            and not self.is_cleaning
            and run.history.cancelled.get(run.operation_id(self.place)) == self.next_number
        )

    def cancel(self) -> asyncio.CancelledError:
        """Raise the job's cancellation in this line, once; where that was is recorded, so that a re-run does the same."""
        line = next(branch for branch in self.upwards() if branch.is_line)
        if not line.is_cleaning:
            line.cleaning = True
            place = self.run.operation_id(line.place)
            if place not in self.run.history.cancelled:
                data = {"next": line.next_number}
                self.run.journal.record(NewEvent(RuntimeEventType.BRANCH_CANCELLED, place, data))
        return asyncio.CancelledError("the job is asked to stop")

    def is_cut_off(self) -> bool:
        """Whether somebody ends what runs here. Otherwise a cancellation comes out of the code itself, and is its failure."""
        run, task = self.run, asyncio.current_task()
        if not run.lifecycle.is_running or run.is_asked_to_stop() or self.stop_reason("action") is not None:
            return True
        return task is not None and task.cancelling() > 0

    def left_by(
        self, cancelled: asyncio.CancelledError, task: asyncio.Task[object] | None = None
    ) -> BaseException:
        """Return what an operation of this line raises that was cancelled in flight.

        Only what a re-run would do too may reach the operator: a cancellation that nothing records is refused. One that
        ends a tool call or the function of a step is recorded with its outcome.

        Args:
            cancelled: What was raised in it.
            task: Whose cancellation counts; the current one, unless others work for the line.
        """
        run = self.run
        if run.is_asked_to_stop():
            return self.cancel() if not self.is_cleaning else cancelled
        if not run.lifecycle.is_running:
            return RunSuspended()
        is_recorded = any(branch.effect is not None or not branch.is_line for branch in self.upwards())
        if is_recorded or self.stop_reason("action") is not None:
            return cancelled
        task = task or asyncio.current_task()
        if task is None or not task.cancelling():  # what it called was cancelled, not this
            return cancelled
        if run.lifecycle.control_error is not None:  # the run is being ended for that: one error is enough
            return cancelled
        return run.lifecycle.refuse(UnrecordedCancellation())

    @contextmanager
    def recorded_only(self) -> Iterator[None]:
        """Let nobody cancel what this line does here unless that is recorded: see `left_by`."""
        try:
            yield
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # nobody has: the run is over
                raise
            raise self.left_by(cancelled) from None

    def _take_place(self, key: str | None = None) -> str:
        if key is not None:
            check_identity("key", key)
            if key in self._used_keys:
                raise InvalidInput(f"two steps of one branch have the key {key!r}")
            self._used_keys.add(key)
            return self._below(f"[{key}]")
        number, self.next_number = self.next_number, self.next_number + 1
        return self._below(str(number))

    def _below(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def step(self, name: str) -> AbstractContextManager[None]:
        """Mark an operation as in flight."""
        self.check_free(name)
        return _InFlight(self, name)

    def check_free(self, name: str) -> None:
        """Refuse a step while another is in flight. Raises `ConcurrentSteps`."""
        if self.in_step is not None or self.waiting is not None:
            raise self.run.lifecycle.refuse(
                ConcurrentSteps(
                    f"step {name!r} was started while {self.in_step or 'a wait'!r} runs in the same branch; "
                    "run steps that belong together with context.gather, so that their order can be recorded"
                )
            )

    def leave_streams(self) -> None:
        """Leave the streams that were opened here and not read to their end."""
        for line in self.streams:
            line.passed()
        if self.streams:
            self.streams = [line for line in self.streams if line.task is not None]

    async def streams_ended(self) -> None:
        """Wait until the streams that were left have ended, so that what follows is recorded after them."""
        while tasks := [line.task for line in self.streams if line.left and line.task is not None]:
            await asyncio.wait(tasks)

    def child(self, place: str, *, is_line: bool = True) -> AbstractContextManager[Branch]:
        """Open a branch at `place` and make it the current one."""
        return _Opened(self, Branch(self.run, place, self, is_line=is_line))

    @asynccontextmanager
    async def nested(self, place: str) -> AsyncIterator[Branch]:
        """Open a branch for somebody's code, like `child`, and end the streams that the code leaves behind."""
        with self.child(place) as branch:
            async with branch.settling_streams():
                yield branch

    def settling_streams(self) -> AbstractAsyncContextManager[None]:
        """Run somebody's code; the streams that it leaves behind have ended, and are on record, when this returns."""
        return _SettlingStreams(self)

    async def admit(self) -> None:
        """Let a step begin here, once the streams that were left have ended. Raises like `StepGate.admit`."""
        if self.streams:
            await self.streams_ended()
        await self.run.gate.admit()

    async def wait(self, operation_id: str, kind: str, *, settles: bool = False) -> RuntimeEvent:
        """Wait durably for the answer to an operation: the run may end here and another one return the answer.

        Args:
            operation_id: What for.
            kind: Kind of the wait.
            settles: Whether this finds out what became of an effect in flight, which a branch that has been stopped does too.
        """
        run = self.run
        arrived = run.history.arrived.get(operation_id)
        if arrived is not None:
            if kind == "message":
                run.mail.arrived(operation_id, self)
            return arrived
        run.lifecycle.check_going_on()
        if self.waiting is not None or self.in_step is not None:
            raise run.lifecycle.refuse(ConcurrentSteps())
        if run.is_asked_to_stop():
            raise self.cancel()
        if not settles and (why := self.stop_reason("action")) is not None:
            self.cut(operation_id)
            raise asyncio.CancelledError(why)
        waiter = run.waiters.add(operation_id, self, kind)
        run.idleness.check()
        if run.gate.room_wanted:  # the last line that did not stand yet may be this one
            run.lifecycle.attention.set()
        if kind == "message":
            run.mail.want()
        try:
            async with paused():
                return await waiter.answer
        except asyncio.CancelledError as cancelled:
            if not run.lifecycle.is_over:
                self.cut(operation_id)
            left = self.left_by(cancelled)
            if kind == "message" and isinstance(left, asyncio.CancelledError) and not run.lifecycle.is_over:
                run.mail.give_back([operation_id])
            raise left from None
        finally:
            run.waiters.remove(operation_id, waiter)
            run.idleness.check()

    def interrupt(self) -> None:
        """Raise the job's cancellation in every line that has not had it yet: where it waits, or in what it does."""
        for leaf in self.leaves():
            if leaf.is_cleaning:
                continue
            if self.run.waiters.end(leaf, asyncio.CancelledError("the job is asked to stop")):
                continue
            line = leaf.at_work
            if line.in_step is None and line.effect is None:
                line.cancel()
            if line.task is not None:
                line.task.cancel("the job is asked to stop")

    def is_in_flight(self) -> bool:
        """Whether an effect runs anywhere below."""
        return any(
            not leaf.waiting and (leaf.in_step is not None or leaf.effect is not None)
            for leaf in self.leaves()
        )

    def is_quiet(self) -> bool:
        """Whether no step is in flight below, which is all there is: every line waits, or stands before its next step."""
        if self.is_opening():
            return False
        leaves = self.leaves()
        return self.run.gate.waiting + sum(1 for leaf in leaves if leaf.waiting) >= len(leaves)

    def is_blocked(self) -> bool:
        """Whether nothing in this branch or below can go on without a signal."""
        if self.line is not None and not self.line.waits_for_the_line:
            return False
        if self.deciding or self.to_open:
            return False
        if self.children:
            return all(child.is_blocked() for child in self.children)
        return self.waiting is not None

    def is_opening(self) -> bool:
        """Whether there are branches in or below this one whose turn to begin has not come yet."""
        return bool(self.to_open) or any(child.is_opening() for child in self.children)

    def leaves(self) -> list[Branch]:
        """Return the branches at the ends, where work is done."""
        if not self.children:
            return [self]
        return [leaf for child in self.children for leaf in child.leaves()]

    @property
    def at_work(self) -> Branch:
        """The line whose task to cancel to end what is done here: that of a stream ends with its reader's."""
        readers = [branch.parent for branch in self.upwards() if branch.line is not None]
        return (readers[-1] if readers else None) or self

    def upwards(self) -> Iterator[Branch]:
        """Yield this branch and those around it, innermost first."""
        branch: Branch | None = self
        while branch is not None:
            yield branch
            branch = branch.parent

    def enclosing_effects(self) -> Iterator[tuple[Branch, Step]]:
        """Yield the tool calls and steps inside whose functions this branch runs, innermost first."""
        for branch in self.upwards():
            if branch.effect is not None:
                yield branch, branch.effect

    def waits(self) -> Iterator[str]:
        """Yield the kinds of the waits in this branch and below."""
        if self.waiting is not None:
            yield self.waiting
        for child in self.children:
            yield from child.waits()


class _InFlight:
    """An operation of a branch, while it is in flight. Written out, as every step and call enters what is here."""

    __slots__ = ("_branch", "_name")

    def __init__(self, branch: Branch, name: str) -> None:
        self._branch = branch
        self._name = name

    def __enter__(self) -> None:
        self._branch.in_step = self._name

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        branch = self._branch
        try:
            if isinstance(error, asyncio.CancelledError):
                raise branch.left_by(error) from None
        finally:
            branch.in_step = None
            for scope in branch.timeouts:
                scope.line_is_free()
            branch.run.operation_ended()


class _Opened:
    """A branch below another one, while it is the current one."""

    __slots__ = ("_branch", "_parent", "_token")

    def __init__(self, parent: Branch, branch: Branch) -> None:
        self._parent = parent
        self._branch = branch
        self._token: Token[Branch | None] | None = None

    def __enter__(self) -> Branch:
        self._parent.children.add(self._branch)
        self._token = CURRENT_BRANCH.set(self._branch)
        return self._branch

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        assert self._token is not None  # noqa: S101 -- it was entered
        CURRENT_BRANCH.reset(self._token)
        self._parent.children.discard(self._branch)
        self._parent.run.idleness.check()


class _SettlingStreams:
    """Somebody's code in a branch, and the streams that it leaves behind."""

    __slots__ = ("_branch",)

    def __init__(self, branch: Branch) -> None:
        self._branch = branch

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self._branch.leave_streams()
        await self._branch.streams_ended()


CURRENT_BRANCH: ContextVar[Branch | None] = ContextVar("agent_runtime_branch", default=None)
"""The branch that the current task works in; `None` outside jobs."""


def branch_here() -> Branch | None:
    """Return the branch that the current task works in; `None` outside jobs.

    Raises:
        ConfigurationError: The job's context has been carried to another event loop, where nothing of the job can run.
    """
    branch = CURRENT_BRANCH.get()
    if branch is not None:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:  # a thread of a tool or a step, which may ask for what needs no loop
            return branch
        if here is not branch.run.journal.loop:
            raise ConfigurationError(
                "this call belongs to a job that runs on another event loop: in a thread of a job use a blocking call "
                "(agent.run_sync, llm.inference), not a loop of its own"
            )
    return branch
