"""`/v1/session`: a browser's way in. It brings a key once, and keeps a cookie that scripts do not see and other sites cannot use."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from agent_runtime.client import models as schemas
from agent_runtime.keys.manager import SESSION_SECONDS
from agent_runtime.server.access import COOKIE, Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.parts import TheKernel
from agent_runtime.values.api_key import Permission

router = APIRouter(prefix="/v1/session", tags=["session"], route_class=JsonRoute)


@router.post("", status_code=204)
async def open_session(new: schemas.NewSession, request: Request, kernel: TheKernel) -> Response:
    """Begin a session: for the key a cookie is given, which holds for twelve hours and no longer than the key.

    Requests that change something with the cookie also send the header `X-Own-Page: 1`, which pages of other sites cannot.
    """
    await kernel.start()
    opened = await kernel.keys.open_session(new.key)
    if opened is None:
        raise HTTPException(401, "a valid API key is needed")
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        opened[1],
        max_age=int(SESSION_SECONDS),
        path=request.scope.get("root_path", "") or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


@router.get("")
async def get_session(caller: Reader) -> schemas.Caller:
    """Say who asks, and what they may do."""
    return schemas.Caller(
        name=caller.name,
        role=caller.role,
        scope_id=caller.scope_id,
        principal_id=caller.principal_id,
        permissions=[permission for permission in Permission if caller.role.allows(permission)],
    )


@router.delete("", status_code=204)
async def end_session(request: Request) -> Response:
    """End the session of this browser. Sessions end with their key: revoke it to end all of them."""
    response = Response(status_code=204)
    response.delete_cookie(
        COOKIE, path=request.scope.get("root_path", "") or "/", httponly=True, samesite="strict"
    )
    return response
