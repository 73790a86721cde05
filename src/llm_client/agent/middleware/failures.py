"""Which failed tool results say something about the tool's health, and which only about the call."""

from __future__ import annotations

from llm_client.errors import ModelRetry, ToolError
from llm_client.tools.execution import INVALID_ARGUMENTS, NOT_SERIALIZABLE
from llm_client.tools.tool import ToolResult

UNKNOWN_TOOL = "unknown_tool"
TOO_MANY_CALLS = "too_many_calls"
DENIED = "denied"
"""A rule, or the agent's own list, does not allow the call."""
REFUSED = "refused"
"""Somebody who was asked has said no."""
EXPIRED = "expired"
"""Nobody who was asked has answered in time."""
TIMEOUT = "timeout"
CIRCUIT_OPEN = "circuit_open"
BUDGET_EXCEEDED = "budget_exceeded"

_DELIBERATE = frozenset(
    {
        ToolError.code,
        ModelRetry.code,
        NOT_SERIALIZABLE,
        INVALID_ARGUMENTS,
        UNKNOWN_TOOL,
        TOO_MANY_CALLS,
        DENIED,
        REFUSED,
        EXPIRED,
        TIMEOUT,
        CIRCUIT_OPEN,
        BUDGET_EXCEEDED,
    }
)

MODEL_MISTAKES = frozenset({INVALID_ARGUMENTS, UNKNOWN_TOOL, ModelRetry.code})
"""Failures that the model can mend by calling differently."""


def is_malfunction(result: ToolResult) -> bool:
    """Whether the tool itself broke: it raised something that is not meant for the model."""
    return result.error is not None and result.error_type not in _DELIBERATE
