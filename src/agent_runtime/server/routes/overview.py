"""`/v1/overview`, `/v1/operators` and `/v1/workers`: what a first page shows, and who executes what."""

from __future__ import annotations

import asyncio
from datetime import UTC

from fastapi import APIRouter, Response

from agent_runtime.client import models as schemas
from agent_runtime.client.models import Page
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.server.access import WATCHING, Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.pages import MAX_READ_BYTES, CursorParameter, Limit, page_of, written
from agent_runtime.server.parts import TheKernel, TheService
from agent_runtime.server.routes.jobs import ScopeParameter
from agent_runtime.server.standing import standings
from agent_runtime.values.action import ActionStatus
from agent_runtime.values.job import JobFilter, JobStatus
from agent_runtime.worker.standing import is_alive

router = APIRouter(prefix="/v1", tags=["overview"], route_class=JsonRoute)

SHOWN = 10
"""Jobs and questions of a first page."""


@router.get("/overview", response_model=schemas.Overview)
async def get_overview(caller: Reader, service: TheService, scope_id: ScopeParameter = None) -> Response:
    """Return what a first page shows: how many jobs stand how, what waits for people, the newest jobs, and what was spent today."""
    kernel, scope = service.kernel, caller.sees(scope_id)
    now = kernel.clock.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    counts = await asyncio.gather(
        *(kernel.jobs.count(JobFilter(scope_id=scope, status=frozenset({status}))) for status in JobStatus)
    )
    pending, _ = await kernel.storage.part_of_actions(
        scope_id=scope, status=ActionStatus.PENDING, limit=SHOWN, max_bytes=MAX_READ_BYTES
    )
    newest, _ = await kernel.jobs.part(JobFilter(scope_id=scope, limit=SHOWN), max_bytes=MAX_READ_BYTES)
    stand = await standings(kernel, newest)
    async with service.long_read(caller.name):
        spent = await kernel.ledger.total(scope_id=scope, since=midnight)
    sees_workers = caller.scope_id is None  # as `/v1/workers`, which tells of the installation
    workers = await kernel.storage.list_workers() if sees_workers else ()
    return await written(
        lambda: schemas.Overview(
            scope_id=scope,
            jobs=dict(zip(JobStatus, counts, strict=True)),
            pending_actions=list(map(schemas.Action.in_list, pending)),
            newest_jobs=[schemas.Job.in_list(job, stand[job.job_id]) for job in newest],
            spent_today=schemas.Spent.of(spent),
            workers=sum(not worker.only_waits for worker in workers) if sees_workers else None,
            as_of=now,
        )
    )


@router.get("/operators")
async def list_operators(caller: Reader, kernel: TheKernel) -> schemas.Executed:
    """List the operators that workers know now: jobs of others wait for a worker that does."""
    del caller  # whoever may look may know them
    alive = [worker for worker in await kernel.storage.list_workers() if is_alive(worker)]
    names = {name for worker in alive for name in worker.operators}
    return schemas.Executed(operators=sorted(names), is_executing=bool(alive))


@router.get("/workers", dependencies=[WATCHING], response_model=Page[schemas.Worker])
async def list_workers(kernel: TheKernel, limit: Limit = 100, cursor: CursorParameter = None) -> Response:
    """List the processes that execute jobs, or wait to, in the order of their beginning. It takes a key for all scopes."""
    found = sorted(await kernel.storage.list_workers(), key=_place)
    page = [worker for worker in found if cursor is None or _place(worker) > cursor]
    return await page_of(page, schemas.Worker.of, _place, limit=limit)


def _place(worker: WorkerRecord) -> str:
    """Return what workers are sorted by, which says where a page goes on even if the worker has gone."""
    return f"{worker.started_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z {worker.worker_id}"
