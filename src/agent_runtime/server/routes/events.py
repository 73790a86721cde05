"""`/v1/jobs/…/events` and `/v1/events`: a job's journal, in pages and as a stream, and the journals of many in one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from agent_runtime.client import models as schemas
from agent_runtime.client.models import Page
from agent_runtime.errors import InvalidInput
from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.server.access import FROM_ELSEWHERE, Caller, Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.frames import GAP_FRAME, Frames
from agent_runtime.server.pages import Limit, page_of
from agent_runtime.server.parts import Service, TheService
from agent_runtime.server.routes.jobs import ScopeParameter
from agent_runtime.server.streams import stream
from agent_runtime.values.api_key import Permission
from agent_runtime.values.checks import MAX_COUNT
from agent_runtime.values.event import RuntimeEvent
from llm_client.background import in_background

router = APIRouter(prefix="/v1", tags=["events"], route_class=JsonRoute)

PASSED: Final = 500
"""Events of others after which a reader is told its place, so that it does not come back to one that is long gone."""
MAX_JOBS: Final = 100
"""Jobs, or types, that a reader of many names."""
MAX_EVENT_BYTES: Final = 200 * 1024
"""Of a page of events, unless its first one alone has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """How a stream of events is asked for, and where it goes on."""

    is_asked_for: bool
    named: bool
    last_event_id: str | None
    cancels: bool

    def last_seq(self, after_seq: int) -> int:
        """Return the last event that a reader knows: what its connection says that was lost counts more than its address."""
        return after_seq if self.last_event_id is None else number_in(self.last_event_id)

    def on_leave(self, caller: Caller, handle: ExecutionHandle) -> Callable[[], None] | None:
        """Return what happens when the reader leaves. Raises `HTTPException` for one who may not stop a job."""
        if not self.cancels:
            return None
        if caller.only_reads:
            raise HTTPException(403, FROM_ELSEWHERE)
        if not caller.role.allows(Permission.OPERATE):
            raise HTTPException(403, f"the role {caller.role} may not stop jobs: leave cancel_on_leave out")
        return lambda: _cancel_soon(handle)


async def following(
    accept: Annotated[str | None, Header(description="`text/event-stream` for a stream.")] = None,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last frame that a stream has brought.")
    ] = None,
    named: Annotated[
        bool, Query(description="Whether frames of a stream are named after the types of events.")
    ] = True,
    cancel_on_leave: Annotated[
        bool, Query(description="Cancel the job when this reader leaves a stream before the end.")
    ] = False,
) -> Following:
    """Return how a request asks for a stream."""
    return Following(
        is_asked_for=EventSourceResponse.media_type in (accept or ""),
        named=named,
        last_event_id=last_event_id,
        cancels=cancel_on_leave,
    )


def number_in(last_event_id: str) -> int:
    """Return the place that the id of a frame names. Raises `InvalidInput`."""
    if not last_event_id.isascii() or not last_event_id.isdigit():
        raise InvalidInput("Last-Event-ID is the id of a frame: a number")
    return min(int(last_event_id[:19]), MAX_COUNT)


def _cancel_soon(handle: ExecutionHandle) -> None:
    in_background(handle.cancel("its reader has left"), name="cancelling a job whose reader has left")


@router.get(
    "/jobs/{job_id}/events",
    responses={200: {"model": Page[schemas.Event], "content": {EventSourceResponse.media_type: {}}}},
    response_model=None,
)
async def list_events(
    job_id: str,
    caller: Reader,
    service: TheService,
    how: Annotated[Following, Depends(following)],
    after_seq: Annotated[
        int, Query(ge=0, le=MAX_COUNT, description="`seq` of the last event that is known.")
    ] = 0,
    limit: Limit = 100,
    content: Annotated[bool, Query(description="With messages, arguments and results.")] = False,
) -> Response:
    """Return entries of a job's journal, in order: a page of 200 KB at most, or one entry.

    With `Accept: text/event-stream` the answer is a stream of server-sent events instead: all entries from `after_seq` on, then what
    happens, until the job has ended; a last frame `end` says so. Ids of frames are `seq`, so that a browser goes on where it was. In
    between come `model.token` frames without an id, with the text that a model writes now, and `model.partial` with all that has come of
    an answer, for whoever joins in the middle of it. A job that goes on as another one ends with `data.continued_as`, and one that is retried has a
    `successor_id`: go on with that one's events. Leaving never stops the job, unless `cancel_on_leave` asks for that.
    """
    kernel = service.kernel
    job = await kernel.jobs.get(job_id, scope_id=caller.scope_id)
    if how.is_asked_for:
        handle = kernel.handle(job_id, scope_id=caller.scope_id)
        frames = _frames(handle, service.frames, how.last_seq(after_seq), content=content, named=how.named)
        return stream(service, caller, frames, how.on_leave(caller, handle))
    found = await kernel.storage.events(
        job_id, after_seq=after_seq, limit=limit, max_bytes=MAX_EVENT_BYTES, with_content=content
    )
    return await page_of(
        found,
        lambda event: schemas.Event.of(event, content=content),
        lambda event: str(event.seq),
        has_more=bool(found) and (found[-1].seq or 0) < job.last_seq,
        max_bytes=MAX_EVENT_BYTES,
    )


async def _frames(
    handle: ExecutionHandle, made: Frames, after_seq: int, *, content: bool, named: bool
) -> AsyncGenerator[bytes, None]:
    async with aclosing(handle.events(after_seq, partials=True, with_content=content)) as events:
        async for event in events:
            yield await made.of(event, content=content, named=named)


@router.get(
    "/events",
    response_class=StreamingResponse,
    response_model=None,
    responses={200: {"content": {EventSourceResponse.media_type: {"schema": {"type": "string"}}}}},
)
async def stream_all_events(
    caller: Reader,
    service: TheService,
    scope_id: ScopeParameter = None,
    job_id: Annotated[
        list[str] | None, Query(max_length=MAX_JOBS, description="Only these jobs'; may be repeated.")
    ] = None,
    type: Annotated[  # noqa: A002 -- the name of the field
        list[str] | None,
        Query(
            max_length=MAX_JOBS,
            description="Only these types, or families of them, such as `job` or `action`; may be repeated.",
        ),
    ] = None,
    after: Annotated[
        int | None, Query(ge=0, le=MAX_COUNT, description="Position of the last event that is known.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last frame that a stream has brought.")
    ] = None,
    named: Annotated[bool, Query(description="Whether frames are named after the types of events.")] = True,
) -> Response:
    """Stream the events of many jobs in one line, as server-sent events: what is written from now on, or after a position.

    Ids of frames are positions in that line; a browser that comes back goes on where it was. A reader who was away for too long is told so
    with a frame `gap`. The text that models write is in the streams of single jobs.
    """
    known = after if last_event_id is None else number_in(last_event_id)
    wanted = _Wanted(caller.sees(scope_id), frozenset(job_id or ()), frozenset(type or ()))
    return stream(service, caller, _line(service, known, wanted, named=named))


class _Wanted(NamedTuple):
    """Which events a reader of many jobs wants."""

    scope_id: str | None
    job_ids: frozenset[str]
    types: frozenset[str]

    def __call__(self, event: RuntimeEvent) -> bool:
        return (
            self.scope_id in (None, event.scope_id)
            and (not self.job_ids or event.job_id in self.job_ids)
            and (not self.types or event.type in self.types or event.type.partition(".")[0] in self.types)
        )


async def _line(
    service: Service, after: int | None, wanted: _Wanted, *, named: bool
) -> AsyncGenerator[bytes, None]:
    position = await service.kernel.storage.feed_end() if after is None else after
    yield format_sse_event(id=str(position))  # who is told nothing yet comes back to this place as well
    passed = 0
    async with aclosing(service.tail.follow(position)) as entries:
        async for entry in entries:
            if entry is None:
                yield GAP_FRAME
            elif wanted(entry.event):
                passed = 0
                yield await service.frames.of(
                    entry.event, content=False, named=named, id_=str(entry.position)
                )
            elif (passed := passed + 1) >= PASSED:
                passed = 0
                yield format_sse_event(id=str(entry.position))
