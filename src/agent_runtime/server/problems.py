"""What went wrong, as `application/problem+json` (RFC 9457): one form for every error of every route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from agent_runtime import errors
from agent_runtime.client.models import Mistake, Problem
from agent_runtime.errors import AgentRuntimeError, InboxFull, QueueFull
from agent_runtime.ports.ids import new_id
from agent_runtime.server.jwt.bearer import ProviderAway
from llm_client.errors import ConfigurationError
from llm_client.logs import logger_of
from llm_client.public_text import public_text

logger = logger_of(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MAX_MISTAKES: Final = 20
"""Fields of a request that are named at most."""

_STATUS: Final[Mapping[type[BaseException], int]] = {
    AgentRuntimeError: 500,
    errors.InvalidInput: 422,
    errors.UnknownJob: 404,
    errors.UnknownAction: 404,
    errors.UnknownMessage: 404,
    errors.UnknownKey: 404,
    errors.UnknownAgent: 404,
    errors.UnknownSchedule: 404,
    errors.UnknownExecution: 404,
    errors.IdempotencyConflict: 409,
    errors.InvalidTransition: 409,
    errors.RetryRefused: 409,
    errors.ActionAlreadyResolved: 409,
    errors.ContentTooLarge: 413,
    errors.JobEnded: 409,
    errors.JobBlocked: 409,
    errors.LimitReached: 403,
    errors.BudgetRejected: 409,
    errors.QueueFull: 429,
    errors.InboxFull: 429,
    errors.ContentPruned: 410,
    errors.StorageError: 503,
    errors.ExecutorBusy: 503,
    ProviderAway: 503,
    errors.ServiceError: 502,  # of another service, which this one has asked
    errors.FenceLost: 409,
    errors.DuplicateJob: 409,
    errors.DuplicateMessage: 409,
    ConfigurationError: 422,
}
"""The status of a class, and of those below it that are not named themselves."""


def status_of(error: BaseException) -> int:
    """Return the status with which an error is answered."""
    return next(_STATUS[kind] for kind in (*type(error).__mro__, AgentRuntimeError) if kind in _STATUS)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    mistakes: Sequence[Mistake] | None = None,
    headers: Mapping[str, str] | None = None,
    instance: str | None = None,
) -> Response:
    """Return the answer that says why a request was not done. `detail` is cut and looked through for secrets."""
    told = Problem(
        type=f"urn:agent-runtime:problem:{code.lower()}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=public_text(detail),
        code=code,
        errors=None if mistakes is None else list(mistakes),
        instance=instance,
    )
    content = told.model_dump(mode="json", exclude_none=True)
    return JSONResponse(content, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


async def deny(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the answer to a request that is not done, or to one for a socket that is not opened."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})  # all that such a server can say
        return
    await answer(scope, receive, send)


def add_handlers(app: FastAPI) -> None:
    """Have every error of an application answered as a problem."""
    app.add_exception_handler(AgentRuntimeError, _runtime_error)
    app.add_exception_handler(ConfigurationError, _runtime_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


async def _runtime_error(request: Request, error: Any) -> Response:
    return await _unexpected(request, error) if status_of(error) == 500 else problem_of(error)


def problem_of(error: AgentRuntimeError | ConfigurationError) -> Response:
    """Return the answer that says what the runtime refused."""
    status, headers = status_of(error), {}
    if isinstance(error, QueueFull | InboxFull) or status == 503:
        headers["Retry-After"] = str(ceil(getattr(error, "retry_after", 5.0)))
    return problem(status, str(error.code), str(error), headers=headers)


async def _invalid_request(_: Request, error: Any) -> Response:
    """Say which fields are wrong, and never what stood there: it may be a secret, in the wrong place."""
    found = [
        Mistake(place=public_text(".".join(map(str, wrong["loc"]))), message=public_text(wrong["msg"]))
        for wrong in error.errors()[:MAX_MISTAKES]
    ]
    first = f": {found[0].place}: {found[0].message}" if found else ""
    return problem(
        422, errors.InvalidInput.code, f"the request is not as it has to be{first}", mistakes=found
    )


async def _http_error(request: Request, error: Any) -> Response:
    status, headers = error.status_code, dict(error.headers or {})
    if status == 405:
        headers["Allow"] = ", ".join(_methods_of(request))
    return problem(status, HTTPStatus(status).name, str(error.detail), headers=headers)


def _methods_of(request: Request) -> list[str]:
    """Return the methods of all routes of a path: the router knows those of the first one alone."""
    asked = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    paths: dict[str, dict[str, object]] = request.app.openapi()["paths"]
    found = (methods for path, methods in paths.items() if compile_path(path)[0].match(asked))
    return sorted({method.upper() for methods in found for method in methods})


async def _unexpected(request: Request, error: Exception) -> Response:
    """Say nothing of a mistake of ours but its name in the log."""
    instance = new_id("problem")
    route = getattr(request.scope.get("route"), "path", "?")
    logger.error("%s: %s %s failed", instance, request.method, route, exc_info=error)
    detail = "the service made a mistake; its log says more under the name in `instance`"
    return problem(500, "INTERNAL", detail, instance=instance)
