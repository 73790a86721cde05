"""`/v1/jobs`: submit, find, follow, stop and retry."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, TypedDict, Unpack

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import AwareDatetime

from agent_runtime.client import models as schemas
from agent_runtime.client.models import Page
from agent_runtime.errors import InvalidInput
from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.kernel.request import ExecutionRequest
from agent_runtime.server.access import Caller, Operating, Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.pages import MAX_READ_BYTES, CursorParameter, Limit, page_of, written
from agent_runtime.server.parts import Service, TheKernel, TheService
from agent_runtime.server.standing import standing_of, standings
from agent_runtime.values.context import PolicyRef
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus
from llm_client.background import begin, ended
from llm_client.turns import aside

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=JsonRoute)

LOOK_SECONDS: Final = 1.0
"""How often it is seen whether who waits for a result is still there."""
ScopeParameter = Annotated[
    str | None,
    Query(max_length=512, description="For keys for all scopes; other keys have one of their own."),
]


class Once(TypedDict, total=False):
    """What is said of a job that is started once."""

    idempotency_key: str | None
    traceparent: str | None
    retry_failed: bool


@router.post("/jobs", status_code=202, response_model=schemas.Job)
async def submit_job(
    new: schemas.NewJob,
    caller: Operating,
    kernel: TheKernel,
    request: Request,
    idempotency_key: Annotated[
        str | None, Header(description="A second request with it gives the first one's job.")
    ] = None,
    traceparent: Annotated[
        str | None, Header(description="The caller's trace, which the job's goes on (W3C Trace Context).")
    ] = None,
) -> Response:
    """Submit a job. It is stored when this is answered, and from then on ends in exactly one terminal event.

    With an `Idempotency-Key` a second request gives the first one's job; 409 if it asks for something else.
    """
    if idempotency_key is not None and new.idempotency_key not in (None, idempotency_key):
        raise InvalidInput("the header Idempotency-Key and idempotency_key say different things")
    key = idempotency_key or new.idempotency_key
    handle = await kernel.execute(await aside(_request_of, new, caller, key, traceparent))
    return await _told(kernel, await kernel.jobs.get(handle.job_id), request)


async def _told(kernel: Kernel, job: JobRecord, request: Request | None = None) -> Response:
    """Return the answer that something was asked of a job, with where the job is if a request has made it."""
    standing = await standing_of(kernel, job)
    where = None if request is None else f"{request.scope.get('root_path', '')}/v1/jobs/{job.job_id}"
    headers = None if where is None else {"Location": where}
    return await written(lambda: schemas.Job.of(job, standing), 202, headers)


def _request_of(
    new: schemas.NewJob, caller: Caller, key: str | None, traceparent: str | None
) -> ExecutionRequest:
    return request_of(
        new,
        caller,
        caller.acts_in(new.scope_id),
        idempotency_key=key,
        traceparent=traceparent,
        retry_failed=new.retry_failed,
    )


def request_of(
    new: schemas.JobRequest, caller: Caller, scope_id: str, **once: Unpack[Once]
) -> ExecutionRequest:
    """Return what is asked of the runtime.

    Args:
        new: What the job is to do.
        caller: Who asks, and for whom.
        scope_id: Whose the job is.
        once: What is said of a job that is started once.
    """
    messages = None if new.messages is None else [message.to_message() for message in new.messages]
    policy = new.policy
    return ExecutionRequest(
        prompt=new.prompt,
        messages=messages,
        operator=new.operator,
        input=new.input,
        scope_id=scope_id,
        principal_id=caller.acts_for(new.principal_id),
        session_id=new.session_id,
        run_id=new.run_id,
        identity=new.identity,
        budgets=None if new.budgets is None else new.budgets.to_spec(),
        policy_ref=None if policy is None else PolicyRef(name=policy.name, version=policy.version),
        deadline_seconds=new.deadline_seconds,
        priority=new.priority,
        queue=new.queue,
        metadata=new.metadata,
        tags=new.tags,
        **once,
    )


@router.get("/jobs", response_model=Page[schemas.Job])
async def list_jobs(
    caller: Reader,
    kernel: TheKernel,
    scope_id: ScopeParameter = None,
    status: Annotated[list[JobStatus] | None, Query(description="May be repeated.")] = None,
    operator: str | None = None,
    principal_id: str | None = None,
    session_id: str | None = None,
    parent_job_id: str | None = None,
    chain_id: str | None = None,
    tag: Annotated[list[str] | None, Query(description="`name=value`; may be repeated.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Made at this time or later.")] = None,
    limit: Limit = 50,
    cursor: CursorParameter = None,
) -> Response:
    """List jobs, the newest first. Of a job with long metadata or tags, `left_out` says that they are not here."""
    wanted = JobFilter(
        scope_id=caller.sees(scope_id),
        principal_id=principal_id,
        session_id=session_id,
        parent_job_id=parent_job_id,
        chain_id=chain_id,
        status=None if not status else frozenset(status),
        operator=operator,
        tags=dict(map(_tag, tag or ())),
        since=since,
        before=cursor,
        limit=limit,
    )
    found, has_more = await kernel.jobs.part(wanted, max_bytes=MAX_READ_BYTES)
    stand = await standings(kernel, found)
    return await page_of(
        found,
        lambda job: schemas.Job.in_list(job, stand[job.job_id]),
        lambda job: job.job_id,
        has_more=has_more,
    )


def _tag(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise InvalidInput("a tag is written name=value")
    return name, value


@router.get("/jobs/{job_id}", response_model=schemas.Job)
async def get_job(job_id: str, caller: Reader, kernel: TheKernel) -> Response:
    """Return a job."""
    job = await kernel.jobs.get(job_id, scope_id=caller.scope_id)
    standing = await standing_of(kernel, job)
    return await written(lambda: schemas.Job.of(job, standing))


@router.get(
    "/jobs/{job_id}/result",
    response_model=schemas.Result,
    responses={202: {"model": schemas.Result, "description": "It has not ended yet."}},
)
async def get_result(
    job_id: str,
    caller: Reader,
    service: TheService,
    request: Request,
    wait: Annotated[
        float,
        Query(ge=0, le=3600, description="Seconds to wait for its end; cut to what the service allows."),
    ] = 0,
) -> Response:
    """Return how a job has ended; of one in whose place others go on, the last one's end.

    200 whatever the end was: `status` and `error` tell. 202 while it has not ended, or cannot go on by itself (`blocked`).
    """
    handle = service.kernel.handle(job_id, scope_id=caller.scope_id)
    job = await handle.job()
    if job.status.is_active and wait > 0:
        await _ended(handle, min(wait, service.config.longest_wait), service, request)
        job = await handle.job()
    if job.status.is_active:
        return await written(lambda: schemas.Result.unfinished(job), 202, {"Retry-After": "1"})
    if job.status is JobStatus.SUCCEEDED:
        result = await handle.result()
        return await written(lambda: schemas.Result.of(result))
    return await written(lambda: schemas.Result.unfinished(job))


async def _ended(handle: ExecutionHandle, seconds: float, service: Service, request: Request) -> None:
    """Wait until a job has ended, cannot go on by itself, the caller has gone, or the time is up: the caller's, or this process's."""
    waiting, stopping = begin(handle.result(seconds)), begin(service.stopping.wait())
    try:
        done: set[asyncio.Task[Any]] = set()
        while not done and not await request.is_disconnected():
            done, _ = await asyncio.wait(
                {waiting, stopping}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
    finally:
        await ended(waiting, stopping)


@router.post("/jobs/{job_id}/cancel", status_code=202, response_model=schemas.Job)
async def cancel_job(
    job_id: str, caller: Operating, kernel: TheKernel, why: schemas.Reason | None = None
) -> Response:
    """Ask a job to stop, or the one that goes on in its place; it ends when its steps in flight have. One that has ended stays as it is."""
    handle = kernel.handle(job_id, scope_id=caller.scope_id)
    await handle.cancel(None if why is None else why.reason)
    return await _told(kernel, await handle.job())


@router.post("/jobs/{job_id}/retry", status_code=202, response_model=schemas.Job)
async def retry_job(
    job_id: str,
    caller: Operating,
    kernel: TheKernel,
    request: Request,
    how: schemas.Retry | None = None,
) -> Response:
    """Have another job go on in the place of one that ended without success: what has succeeded is not done again."""
    how = how or schemas.Retry()
    handle = await kernel.retry(
        job_id,
        from_step=how.from_step,
        budgets=None if how.budgets is None else how.budgets.to_spec(),
        new_keys=how.new_keys,
        scope_id=caller.scope_id or (await kernel.jobs.get(job_id)).scope_id,
    )
    return await _told(kernel, await kernel.jobs.get(handle.job_id), request)


@router.post("/jobs/{job_id}/unblock", status_code=202, response_model=schemas.Job)
async def unblock_job(job_id: str, caller: Operating, kernel: TheKernel) -> Response:
    """Have a blocked job tried again."""
    await kernel.unblock(job_id, scope_id=caller.scope_id)
    return await _told(kernel, await kernel.jobs.get(job_id, scope_id=caller.scope_id))


@router.post("/messages", status_code=202)
async def send_message(new: schemas.NewMessage, caller: Operating, kernel: TheKernel) -> schemas.SentMessage:
    """Send a message to whichever job receives under an identity, now or later."""
    scope = caller.acts_in(new.scope_id)
    sent = await kernel.send(new.to, new.message, dedupe_key=new.dedupe_key, scope_id=scope)
    waiting = await kernel.inbox.count(new.to, scope_id=scope)
    return schemas.SentMessage(message_id=sent.message_id, position=sent.position, waiting=waiting)
