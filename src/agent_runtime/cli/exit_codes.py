"""What went wrong, as one sentence and an exit code: the only place that knows both."""

from __future__ import annotations

from typing import Final

from agent_runtime.errors import (
    AgentRuntimeError,
    BudgetExceededError,
    ExecutorBusy,
    InboxFull,
    InvalidInput,
    JobBlocked,
    JobEnded,
    JobTimedOut,
    LimitReached,
    PolicyDenied,
    QueueFull,
    ServiceError,
    StorageError,
)
from llm_client.errors import ConfigurationError, LLMClientError
from llm_client.redaction import redact

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
STORAGE: Final = 3
LIMIT: Final = 4
INTERRUPTED: Final = 130
"""As shells report a process that SIGINT has ended."""

_LIMIT_CODES: Final = frozenset({BudgetExceededError.code, PolicyDenied.code, JobTimedOut.code})


def describe(error: BaseException) -> tuple[str | None, int]:
    """Return the sentence and the exit code of an expected failure; no sentence for a defect of the program."""
    code = _code(error)
    if code is None:
        return None, FAILED
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, JobEnded) and error.job_id and error.job_id not in text:
        text = f"{error.job_id}: {text}"
    if isinstance(error, JobBlocked):
        text += "; it goes on when that is mended and it is asked to: agent-runtime jobs resume"
    return str(redact(text)), code


def _code(error: BaseException) -> int | None:
    match error:
        case StorageError() | ExecutorBusy():
            return STORAGE
        case JobTimedOut() | LimitReached() | QueueFull() | InboxFull():
            return LIMIT
        case JobEnded():
            return LIMIT if error.error_code in _LIMIT_CODES else FAILED
        case ServiceError():
            return _code_of_status(error.status)
        case InvalidInput() | ConfigurationError():
            return USAGE
        case AgentRuntimeError() | LLMClientError() | OSError() | TimeoutError():
            return FAILED
        case _:
            return None


def _code_of_status(status: int | None) -> int:
    """Return the exit code of what a service refuses and has no name of its own."""
    match status:
        case 400 | 401 | 403 | 413 | 422:
            return USAGE
        case 429:
            return LIMIT
        case 409 | 410:
            return FAILED
        case _:  # it does not answer, makes a mistake, or is none
            return STORAGE
