"""How far a run has come: one state, which only ever moves forward.

    RUNNING ──▶ DRAINING ──▶ STOPPING ──▶ EVICTED ──▶ GIVEN_UP ──▶ LOST ──▶ ENDED
       │            │            │            │            the journal is closed: nothing is written any more
       │            │            │            └ this worker was evicted: not even what is asked for begins
       │            │            └ the job is asked to end: what begins cleans up, in a bounded time, whoever drains
       │            └ the process is going to stop: no step begins, and the run is given up when those in flight have ended
       └ steps begin

States are skipped, as most are, and never taken back: whatever asks for an earlier one changes nothing. So a job that is
cleaning up goes on with that when its process begins to drain, and nothing wakes a run that has been lost.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TypeVar

from agent_runtime.errors import ConcurrentSteps, NondeterminismError, RunSuspended, UnrecordedCancellation

ControlError = NondeterminismError | ConcurrentSteps | UnrecordedCancellation
"""The operator's code and its journal do not belong together: the run cannot go on, whatever the code catches."""
E = TypeVar("E", NondeterminismError, ConcurrentSteps, UnrecordedCancellation)


class RunState(IntEnum):
    """Where a run is on its way; drawn above."""

    RUNNING = 0
    DRAINING = 1
    STOPPING = 2
    EVICTED = 3
    GIVEN_UP = 4
    """Suspended, set aside or released: the job goes on later, from its journal."""
    LOST = 5
    """Given up without a word: another worker has the job, or the storage stays broken."""
    ENDED = 6
    """The job's end is written."""


class Lifecycle:
    """The state of one run, and why it is there."""

    def __init__(self) -> None:
        self.state = RunState.RUNNING
        self.is_running = True
        """Whether neither the process nor the job is about to stop."""
        self.is_over = False
        """Whether nothing may be written any more."""
        self.attention = asyncio.Event()
        """Set whenever the supervisor has something to look at."""
        self.lost: BaseException | None = None
        """Why the run cannot go on: `FenceLost`, or a storage that stays broken."""
        self.control_error: ControlError | None = None
        """Why every further operation is refused."""

    @property
    def begins_nothing(self) -> bool:
        """Whether every step waits for the run to be given up."""
        return self.state is RunState.DRAINING or self.state is RunState.EVICTED

    def advance(self, state: RunState) -> None:
        """Move forward to a state; one that lies behind changes nothing."""
        self.state = max(self.state, state)
        self.is_running = self.state is RunState.RUNNING
        self.is_over = self.state >= RunState.GIVEN_UP

    def abort(self, error: BaseException) -> None:
        """Give the run up without writing anything more."""
        self.advance(RunState.LOST)
        self.lost = self.lost or error
        self.attention.set()

    def refuse(self, error: E) -> E:
        """Keep the first error that ends this run whatever the operator catches, and return it to be raised."""
        if self.control_error is None:
            self.control_error = error
            self.attention.set()
        return error

    def check_open(self) -> None:
        """Refuse to work for a run that is over.

        Raises:
            RunSuspended: The job goes on later.
            asyncio.CancelledError: The job has ended.
        """
        if self.is_over:
            raise (
                asyncio.CancelledError("the job has ended") if self.state is RunState.ENDED else RunSuspended
            )

    def check_going_on(self) -> None:
        """Let something begin, unless the run has ended, or its code does not belong to its journal.

        Raises:
            RunSuspended: The run has ended; the job goes on later.
            ControlError: The one that was raised first.
        """
        self.check_open()
        if self.control_error is not None:
            raise self.control_error
