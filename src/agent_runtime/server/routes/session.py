"""`/v1/session`: a browser's way in. It brings a key or a token once, and keeps a cookie that scripts do not see and other sites cannot use."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from agent_runtime.client import models as schemas
from agent_runtime.keys.manager import SESSION_SECONDS
from agent_runtime.server.access import COOKIE, Reader, what_is_needed
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.jwt.bearer import looks_like_token
from agent_runtime.server.parts import Service, TheService
from agent_runtime.values.api_key import Permission

router = APIRouter(prefix="/v1/session", tags=["session"], route_class=JsonRoute)


@router.post("", status_code=204)
async def open_session(new: schemas.NewSession, request: Request, service: TheService) -> Response:
    """Begin a session: for the key, or the token, a cookie is given, which holds for twelve hours and no longer than that.

    Requests that change something with the cookie also send the header `X-Own-Page: 1`, which pages of other sites cannot.
    """
    await service.kernel.start()
    opened = await _opened(service, new.key)
    if opened is None:
        raise HTTPException(401, what_is_needed(service.tokens))
    text, seconds = opened
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        text,
        max_age=int(seconds),
        path=request.scope.get("root_path", "") or "/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return response


async def _opened(service: Service, text: str) -> tuple[str, float] | None:
    """Return what stands in the cookie for a key or a token, and for how many seconds. A token stands for itself: nothing here could."""
    if service.tokens is not None and looks_like_token(text):
        bearer = await service.tokens.authenticate(text)
        if bearer is None:
            return None
        left = (bearer.expires_at - service.kernel.clock.now()).total_seconds()
        return text, min(left, SESSION_SECONDS)
    opened = await service.kernel.keys.open_session(text)
    return None if opened is None else (opened[1], SESSION_SECONDS)


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
