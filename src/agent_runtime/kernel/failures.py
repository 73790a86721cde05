"""Failures of steps as the journal keeps them, and as they are raised again on a resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent_runtime import errors
from agent_runtime.errors import AgentRuntimeError, StepFailed
from llm_client import errors as client_errors
from llm_client.errors import LLMClientError, ProviderError
from llm_client.redaction import redact

MAX_ERROR_CHARACTERS: Final = 4000


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Return what the journal keeps of a failure: no stack, no objects, no secrets, bounded text."""
    data: dict[str, Any] = {
        "error": public_text(str(error) or type(error).__name__),
        "error_type": type(error).__name__,
    }
    code = getattr(error, "code", None)
    if isinstance(code, str):
        data["error_code"] = code
    if isinstance(error, ProviderError):
        details = {
            name: getattr(error, name)
            for name in ("status", "provider", "model", "request_id", "vendor_code")
        }
        data["provider_error"] = {name: value for name, value in details.items() if value is not None}
    return data


def public_text(text: str) -> str:
    """Return the text of a failure as everybody may read it."""
    redacted = redact(text)
    return str(redacted)[:MAX_ERROR_CHARACTERS]


def recorded_failure(data: Mapping[str, Any], *, step: str = "") -> Exception:
    """Return an exception like the one that was recorded: the same class for our own errors, else `StepFailed`."""
    message, kind = str(data.get("error", "")), str(data.get("error_type", ""))
    client_error = getattr(client_errors, kind, None)
    if isinstance(client_error, type) and issubclass(client_error, ProviderError):
        return client_error(message, **data.get("provider_error", {}))
    for known in (getattr(errors, kind, None), client_error):
        if isinstance(known, type) and issubclass(known, (AgentRuntimeError, LLMClientError)):
            try:
                return known(message)
            except TypeError:
                break
    return StepFailed(message, step=step, error_type=kind)
