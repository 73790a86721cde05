"""Failures of steps as the journal keeps them, and as they are raised again on a resume."""

from __future__ import annotations

import re
from typing import Any, Final

from agent_runtime import errors
from agent_runtime.errors import AgentRuntimeError, StepFailed
from llm_client import errors as client_errors
from llm_client.errors import LLMClientError, ProviderError
from llm_client.json_text import JsonObject, JsonValue
from llm_client.public_text import attribute_of, kind_of, public_text, text_of

MAX_DETAIL: Final = 500
"""Characters of what a vendor says beside its error."""
_DETAILS: Final = ("status", "provider", "model", "request_id", "vendor_code")
_CODE: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII)
"""A code is a word; what else exceptions keep under this name is none."""


def describe_failure(error: BaseException) -> dict[str, JsonValue]:
    """Return what the journal keeps of a failure: no stack, no objects, no secrets, bounded text."""
    data: dict[str, JsonValue] = {"error": text_of(error), "error_type": kind_of(error)}
    code = attribute_of(error, "code")
    if isinstance(code, str) and _CODE.fullmatch(code):
        data["error_code"] = code
    if isinstance(error, ProviderError):
        details = {name: attribute_of(error, name) for name in _DETAILS}
        data["provider_error"] = {
            name: value if isinstance(value, int) else public_text(str(value), MAX_DETAIL)
            for name, value in details.items()
            if isinstance(value, str | int)  # a provider of somebody's own may put anything there
        }
    return data


def step_failed(name: str, data: JsonObject) -> StepFailed:
    """Return the failure of a step, the same in the run in which it happened and in every later one."""
    kind = str(data.get("error_type", ""))
    return StepFailed(f"{kind}: {data.get('error')}", step=name, error_type=kind)


def recorded_failure(data: JsonObject, *, step: str = "") -> Exception:
    """Return an exception like the one that was recorded: the same class for our own errors, else `StepFailed`."""
    message, kind = str(data.get("error", "")), str(data.get("error_type", ""))
    client_error = getattr(client_errors, kind, None)
    if isinstance(client_error, type) and issubclass(client_error, ProviderError):
        details: Any = data.get("provider_error", {})
        return client_error(message, **details)
    for known in (getattr(errors, kind, None), client_error):
        if isinstance(known, type) and issubclass(known, (AgentRuntimeError, LLMClientError)):
            try:
                return known(message)
            except TypeError:
                break
    return StepFailed(message, step=step, error_type=kind)
