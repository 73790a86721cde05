"""`/v1/keys`: the keys by which others come in. An admin's own scope is all there is, unless the key is for all scopes."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Response
from starlette.exceptions import HTTPException

from agent_runtime.client import key_models as schemas
from agent_runtime.client.models import Page
from agent_runtime.server.access import EVERYBODY, Administering, Caller
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.pages import CursorParameter, Limit, page_of
from agent_runtime.server.parts import TheKernel
from agent_runtime.server.routes.jobs import ScopeParameter

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=JsonRoute)


@router.get("", response_model=Page[schemas.Key])
async def list_keys(
    caller: Administering,
    kernel: TheKernel,
    scope_id: ScopeParameter = None,
    limit: Limit = 100,
    cursor: CursorParameter = None,
) -> Response:
    """List keys in the order in which they were made, also those that hold no more. The text of none is known."""
    found = await kernel.keys.list(scope_id=caller.sees(scope_id), after=cursor, limit=limit + 1)
    return await page_of(found, schemas.Key.of, lambda key: key.key_id, limit=limit)


@router.post("", status_code=201)
async def create_key(new: schemas.NewKey, caller: Administering, kernel: TheKernel) -> schemas.KeyWithText:
    """Make a key. Its text is in this answer, and nowhere else ever again."""
    _check_known(caller)
    scope = caller.sees(new.scope_id)
    if scope is None and not new.all_scopes:
        raise HTTPException(422, "say which scope the key is for, or all_scopes")
    if scope is not None and new.all_scopes:
        raise HTTPException(
            403, "a key for all scopes is made with one for all scopes, and without a scope_id"
        )
    key, text = await kernel.keys.create(
        name=new.name,
        role=new.role,
        scope_id=scope,
        principal_id=new.principal_id,
        expires_at=new.expires_at,
        created_by=caller.person,
    )
    return schemas.KeyWithText.of_text(key, text)


@router.get("/{key_id}")
async def get_key(key_id: str, caller: Administering, kernel: TheKernel) -> schemas.Key:
    """Return what may be known of a key."""
    return schemas.Key.of(await kernel.keys.get(key_id, scope_id=caller.scope_id))


@router.post("/{key_id}/rotate", status_code=201)
async def rotate_key(
    key_id: str, caller: Administering, kernel: TheKernel, how: schemas.Rotation | None = None
) -> schemas.RotatedKey:
    """Make a key in the place of another one, which ends after the overlap."""
    _check_known(caller)
    overlap = timedelta(seconds=0 if how is None else how.overlap_seconds)
    key, text = await kernel.keys.rotate(key_id, overlap=overlap, scope_id=caller.scope_id, by=caller.person)
    old = await kernel.keys.get(key_id)
    told = schemas.KeyWithText.of_text(key, text).model_dump()
    return schemas.RotatedKey(**told, replaced_expires_at=old.expires_at)


@router.post("/{key_id}/revoke")
async def revoke_key(key_id: str, caller: Administering, kernel: TheKernel) -> schemas.Key:
    """Let a key hold no more: here at once, in other processes within a second or two. Streams that it has opened end soon after."""
    return schemas.Key.of(await kernel.keys.revoke(key_id, scope_id=caller.scope_id, by=caller.person))


def _check_known(caller: Caller) -> None:
    """Let nobody make keys who has none: they would hold on when the service asks for keys again."""
    if caller is EVERYBODY:
        raise HTTPException(403, "without a key none is made here: use `agent-runtime keys`")
