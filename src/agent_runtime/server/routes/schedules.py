"""`/v1/schedules`: what is started by cron, by interval or once, and what became of its times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from agent_runtime.client import schedule_models as schemas
from agent_runtime.client.models import Page
from agent_runtime.errors import InvalidInput
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.kernel.scheduled import ScheduledMessage, ScheduledTask, Started
from agent_runtime.kernel.schedules import Schedule
from agent_runtime.ports.schedules import StoredSchedule
from agent_runtime.schedules.rules import ScheduleRules
from agent_runtime.schedules.timing import Timing
from agent_runtime.server.access import Caller, Operating, Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.pages import MAX_READ_BYTES, CursorParameter, Limit, page_of, written
from agent_runtime.server.parts import TheKernel
from agent_runtime.server.routes.jobs import ScopeParameter, request_of
from agent_runtime.values.checks import check_text
from llm_client.turns import aside

router = APIRouter(prefix="/v1", tags=["schedules"], route_class=JsonRoute)

_AT_ONCE: Final = 16
"""Schedules that are read at once, for each may have a long input."""
MAX_NEXT: Final = 100
ContentParameter = Annotated[bool, Query(description="Also inputs of jobs, and what is sent.")]


@router.get("/schedules", response_model=Page[schemas.Schedule])
async def list_schedules(
    caller: Reader,
    kernel: TheKernel,
    scope_id: ScopeParameter = None,
    content: ContentParameter = False,
    limit: Limit = 50,
    cursor: CursorParameter = None,
) -> Response:
    """List schedules by scope and name. Of one with a long input, metadata or tags, `left_out` says that they are not here."""
    scope = caller.sees(scope_id)
    if scope is not None:
        check_text("scope_id", scope)
    found, has_more = await _part(kernel, scope, ("", "") if cursor is None else _place(cursor), limit)
    return await page_of(
        found,
        lambda one: schemas.Schedule.in_list(Schedule.of(one), content=content),
        lambda one: json.dumps([one.scope_id, one.schedule_id]),
        has_more=has_more,
    )


async def _part(
    kernel: Kernel, scope_id: str | None, after: tuple[str, str], limit: int
) -> tuple[Sequence[StoredSchedule], bool]:
    """Return schedules, no more than a page takes, and whether there are more."""
    found: list[StoredSchedule] = []
    size = 0
    while len(found) <= limit and size <= MAX_READ_BYTES:
        most = min(_AT_ONCE, limit + 1 - len(found))
        more = await kernel.storage.list_schedules(scope_id, after=after, limit=most)
        found += more
        if len(more) < most:
            return found[:limit], len(found) > limit
        size += sum(len(one.content) for one in more)
        after = (more[-1].scope_id, more[-1].schedule_id)
    return found[:limit], True


def _place(cursor: str) -> tuple[str, str]:
    try:
        scope_id, schedule_id = json.loads(cursor)
        return check_text("cursor", scope_id), check_text("cursor", schedule_id)
    except (ValueError, TypeError, RecursionError, InvalidInput):
        raise InvalidInput("cursor is `next` of the page before") from None


@router.post("/pause-schedules")
async def pause_schedules(
    caller: Operating, kernel: TheKernel, scope_id: ScopeParameter = None
) -> schemas.ChangedSchedules:
    """Pause all schedules of the key's scope, or of all scopes; `changed` says how many were not paused."""
    changed = await kernel.schedules.pause_all(scope_id=caller.sees(scope_id), by=caller.person)
    return schemas.ChangedSchedules(changed=changed)


@router.post("/resume-schedules")
async def resume_schedules(
    caller: Operating, kernel: TheKernel, scope_id: ScopeParameter = None
) -> schemas.ChangedSchedules:
    """Resume all schedules of the key's scope, or of all scopes; `changed` says how many were paused."""
    changed = await kernel.schedules.resume_all(scope_id=caller.sees(scope_id), by=caller.person)
    return schemas.ChangedSchedules(changed=changed)


@router.put("/schedules/{schedule_id}", response_model=schemas.Schedule)
async def put_schedule(
    schedule_id: str,
    new: schemas.NewSchedule,
    caller: Operating,
    kernel: TheKernel,
    scope_id: ScopeParameter = None,
) -> Response:
    """Store a schedule under a name, or change the one that has it. What is as it was stays untouched; one that is paused stays paused."""
    scope = caller.acts_in(scope_id)
    rules = new.rules
    put = await kernel.schedules.put(
        schedule_id,
        await aside(_started, new, caller, scope),
        Timing(**dict(new.timing)),
        rules=ScheduleRules(**dict(rules)),
        check=new.check,
        scope_id=scope,
        by=caller.person,
    )
    return await written(lambda: schemas.Schedule.of(put))


def _started(new: schemas.NewSchedule, caller: Caller, scope_id: str) -> Started:
    if sum(one is not None for one in (new.job, new.message, new.task)) != 1:
        raise InvalidInput("job, message, task: a schedule has exactly one of them")
    if new.message is not None:
        return ScheduledMessage(identity=new.message.to, body=new.message.message)
    if new.task is not None:
        given = new.task
        return ScheduledTask(
            agent_id=given.agent_id, task=given.task, data=given.data, priority=given.priority
        )
    job: Any = new.job
    return request_of(job, caller, scope_id)


@router.get("/schedules/{schedule_id}", response_model=schemas.Schedule)
async def get_schedule(
    schedule_id: str,
    caller: Reader,
    kernel: TheKernel,
    scope_id: ScopeParameter = None,
    content: ContentParameter = False,
    upcoming: Annotated[int, Query(ge=1, le=MAX_NEXT, description="Due times to tell, at most.")] = 10,
) -> Response:
    """Return a schedule, and when it is due next: never, while it is paused."""
    scope = caller.acts_in(scope_id)
    found = await kernel.schedules.get(schedule_id, scope_id=scope)
    due = await kernel.schedules.upcoming(schedule_id, scope_id=scope, most=upcoming)
    return await written(lambda: schemas.Schedule.of(found, due, content=content))


@router.delete("/schedules/{schedule_id}", status_code=204)
async def delete_schedule(
    schedule_id: str, caller: Operating, kernel: TheKernel, scope_id: ScopeParameter = None
) -> Response:
    """Remove a schedule. What it has started goes on, what waits to fire is skipped, and its log is kept."""
    await kernel.schedules.remove(schedule_id, scope_id=caller.acts_in(scope_id), by=caller.person)
    return Response(status_code=204)


@router.post("/schedules/{schedule_id}/pause", response_model=schemas.Schedule)
async def pause_schedule(
    schedule_id: str, caller: Operating, kernel: TheKernel, scope_id: ScopeParameter = None
) -> Response:
    """Let a schedule fire no more until it is resumed: what falls due meanwhile is skipped."""
    scope = caller.acts_in(scope_id)
    paused = await kernel.schedules.pause(schedule_id, scope_id=scope, by=caller.person)
    return await written(lambda: schemas.Schedule.of(paused))


@router.post("/schedules/{schedule_id}/resume", response_model=schemas.Schedule)
async def resume_schedule(
    schedule_id: str, caller: Operating, kernel: TheKernel, scope_id: ScopeParameter = None
) -> Response:
    """Let a schedule fire again, from its next due time on."""
    scope = caller.acts_in(scope_id)
    resumed = await kernel.schedules.resume(schedule_id, scope_id=scope, by=caller.person)
    return await written(lambda: schemas.Schedule.of(resumed))


@router.get("/schedules/{schedule_id}/fires", response_model=Page[schemas.Fire])
async def list_fires(
    schedule_id: str,
    caller: Reader,
    kernel: TheKernel,
    scope_id: ScopeParameter = None,
    limit: Limit = 100,
    cursor: Annotated[
        AwareDatetime | None, Query(description="Where to go on: `next` of the page before.")
    ] = None,
) -> Response:
    """List what became of a schedule's times, the newest first; also of one that was removed."""
    scope = caller.acts_in(scope_id)
    found = await kernel.schedules.log(schedule_id, scope_id=scope, before=cursor, limit=limit + 1)
    if not found and cursor is None:
        await kernel.schedules.get(schedule_id, scope_id=scope)
    return await page_of(found, schemas.Fire.of, lambda fire: fire.due_at.isoformat(), limit=limit)
