"""What a service says is wrong, as the runtime's own errors: whoever calls over HTTP handles what whoever calls in the process does."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from pydantic import ValidationError

from agent_runtime import errors
from agent_runtime.client.models import Problem, Result
from agent_runtime.errors import (
    AgentRuntimeError,
    BudgetExceededError,
    InboxFull,
    JobBlocked,
    JobCancelled,
    JobFailed,
    JobTimedOut,
    PolicyDenied,
    QueueFull,
    ServiceError,
)
from agent_runtime.values.job import JobStatus

_KINDS: Final[Mapping[str, type[AgentRuntimeError]]] = {
    kind.code: kind
    for kind in (
        errors.InvalidInput,
        errors.UnknownJob,
        errors.UnknownAction,
        errors.UnknownMessage,
        errors.UnknownKey,
        errors.UnknownAgent,
        errors.UnknownSchedule,
        errors.UnknownExecution,
        errors.UnknownOperator,
        errors.UnknownPolicy,
        errors.IdempotencyConflict,
        errors.InvalidTransition,
        errors.RetryRefused,
        errors.ActionAlreadyResolved,
        errors.ContentTooLarge,
        errors.LimitReached,
        errors.BudgetExceededError,
        errors.PolicyDenied,
        errors.ActionExpired,
        errors.ContentPruned,
        errors.StorageError,
        errors.ExecutorBusy,
    )
}
"""Errors that are made of a message alone, by their codes."""
_STRAY: Final = 200
"""Characters of an answer that is no problem and is told all the same."""


def error_of(status: int, content: bytes, retry_after: float | None) -> AgentRuntimeError:
    """Return the error that an answer tells of. Its cause is the `ServiceError` with all that the service has said.

    Args:
        status: Of the answer.
        content: Of the answer.
        retry_after: Seconds after which another try makes sense, as far as the service says so.
    """
    told = _service_error(status, content, retry_after)
    error = _of_kind(told)
    if error is not told:
        error.__cause__ = told
    return error


def _service_error(status: int, content: bytes, retry_after: float | None) -> ServiceError:
    try:
        problem = Problem.model_validate_json(content)
    except ValidationError:  # a proxy's, say
        said = content[:_STRAY].decode("utf-8", "replace").strip()
        return ServiceError(f"{status} {_phrase(status)}: {said}", status=status, retry_after=retry_after)
    return ServiceError(
        problem.detail,
        status=status,
        code=problem.code,
        fields={mistake.place: mistake.message for mistake in problem.errors or ()},
        instance=problem.instance,
        retry_after=retry_after,
    )


def _of_kind(told: ServiceError) -> AgentRuntimeError:
    if told.code == QueueFull.code:
        full = QueueFull(limit=0, retry_after=told.retry_after or 5.0)
        full.args = told.args
        return full
    if told.code == InboxFull.code:
        full_inbox = InboxFull(identity="", scope_id="", limit=0)
        full_inbox.args = told.args
        return full_inbox
    kind = _KINDS.get(told.code)
    return told if kind is None else kind(str(told))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def end_of(result: Result) -> AgentRuntimeError | None:
    """Return the error of a job that did not succeed or cannot go on, as `handle.result()` raises it; `None` of others."""
    job_id, message = result.job_id, result.error or f"job {result.job_id}: {result.status}"
    match result.status:
        case JobStatus.CANCELLED:
            return JobCancelled(message, job_id=job_id)
        case JobStatus.TIMED_OUT:
            return JobTimedOut(message, job_id=job_id)
        case JobStatus.BLOCKED:
            return JobBlocked(result.error, result.error_code, job_id=job_id)
        case JobStatus.FAILED if result.error_code == BudgetExceededError.code:
            return BudgetExceededError(message)
        case JobStatus.FAILED if result.error_code == PolicyDenied.code:
            return PolicyDenied(message)
        case JobStatus.FAILED:
            return JobFailed(message, job_id=job_id, error_code=result.error_code)
        case _:
            return None
