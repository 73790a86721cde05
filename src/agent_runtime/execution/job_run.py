"""One run of one job: what its lines of work share."""

from __future__ import annotations

from agent_runtime.execution.budgets import RunBudgets
from agent_runtime.execution.idleness import Idleness
from agent_runtime.execution.journal.history import History
from agent_runtime.execution.journal.transcripts import Transcripts
from agent_runtime.execution.journal.writer import JournalWriter
from agent_runtime.execution.lifecycle import Lifecycle, RunState
from agent_runtime.execution.operations.receiving import Receiving
from agent_runtime.execution.operations.tokens import ResumeTokens
from agent_runtime.execution.policy_enforcer import PolicyEnforcer
from agent_runtime.execution.services import RunServices
from agent_runtime.execution.signal_drain import SignalDrain
from agent_runtime.execution.step_gate import StepGate
from agent_runtime.execution.waiters import Waiters
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord
from agent_runtime.values.retry_policy import RetryPolicy
from llm_client.json_text import JsonValue


class JobRun:
    """A claimed job while it is in this process's memory.

    Args:
        job: It.
        history: Its journal, learnt.
        services: The kernel's.
    """

    def __init__(self, job: JobRecord, history: History, services: RunServices) -> None:
        self.job = job
        self.job_id = job.job_id
        self.history = history
        self.lifecycle = Lifecycle()
        self.journal = JournalWriter(job, history, services, self.lifecycle)
        self.services = self.journal.services
        """The kernel's, with the job's own time."""
        self.gate = StepGate(self.journal)
        """What every step passes before it begins."""
        self.waiters = Waiters(history)
        self.idleness = Idleness(self.lifecycle, services.options.suspend_after)
        self.mail = Receiving(self.journal, self.waiters, self.idleness)
        """The messages it waits for."""
        self.signals = SignalDrain(self.journal, self.waiters, self.idleness, self.wake)
        self.budgets = RunBudgets(
            job,
            services.ledger.accounts,
            services.clock,
            services.options,
            read=self.journal.retry,
            stand_by=self.gate.wait_for_room,
        )
        self.enforcer = PolicyEnforcer(self.journal)
        """Asks the job's policy; set once its version has been found."""
        self.retry: RetryPolicy = job.retry or services.retry
        """What outages mean to it; the operator's own once that has been found."""
        self.tokens = ResumeTokens()
        self.transcripts = Transcripts()
        """The messages of model calls that the journal holds."""
        self.out_of_time = False
        """The budget's running time is used up."""
        self.unsent: set[str] = set()
        """Attempts of model calls whose intent is written and whose request has not left: so far they cost nothing."""

    def operation_id(self, place: str) -> str:
        """Return the stable name of the operation at a place.

        A retry goes on under the names of the job it retries; where it was asked for new keys, only with what it recalls.
        """
        recorded = self.history.ids.get(place)
        if recorded is not None:
            return recorded
        is_own = self.history.created_data("new_seed") is not None
        return self.own_operation_id(place) if is_own else f"{self.job.origin}:{place}"

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
        return self.history.stop_request is not None

    def wake(self) -> None:
        """Learn that signals wait to be drained, or messages to be taken."""
        self.signals.wanted = self.mail.wanted = True
        self.lifecycle.attention.set()

    def drain(self, *, evicted: bool = False) -> None:
        """Begin no further step: the process is going to stop, or this worker was evicted."""
        self.lifecycle.advance(RunState.EVICTED if evicted else RunState.DRAINING)
        self.lifecycle.attention.set()
        self.idleness.check()

    def operation_ended(self) -> None:
        """Let the supervisor look whether all that was in flight has ended, when it waits for that."""
        if self.lifecycle.control_error is not None:
            self.lifecycle.attention.set()

    def unwind(self) -> None:
        """Leave the operator where it waits: what it awaits raises `RunSuspended`."""
        self.waiters.unwind()
        self.gate.unwind()

    def close(self) -> None:
        """Write nothing any more and forget timers."""
        self.journal.close()
        self.idleness.stop()

    def publish(self, type_: str, operation_id: str | None, data: dict[str, JsonValue]) -> None:
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
