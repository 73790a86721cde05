"""What a client can do, as it has said with its request."""

from __future__ import annotations

from typing import Final

from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ClientCapabilities,
    MissingRequiredClientCapabilityErrorData,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from agent_runtime.server.mcp.refusals import Context

TASKS: Final = "io.modelcontextprotocol/tasks"
"""The extension for calls that take long (SEP-2663)."""


def knows_tasks(context: Context) -> bool:
    """Whether the client of a request takes a task for a result. Only since 2026-07-28 a result can be one."""
    said = context.session.client_capabilities
    return (
        context.protocol_version in MODERN_PROTOCOL_VERSIONS
        and said is not None
        and TASKS in (said.extensions or {})
    )


def check_knows_tasks(context: Context) -> None:
    """Raise the error of the protocol for a client that has not said so."""
    if not knows_tasks(context):
        needed = MissingRequiredClientCapabilityErrorData(
            required_capabilities=ClientCapabilities(extensions={TASKS: {}})
        )
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "this takes a client that knows tasks",
            needed.model_dump(by_alias=True, mode="json", exclude_none=True),
        )


def asks_within_session(context: Context) -> bool:
    """Whether a client can be sent a form while it waits, which is what clients of before 2026-07-28 do within a session."""
    said = context.session.client_capabilities
    return (
        context.protocol_version not in MODERN_PROTOCOL_VERSIONS
        and said is not None
        and said.elicitation is not None
        and context.session.can_send_request
    )


def asks_people(context: Context) -> bool:
    """Whether a client brings forms to its person, in answers to its own requests."""
    said = context.session.client_capabilities
    return (
        context.protocol_version in MODERN_PROTOCOL_VERSIONS
        and said is not None
        and said.elicitation is not None
    )
