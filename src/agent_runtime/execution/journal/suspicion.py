"""Jobs that may be what kills their processes: what is different about their runs, and where they wait for their turn.

See `agent_runtime.values.deaths` for what is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from agent_runtime.execution.journal.history import History
from agent_runtime.ports.commit import JobChange, NewEvent
from agent_runtime.values.deaths import Absolution, OpenClaim
from agent_runtime.values.event import RuntimeEventType
from agent_runtime.values.job import JobRecord, JobStatus

_OUTCOMES: Final = frozenset(
    {
        RuntimeEventType.MODEL_COMPLETED,
        RuntimeEventType.MODEL_FAILED,
        RuntimeEventType.TOOL_COMPLETED,
        RuntimeEventType.TOOL_FAILED,
        RuntimeEventType.STEP_COMPLETED,
        RuntimeEventType.STEP_FAILED,
    }
)
_WAITS: Final = frozenset({JobStatus.WAITING_ACTION, JobStatus.SLEEPING, JobStatus.WAITING})


class Suspicion:
    """What counts against a job, while it runs.

    Args:
        job: As its claim found it.
        history: What its journal says.
    """

    def __init__(self, job: JobRecord, history: History) -> None:
        self._deaths = job.deaths
        self._is_suspect = job.counted.is_suspect
        self._history = history
        self._open = history.open_operations() if job.deaths else frozenset()
        """What was begun and not ended when the last process died: perhaps that is what killed it."""
        self.has_slot = job.open_claim == OpenClaim.LONE_SUSPECT
        """Whether the death of this process would be held against the job."""
        self.on_left: Callable[[], None] | None = None
        """Called when the job has left the suspects' slot."""

    @property
    def is_suspect(self) -> bool:
        """Whether the run has to leave tracks of all it does: no outcome is held back, every effect has an intent."""
        return self._is_suspect

    def absolution_by(self, events: Sequence[NewEvent], change: JobChange | None) -> Absolution | None:
        """Return what a commit forgives.

        An outcome forgives the deaths when nothing is open any more that was open at the last of them; so does a
        suspension, for which all of the job's code has come to stand still. Intents and the bills of lost attempts
        forgive nothing: what kills the process again and again writes them each time.
        """
        if not self._deaths:
            return None
        ended = {event.operation_id for event in events if event.type in _OUTCOMES}
        stands_still = change is not None and change.release and change.status in _WAITS
        if not ended and not stands_still:
            return None
        if all(self._history.has_ended(operation_id) for operation_id in self._open - ended):
            return "deaths"
        return "slot" if ended and self.has_slot else None

    def absolved(self, absolution: Absolution) -> None:
        """Learn that a commit is written that forgives."""
        if absolution == "deaths":
            self._deaths = 0
            self._is_suspect = False
        self.leave()

    def leave(self) -> None:
        """Leave the suspects' slot, if the run still has it."""
        if self.has_slot:
            self.has_slot = False
            if self.on_left is not None:
                self.on_left()


class SuspectsPlace:
    """The one place of a process for a suspect. A job that finds it taken waits, and holds up nothing else.

    Args:
        resubmit: Called with a job for which the slot has become free.
    """

    def __init__(self, resubmit: Callable[[str], None]) -> None:
        self._resubmit = resubmit
        self._holder: str | None = None
        self._waiting: dict[str, None] = {}

    def must_wait(self, job_id: str) -> bool:
        """Whether a job is known to wait for the slot, and it is taken."""
        return self._holder is not None and job_id in self._waiting

    def take(self, job_id: str) -> bool:
        """Take the slot for a job, or have the job wait for it."""
        if self._holder is not None:
            self._waiting[job_id] = None
            return False
        self._holder = job_id
        self._waiting.pop(job_id, None)
        return True

    def leave(self, job_id: str) -> None:
        """Free the slot, if this job has it, for the job that has waited longest."""
        if self._holder != job_id:
            return
        self._holder = None
        following = next(iter(self._waiting), None)
        if following is not None:
            del self._waiting[following]
            self._resubmit(following)
