"""`/v1/ledger`: what was spent, entry by entry and added up."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from agent_runtime.client import models as schemas
from agent_runtime.client.models import Page
from agent_runtime.ledger.entries import EntryFilters
from agent_runtime.ledger.totals import Group, sum_of
from agent_runtime.server.access import Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.pages import Limit, page_of
from agent_runtime.server.parts import TheKernel, TheService
from agent_runtime.server.routes.jobs import ScopeParameter
from agent_runtime.values.budget import LedgerFilter
from agent_runtime.values.checks import MAX_COUNT

router = APIRouter(prefix="/v1/ledger", tags=["ledger"], route_class=JsonRoute)

Since = Annotated[AwareDatetime | None, Query(description="From this moment on.")]
Until = Annotated[AwareDatetime | None, Query(description="Before this moment.")]


@router.get("/entries", response_model=Page[schemas.Entry])
async def list_entries(
    caller: Reader,
    kernel: TheKernel,
    scope_id: ScopeParameter = None,
    job_id: str | None = None,
    principal_id: str | None = None,
    type: str | None = None,  # noqa: A002 -- the name of the field
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    cursor: Annotated[
        int | None, Query(ge=0, le=MAX_COUNT, description="Where to go on: `next` of the page before.")
    ] = None,
) -> Response:
    """List what was spent, in the order in which it was written: every request to a model, failed and lost ones too."""
    wanted = LedgerFilter(
        scope_id=caller.sees(scope_id),
        job_id=job_id,
        principal_id=principal_id,
        type=type,
        since=since,
        until=until,
        after=cursor,
        limit=limit + 1,
    )
    found = await kernel.storage.ledger_entries(wanted)
    return await page_of(found, schemas.Entry.of, lambda entry: str(entry.position), limit=limit)


@router.get("/costs")
async def get_costs(
    caller: Reader,
    service: TheService,
    scope_id: ScopeParameter = None,
    by: Group = "model",
    job_id: str | None = None,
    principal_id: str | None = None,
    since: Since = None,
    until: Until = None,
    timezone: Annotated[str, Query(max_length=64, description="In which days begin.")] = "UTC",
) -> schemas.Costs:
    """Add up what was spent, group by group. It reads every entry of the time that is asked for."""
    filters = EntryFilters(
        scope_id=caller.sees(scope_id), job_id=job_id, principal_id=principal_id, since=since, until=until
    )
    async with service.long_read(caller.name):
        found = await service.kernel.ledger.costs(by, timezone=timezone, **filters)
    groups = {name: schemas.Spent.of(total) for name, total in found.items()}
    return schemas.Costs(by=by, groups=groups, total=schemas.Spent.of(sum_of(found.values())))
