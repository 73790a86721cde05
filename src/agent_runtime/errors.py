"""Everything `agent_runtime` raises, as one tree.

AgentRuntimeError
├── InvalidInput                   fix the call
│   ├── UnknownJob
│   ├── UnknownAction
│   ├── UnknownAgent
│   ├── UnknownMessage
│   ├── UnknownKey
│   ├── UnknownSchedule
│   ├── UnknownExecution
│   ├── UnknownOperator
│   ├── UnknownPolicy
│   ├── IdempotencyConflict        the key belongs to a different request
│   ├── InvalidTransition          the job is not in a state that allows this
│   ├── RetryRefused               effects would be repeated; say from where to start
│   ├── ActionAlreadyResolved
│   ├── ResultNotSerializable      a step returned something that is not JSON
│   ├── ContentTooLarge
│   └── FileInvalid                a file of rules or prompts is wrong; nothing of it is used
│       ├── PolicyInvalid
│       └── PromptInvalid
├── JobEnded                       what `handle.result()` raises when the job did not succeed
│   ├── JobFailed
│   ├── JobCancelled
│   └── JobTimedOut
├── JobBlocked                     what it raises when the job waits for somebody to mend something
├── LimitReached                   give up, or raise the limit
│   ├── BudgetExceededError
│   ├── PolicyDenied
│   └── ActionExpired
├── StepFailed                     a recorded step's failure, raised again on replay
│   ├── CallRefused                a person has said no to the call of a tool
│   ├── CallExpired                nobody has answered whether it may be called
│   └── InvalidArguments           it cannot be called with these
├── ChildFailed
├── RunError                       a runner's agent has not done what it was asked
├── QueueFull                      too many jobs wait; try again later
├── InboxFull                      too many messages wait for an identity; try again later
├── JournalLimitReached            use `context.continue_as_new`
├── ConcurrentSteps                two steps at once in one branch; use `context.gather`
├── NondeterminismError            the operator's code no longer follows its own history
├── UnrecordedCancellation         a step or a wait was cancelled in a way no re-run repeats; use `context.timeout`
├── StorageError                   look at the database
│   ├── SchemaMismatch
│   ├── StorageReadOnly
│   ├── StorageFull
│   └── StorageClosed
├── ContentPruned                  the content of this old job was deleted; what it did and cost is kept
├── ExportFailed                   what a projection tells was not taken; it is told again
├── ServiceError                   a service has refused a request; raised by its client
│   └── ServiceUnreachable         it does not answer; try again later
├── ExecutorBusy                   another process executes the jobs of this file
├── FenceLost                      another worker has taken the job
└── AlreadySettled, BudgetRejected, DuplicateJob, DuplicateMessage, JobSuspected, SignalsPending    a storage's answers to the
                                   services above it

`RunSuspended` is none of them: it is a `BaseException`, by which a job leaves the memory.

`LimitReached` errors end an agent's run wherever they are raised: they are `llm_client.errors.RunAborted` as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llm_client.errors import ConfigurationError, HostSignal, MissingDependency, RunAborted

__all__ = ["ConfigurationError", "MissingDependency"]


class AgentRuntimeError(Exception):
    """Something in agent_runtime went wrong."""

    code: ClassVar[str] = "RUNTIME_ERROR"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").split("\n")[0])


class InvalidInput(AgentRuntimeError, ValueError):
    """The call cannot be carried out as it is."""

    code = "INVALID_INPUT"


class UnknownJob(InvalidInput):
    """There is no such job."""

    code = "UNKNOWN_JOB"


class UnknownAction(InvalidInput):
    """There is no such action, or the resume token is wrong."""

    code = "UNKNOWN_ACTION"


class UnknownMessage(InvalidInput):
    """There is no such message, or it has been forgotten."""

    code = "UNKNOWN_MESSAGE"


class UnknownAgent(InvalidInput):
    """There is no such resident agent."""

    code = "UNKNOWN_AGENT"


class UnknownKey(InvalidInput):
    """There is no such API key."""

    code = "UNKNOWN_KEY"


class UnknownSchedule(InvalidInput):
    """There is no such schedule."""

    code = "UNKNOWN_SCHEDULE"


class UnknownExecution(InvalidInput):
    """Nothing is logged of such an execution."""

    code = "UNKNOWN_EXECUTION"


class UnknownOperator(InvalidInput):
    """No operator is registered under this name."""

    code = "OPERATOR_NOT_FOUND"


class UnknownPolicy(InvalidInput):
    """There is no such policy, or no such version of it."""

    code = "POLICY_NOT_FOUND"


class IdempotencyConflict(InvalidInput):
    """The idempotency key was used for a different request."""

    code = "IDEMPOTENCY_CONFLICT"


class InvalidTransition(InvalidInput):
    """The job's state does not allow this."""

    code = "INVALID_TRANSITION"


class RetryRefused(InvalidInput):
    """Retrying the job would repeat effects that have happened."""

    code = "RETRY_REFUSED"


class ActionAlreadyResolved(InvalidInput):
    """Somebody else has resolved, cancelled or let this action expire."""

    code = "ACTION_ALREADY_RESOLVED"


class ResultNotSerializable(InvalidInput):
    """The value cannot be written as JSON."""

    code = "RESULT_NOT_SERIALIZABLE"


class ContentTooLarge(InvalidInput):
    """The value is larger than the journal accepts (`max_content_bytes`)."""

    code = "CONTENT_TOO_LARGE"


class FileInvalid(InvalidInput):
    """The file is wrong; nothing of it is used. The message names every problem.

    Attributes:
        line: The first line of the file that is wrong.
    """

    code = "FILE_INVALID"

    def __init__(self, message: str | None = None, *, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class PolicyInvalid(FileInvalid):
    """The policy is wrong; nothing of it is used. The message names every problem."""

    code = "POLICY_INVALID"


class PromptInvalid(FileInvalid):
    """A prompt cannot be rendered: a file is missing or wrong, or a variable is not defined."""

    code = "PROMPT_INVALID"


class JobEnded(AgentRuntimeError):
    """The job ended without success.

    Attributes:
        job_id: The job.
        error_code: Stable code of the cause, such as `BUDGET_EXCEEDED`.
    """

    code = "JOB_ENDED"

    def __init__(
        self, message: str | None = None, *, job_id: str = "", error_code: str | None = None
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.error_code = error_code or self.code


class JobFailed(JobEnded):
    """The job failed."""

    code = "EXECUTION_ERROR"


class JobCancelled(JobEnded):
    """The job was cancelled."""

    code = "CANCELLED"


class JobTimedOut(JobEnded):
    """The job ran out of time."""

    code = "TIMED_OUT"


class JobBlocked(AgentRuntimeError):
    """The job goes on when a person or a deploy has mended what is wrong; nothing is lost.

    Attributes:
        reason: What is wrong.
        code: Stable code of it, such as `OPERATOR_NOT_FOUND`; `error_code` is the same.
        job_id: The job.
    """

    code = "JOB_BLOCKED"

    def __init__(self, reason: str | None = None, code: str | None = None, *, job_id: str = "") -> None:
        super().__init__(f"job {job_id} is blocked: {reason}" if job_id else reason)
        self.reason = reason or ""
        self.code = code or type(self).code  # type: ignore[misc]  # one class for every cause
        self.error_code = self.code
        self.job_id = job_id


class LimitReached(AgentRuntimeError, RunAborted):
    """A limit that people set was reached."""

    code = "LIMIT_REACHED"


class BudgetExceededError(LimitReached):
    """A budget does not allow this."""

    code = "BUDGET_EXCEEDED"


class PolicyDenied(LimitReached):
    """The policy does not allow this."""

    code = "POLICY_DENIED"

    def __init__(self, reason: str | None = None, *, policy_name: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason or ""
        self.policy_name = policy_name


class ActionExpired(LimitReached):
    """Nobody answered in time."""

    code = "ACTION_EXPIRED"


class StepFailed(AgentRuntimeError):
    """A step of the job failed.

    Attributes:
        step: Name of the step.
        error_type: Name of the exception that the step raised.
    """

    code = "STEP_FAILED"

    def __init__(self, message: str | None = None, *, step: str = "", error_type: str = "") -> None:
        super().__init__(message)
        self.step = step
        self.error_type = error_type


class CallRefused(StepFailed):
    """Somebody who was asked whether a tool may be called has said no."""

    code = "CALL_REFUSED"


class CallExpired(StepFailed):
    """Nobody who was asked whether a tool may be called, or by it, has answered in time."""

    code = "CALL_EXPIRED"


class InvalidArguments(StepFailed):
    """The arguments do not match a tool's schema: it was not called."""

    code = "INVALID_ARGUMENTS"


class ChildFailed(AgentRuntimeError):
    """A child job did not succeed.

    Attributes:
        job_id: The child.
        error_code: Stable code of its failure.
    """

    code = "CHILD_FAILED"

    def __init__(
        self, message: str | None = None, *, job_id: str = "", error_code: str | None = None
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.error_code = error_code


class RunError(AgentRuntimeError):
    """The run of an agent did not give what it was asked for."""

    code = "RUN_FAILED"


class QueueFull(AgentRuntimeError):
    """Too many jobs wait for a worker; nothing was accepted. Try again later.

    Attributes:
        scope_id: The scope whose bound is reached; `None` when it is the bound over all scopes.
        limit: The bound.
        retry_after: Seconds after which another try makes sense.
    """

    code = "QUEUE_FULL"

    def __init__(self, *, limit: int, scope_id: str | None = None, retry_after: float = 5.0) -> None:
        whose = "" if scope_id is None else f" of scope {scope_id!r}"
        bound = "max_queued" if scope_id is None else "max_queued_per_scope"
        super().__init__(
            f"{limit} or more jobs{whose} wait for a worker already ({bound} is {limit}); try again in {retry_after:g} s"
        )
        self.scope_id = scope_id
        self.limit = limit
        self.retry_after = retry_after


class InboxFull(AgentRuntimeError):
    """Too many messages wait for this identity; nothing was sent. Try again when some have been received.

    Attributes:
        identity: Whose inbox is full.
        scope_id: Its scope.
        limit: The bound: `max_inbox` of the kernel's options, or `max_queue_size` of a resident agent.
    """

    code = "INBOX_FULL"

    def __init__(self, *, identity: str, scope_id: str, limit: int, bound: str = "max_inbox") -> None:
        super().__init__(
            f"{limit} or more messages wait in the inbox of {identity!r} in scope {scope_id!r} already ({bound} is {limit}); "
            "send again when some have been received"
        )
        self.identity = identity
        self.scope_id = scope_id
        self.limit = limit


class ContentPruned(AgentRuntimeError):
    """The job's content was deleted because it ended long ago; its events and what it cost are kept."""

    code = "CONTENT_PRUNED"


class JournalLimitReached(AgentRuntimeError):
    """The job's journal has become too long; split the work with `context.continue_as_new`."""

    code = "JOURNAL_LIMIT"


class ConcurrentSteps(AgentRuntimeError, RunAborted):
    """Two steps run at the same time in one branch of a job; use `context.gather`."""

    code = "CONCURRENT_STEPS"


class NondeterminismError(AgentRuntimeError, RunAborted):
    """The operator asked for another step than its journal records."""

    code = "NONDETERMINISM"


class UnrecordedCancellation(AgentRuntimeError, RunAborted):
    """A step or a wait was cancelled by `asyncio.timeout`, `asyncio.wait_for` or `Task.cancel`, which no later run of the job could repeat; use `async with context.timeout(seconds)`."""

    code = "UNRECORDED_CANCELLATION"


class RunSuspended(HostSignal):
    """The job leaves this process and goes on later, from its journal: nothing has failed and nothing was cancelled.

    It passes through `except Exception` and `except asyncio.CancelledError`. `finally` runs, so that local resources are
    closed; whatever is asked of the context there raises it again and writes nothing.
    """


class StorageError(AgentRuntimeError):
    """The storage failed."""

    code = "STORAGE_ERROR"


class SchemaMismatch(StorageError):
    """The database belongs to another version of agent-runtime."""

    code = "SCHEMA_MISMATCH"


class StorageReadOnly(StorageError):
    """The database cannot be written."""

    code = "STORAGE_READ_ONLY"


class StorageFull(StorageError):
    """The disk is full; nothing of this change was written."""

    code = "STORAGE_FULL"


class StorageClosed(StorageError):
    """The storage is closed."""

    code = "STORAGE_CLOSED"


class ExportFailed(AgentRuntimeError):
    """What was told was not taken."""

    code = "EXPORT_FAILED"


class ServiceError(AgentRuntimeError):
    """The service has refused a request; raised by its client, and the cause of errors that it raises in its name.

    Attributes:
        status: Of HTTP; `None` where there was no answer.
        code: Stable code of what is wrong, such as `UNAUTHORIZED`.
        fields: What is wrong with fields of the request, by their places, such as `body.priority`.
        instance: Names this occurrence in the service's own log, where the service is at fault.
        retry_after: Seconds after which another try makes sense, where the service says so.
    """

    code = "SERVICE_ERROR"

    def __init__(
        self,
        message: str | None = None,
        *,
        status: int | None = None,
        code: str | None = None,
        fields: Mapping[str, str] | None = None,
        instance: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or type(self).code  # type: ignore[misc]  # one class for every cause
        self.fields = dict(fields or {})
        self.instance = instance
        self.retry_after = retry_after


class ServiceUnreachable(ServiceError):
    """The service does not answer."""

    code = "SERVICE_UNREACHABLE"


class ExecutorBusy(AgentRuntimeError):
    """Another process executes the jobs of this database file."""

    code = "EXECUTOR_BUSY"


class FenceLost(AgentRuntimeError):
    """Another worker has taken this job; what was to be written is discarded."""

    code = "FENCE_LOST"


class JobSuspected(AgentRuntimeError):
    """The job may be what kills its processes, and suspects are not wanted now; raised by storages."""

    code = "JOB_SUSPECTED"


class BudgetRejected(AgentRuntimeError):
    """A commit's reservation does not fit its budget; raised by storages, handled by the ledger.

    Attributes:
        budget_id: The budget that has no room.
        settled: What is spent, as an `Amount`.
        reserved: What running calls hold, as an `Amount`.
    """

    code = "BUDGET_REJECTED"

    def __init__(self, budget_id: str, *, settled: object, reserved: object) -> None:
        super().__init__(f"budget {budget_id!r} has no room")
        self.budget_id = budget_id
        self.settled = settled
        self.reserved = reserved


class AlreadySettled(AgentRuntimeError):
    """This was settled, released or recorded before; nothing was changed."""

    code = "ALREADY_SETTLED"


class DuplicateJob(AgentRuntimeError):
    """A job with this idempotency key and request exists; raised by storages, handled by `jobs`.

    Attributes:
        job_id: The existing job.
    """

    code = "DUPLICATE_JOB"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id!r} has this idempotency key")
        self.job_id = job_id


class DuplicateMessage(AgentRuntimeError):
    """A message with this dedupe key was sent before; raised by storages, handled by `inbox`.

    Attributes:
        message_id: That message.
    """

    code = "DUPLICATE_MESSAGE"

    def __init__(self, message_id: str) -> None:
        super().__init__(f"message {message_id!r} has this dedupe key")
        self.message_id = message_id


class SignalsPending(AgentRuntimeError):
    """A suspend came too late: the job has received a signal; raised by storages, handled by the kernel."""

    code = "SIGNALS_PENDING"
