"""Who waits for what inside a run, and what has come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent_runtime.errors import RunSuspended
from agent_runtime.execution.journal.history import History, Step, StepKind
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.waits import WaitSet


class WaitingLine(Protocol):
    """A line of work that waits, as far as it matters here."""

    waiting: str | None
    """Kind of the wait it is in."""
    wait_set: tuple[str, bool] | None
    """The set that its wait belongs to, and whether that ends with the first failure."""
    rivals: Sequence[str]
    """Operations of which only the first that is answered counts."""

    def stop_reason(self, kind: StepKind) -> str | None:
        """Return why nothing more may begin there."""

    def enclosing_effects(self) -> Iterator[tuple[WaitingLine, Step]]:
        """Yield the tool calls and steps inside whose functions it runs, innermost first."""


class TimeBound(Protocol):
    """A bound on time around a body that runs."""

    def expire(self) -> None:
        """Learn that the time is up."""


@dataclass(slots=True, eq=False)
class Waiter:
    """A line that waits for the answer to an operation; any number may wait for one."""

    line: WaitingLine
    answer: asyncio.Future[RuntimeEvent]


class Waiters:
    """The waits of one run, by the operation whose answer ends them.

    Args:
        history: Where answers are.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._waiting: dict[str, list[Waiter]] = {}
        self.bounds: dict[str, TimeBound] = {}
        """Bounds on time whose bodies run, by operation."""

    def add(self, operation_id: str, line: WaitingLine, kind: str) -> Waiter:
        """Let a line wait for the answer to an operation, until it is removed."""
        waiter = Waiter(line, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(operation_id, []).append(waiter)
        line.waiting = kind
        return waiter

    def remove(self, operation_id: str, waiter: Waiter) -> None:
        """Let a line go on, or away."""
        waiter.line.waiting = None
        waiting = self._waiting.get(operation_id, [])
        if waiter in waiting:
            waiting.remove(waiter)
        if not waiting:
            self._waiting.pop(operation_id, None)

    def deliver(self, event: RuntimeEvent) -> None:
        """Hand an answer that is in the journal to the lines that wait for it, and end a time that is up.

        A line that is answered counts as live at once, before its task has run: otherwise the job, idle for long enough,
        could be suspended on top of an answer that nobody will announce again.
        """
        operation_id = event.operation_id or ""
        for waiter in self._waiting.pop(operation_id, ()):
            if not waiter.answer.done():
                waiter.answer.set_result(event)
                waiter.line.waiting = None
        if operation_id in self.bounds and operation_id in self._history.arrived:
            self.bounds[operation_id].expire()

    def deliver_arrived(self) -> bool:
        """Hand out answers that are in the journal while somebody still waits for them; return whether there were any.

        A job must never be suspended on top of an answer: nobody would announce it again.
        """
        arrived = [
            self._history.arrived[operation_id]
            for operation_id in (*self._waiting, *self.bounds)
            if operation_id in self._history.arrived and operation_id not in self._history.timeouts
        ]
        for event in arrived:
            self.deliver(event)
        return bool(arrived)

    def of_kind(self, kind: str) -> list[str]:
        """Return the operations of a kind that lines wait for, in the order in which they began."""
        return [
            one
            for one, waiters in self._waiting.items()
            if any(each.line.waiting == kind for each in waiters)
        ]

    def line_at(self, operation_id: str) -> WaitingLine | None:
        """Return a line that waits for the answer to an operation, if one does."""
        waiters = self._waiting.get(operation_id, ())
        return next((waiter.line for waiter in waiters if not waiter.answer.done()), None)

    def sets(self) -> list[WaitSet]:
        """Return what the job waits for: waits that were gathered are one set, all others and every bound on time their own."""
        sets: dict[tuple[str, bool], dict[str, None]] = {}
        for operation_id, waiters in self._waiting.items():
            for waiter in waiters:
                key = waiter.line.wait_set or (operation_id, False)
                sets.setdefault(key, {})[operation_id] = None
        bounds = [WaitSet(operation_ids=(operation_id,)) for operation_id in self.bounds]
        return [
            *(WaitSet(operation_ids=tuple(ids), ends_with_failure=fails) for (_, fails), ids in sets.items()),
            *bounds,
        ]

    def end(self, line: WaitingLine, error: BaseException) -> bool:
        """Raise an error where a line waits for an answer; return whether it does."""
        found = [one for waiting in self._waiting.values() for one in waiting if one.line is line]
        for waiter in found:
            if not waiter.answer.done():
                waiter.answer.set_exception(error)
        return bool(found)

    def unwind(self) -> None:
        """Leave every line where it waits: what it awaits raises `RunSuspended`."""
        for waiter in [waiter for waiters in self._waiting.values() for waiter in waiters]:
            if not waiter.answer.done():
                waiter.answer.set_exception(RunSuspended())
