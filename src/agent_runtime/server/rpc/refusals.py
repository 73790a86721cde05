"""What is answered when a call is not done: the errors of JSON-RPC 2.0, and the runtime's own in a range of their own."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any, Final

from pydantic import ValidationError
from starlette.exceptions import HTTPException

from agent_runtime.errors import AgentRuntimeError, InboxFull, InvalidInput, QueueFull
from agent_runtime.ports.ids import new_id
from agent_runtime.server.problems import MAX_MISTAKES, status_of
from llm_client.errors import ConfigurationError
from llm_client.json_text import JsonValue
from llm_client.logs import logger_of
from llm_client.public_text import public_text

logger = logger_of(__name__)

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_ERRORS: Final = range(-32099, -31999)
"""What the specification leaves to servers: here `-32000 - (status - 400)` for a status of HTTP from 400, and `-32050 - (status - 500)` from 500."""
MESSAGES: Final[Mapping[int, str]] = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid Request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
}
"""As the specification has them; what is wrong stands in `data.detail`."""


class Refused(Exception):
    """A call is not done.

    Args:
        code: Of JSON-RPC.
        message: In one sentence; without one, that of the specification.
        data: What programs read of it.
    """

    def __init__(
        self, code: int, message: str | None = None, data: Mapping[str, JsonValue] | None = None
    ) -> None:
        super().__init__(message or MESSAGES[code])
        self.code = code
        self.data = data

    def told(self) -> dict[str, Any]:
        """Return the error object."""
        told: dict[str, Any] = {"code": self.code, "message": public_text(str(self))}
        if self.data is not None:
            told["data"] = dict(self.data)
        return told


def code_of(status: int) -> int:
    """Return the code of JSON-RPC that stands for a status of HTTP."""
    if status == 422:
        return INVALID_PARAMS
    if status == 500:
        return INTERNAL_ERROR
    return -32000 - (status - 400) if status < 500 else -32050 - (status - 500)


def refused(status: int, detail: str, **data: JsonValue) -> Refused:
    """Return the refusal of a status of HTTP, with its name as the code in `data`."""
    return Refused(code_of(status), detail, {"code": HTTPStatus(status).name, "status": status, **data})


def refusal_of(error: Exception, method: str) -> Refused:
    """Return what is said of an error: all of what somebody can do something about, and nothing of a mistake of ours but its name in the log."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, HTTPException):
        return refused(error.status_code, str(error.detail))
    if isinstance(error, AgentRuntimeError | ConfigurationError) and (status := status_of(error)) != 500:
        data: dict[str, JsonValue] = {"code": str(error.code), "status": status}
        if isinstance(error, QueueFull | InboxFull) or status == 503:
            data["retryAfter"] = ceil(getattr(error, "retry_after", 5.0))
        return Refused(code_of(status), str(error), data)
    instance = new_id("problem")
    logger.error("%s: %s failed", instance, method, exc_info=error)
    said = "the service made a mistake; its log says more under the name in data.instance"
    return Refused(INTERNAL_ERROR, None, {"code": "INTERNAL", "detail": said, "instance": instance})


def invalid(error: ValidationError) -> Refused:
    """Say which params are wrong, and never what stood there: it may be a secret, in the wrong place."""
    found: list[dict[str, JsonValue]] = [
        {
            "place": public_text(".".join(map(str, wrong["loc"]))),
            "message": public_text(wrong["msg"]),
        }
        for wrong in error.errors(include_input=False, include_url=False)[:MAX_MISTAKES]
    ]
    first = f"{found[0]['place']}: {found[0]['message']}" if found else "they are not as they have to be"
    return invalid_params(first, errors=found)


def invalid_params(detail: str, **data: JsonValue) -> Refused:
    """Return the refusal of params, with what is wrong with them."""
    return Refused(
        INVALID_PARAMS, f"Invalid params: {detail}", {"code": InvalidInput.code, "status": 422, **data}
    )
