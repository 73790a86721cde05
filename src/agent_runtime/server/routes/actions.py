"""`/v1/actions`: the questions that jobs ask people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.exceptions import HTTPException

from agent_runtime.client import models as schemas
from agent_runtime.client.models import Page
from agent_runtime.server.access import Approving, Caller, Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.pages import MAX_READ_BYTES, CursorParameter, Limit, page_of, written
from agent_runtime.server.parts import TheKernel
from agent_runtime.server.routes.jobs import ScopeParameter
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.api_key import Permission
from agent_runtime.values.checks import check_text

router = APIRouter(prefix="/v1/actions", tags=["actions"], route_class=JsonRoute)


@router.get("", response_model=Page[schemas.Action])
async def list_actions(
    caller: Reader,
    kernel: TheKernel,
    scope_id: ScopeParameter = None,
    job_id: str | None = None,
    status: Annotated[
        ActionStatus | None, Query(description="Only questions that stand so.")
    ] = ActionStatus.PENDING,
    everything: Annotated[bool, Query(alias="all", description="Whatever they stand like.")] = False,
    limit: Limit = 50,
    cursor: CursorParameter = None,
) -> Response:
    """List questions, the newest first: those that wait for an answer, unless others are asked for.

    Of what is long of a question, `left_out` says that it is not here.
    """
    scope = caller.sees(scope_id)
    for name, value in (("scope_id", scope), ("job_id", job_id), ("cursor", cursor)):
        if value is not None:
            check_text(name, value)
    found, has_more = await kernel.storage.part_of_actions(
        scope_id=scope,
        job_id=job_id,
        status=None if everything else status,
        limit=limit,
        before=cursor,
        max_bytes=MAX_READ_BYTES,
    )
    return await page_of(found, schemas.Action.in_list, lambda one: one.action_id, has_more=has_more)


@router.get("/{action_id}", response_model=schemas.Action)
async def get_action(action_id: str, caller: Reader, kernel: TheKernel) -> Response:
    """Return a question, and its answer if it has one."""
    action = await kernel.actions.get(action_id, scope_id=caller.scope_id)
    return await written(lambda: schemas.Action.of(action))


@router.post("/{action_id}/resolve", response_model=schemas.Action)
async def resolve_action(
    action_id: str, answer: schemas.Answer, caller: Approving, kernel: TheKernel
) -> Response:
    """Answer a question. Of several answers one wins; 409 for the others. Of a quorum this is one vote."""
    action = await kernel.actions.resolve_by_id(
        action_id, answer.resolution, resolved_by=_who(caller, answer.resolved_by), scope_id=caller.scope_id
    )
    return await written(lambda: schemas.Action.of(action))


@router.post("/{action_id}/cancel", response_model=schemas.Action)
async def cancel_action(
    action_id: str, caller: Approving, kernel: TheKernel, why: schemas.Reason | None = None
) -> Response:
    """Withdraw a question: whoever waits for its answer is told that none will come."""
    reason = None if why is None else why.reason
    action = await kernel.actions.cancel(action_id, reason, scope_id=caller.scope_id)
    return await written(lambda: schemas.Action.of(action))


def _who(caller: Caller, said: str | None) -> str:
    """Return who answers. Who may name somebody else is an administrator's business, and only where the key names nobody."""
    if said is None or said == caller.person:
        return caller.person
    if caller.principal_id is not None or not caller.role.allows(Permission.ADMINISTER):
        raise HTTPException(403, "this key answers for nobody else: leave resolved_by out")
    return said
