"""Who calls a method of MCP, whether they may, and what is said when something goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, TypeAlias

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from agent_runtime.errors import AgentRuntimeError, InvalidInput, UnknownAction, UnknownJob
from agent_runtime.ports.ids import new_id
from agent_runtime.server.access import CALLER, Caller
from agent_runtime.server.problems import status_of
from agent_runtime.values.api_key import Permission
from llm_client.errors import ConfigurationError
from llm_client.logs import logger_of
from llm_client.public_text import public_text

logger = logger_of(__name__)

Context: TypeAlias = ServerRequestContext[object]
"""One request, as the SDK gives it to whoever answers."""

PERMISSIONS: Final[Mapping[str, Permission]] = {
    "tools/list": Permission.READ,
    "tools/call": Permission.OPERATE,
    "tasks/get": Permission.READ,
    "tasks/update": Permission.APPROVE,
    "tasks/cancel": Permission.OPERATE,
}
"""What each method takes beside a key."""
WITHOUT: Final = frozenset(
    {"initialize", "ping", "server/discover", "notifications/initialized", "notifications/cancelled"}
)
"""What every key may ask: nothing of anybody is told there."""


LEFT: Final = "agent_runtime.left"
"""Name in a request's scope of what is set when its client has left, or has its answer."""


def left_of(context: Context) -> asyncio.Event:
    """Return what is set when the client of a request has left."""
    left: asyncio.Event = request_of(context).scope[LEFT]
    return left


def request_of(context: Context) -> Request:
    """Return the HTTP request that has brought a message."""
    request: Request | None = context.request
    if request is None:
        raise InvalidInput("a message that no HTTP request has brought")
    return request


def caller_of(context: Context) -> Caller:
    """Return who asks: the check of keys has put them into the request."""
    caller: Caller = request_of(context).scope[CALLER]
    return caller


async def guarded(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Answer a request of somebody who may send it, and say no more of an error than everybody may read."""
    role, permission = caller_of(ctx).role, PERMISSIONS.get(ctx.method)
    if permission is not None and not role.allows(permission):
        raise MCPError(
            INVALID_REQUEST, f"the role {role} may not {permission}", {"code": "FORBIDDEN", "status": 403}
        )
    try:
        return await call_next(ctx)
    except (MCPError, ValidationError):
        raise
    except (UnknownJob, UnknownAction) as error:
        raise MCPError(INVALID_PARAMS, "there is no such task", {"code": error.code}) from error
    except (AgentRuntimeError, ConfigurationError) as error:
        raise error_of(error) from error
    except HTTPException as error:
        raise MCPError(INVALID_REQUEST, str(error.detail), {"status": error.status_code}) from error
    except Exception as error:
        instance = new_id("problem")
        logger.exception("%s: %s failed", instance, ctx.method)
        told = "the service made a mistake; its log says more under the name in `instance`"
        raise MCPError(INTERNAL_ERROR, told, {"instance": instance}) from error


def error_of(error: AgentRuntimeError | ConfigurationError) -> MCPError:
    """Return the error of the protocol that says what the runtime refused."""
    status = status_of(error)
    code = INVALID_PARAMS if isinstance(error, InvalidInput) or status in (404, 422) else INTERNAL_ERROR
    return MCPError(code, public_text(str(error)), {"code": str(error.code), "status": status})
