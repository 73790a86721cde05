"""`/v1/overview` and `/v1/workers`: what a first page shows, in one request."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from agent_runtime.client import models as schemas
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.server.access import WATCHING, Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.parts import TheKernel, TheService
from agent_runtime.server.routes.jobs import ScopeParameter
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.job import JobFilter, JobStatus

router = APIRouter(prefix="/v1", tags=["overview"], route_class=JsonRoute)

SHOWN = 10
"""Jobs and questions of a first page."""


@router.get("/overview")
async def get_overview(
    caller: Reader, service: TheService, scope_id: ScopeParameter = None
) -> schemas.Overview:
    """Return what a first page shows: how many jobs stand how, what waits for people, the newest jobs, and what was spent today."""
    kernel, scope = service.kernel, caller.sees(scope_id)
    now = kernel.clock.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    counts = await asyncio.gather(
        *(kernel.jobs.count(JobFilter(scope_id=scope, status=frozenset({status}))) for status in JobStatus)
    )
    pending = await kernel.storage.list_actions(scope_id=scope, status=ActionStatus.PENDING, limit=SHOWN)
    newest = await kernel.jobs.list(JobFilter(scope_id=scope, limit=SHOWN))
    async with service.long_read(caller.name):
        spent = await kernel.ledger.total(scope_id=scope, since=midnight)
    workers = [worker for worker in await kernel.storage.list_workers() if not worker.only_waits]
    return schemas.Overview(
        scope_id=scope,
        jobs=dict(zip(JobStatus, counts, strict=True)),
        pending_actions=[schemas.Action.of(action) for action in pending],
        newest_jobs=[schemas.Job.of(job) for job in newest],
        spent_today=schemas.Spent.of(spent),
        workers=len(workers),
        as_of=now,
    )


@router.get("/workers", dependencies=[WATCHING])
async def list_workers(kernel: TheKernel) -> list[schemas.Worker]:
    """List the processes that execute jobs, or wait to. It takes a key for all scopes."""
    found = sorted(await kernel.storage.list_workers(), key=_began)
    return [schemas.Worker.of(worker) for worker in found]


def _began(worker: WorkerRecord) -> str:
    return worker.started_at.isoformat()
