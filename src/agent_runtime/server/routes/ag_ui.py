"""`/v1/ag-ui/{operator}`: a job as a run of AG-UI, for pages that speak it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from fastapi.sse import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from agent_runtime.server.access import Operating
from agent_runtime.server.ag_ui.given import Run, RunAgentInput
from agent_runtime.server.ag_ui.running import Followed, Running
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.parts import TheService
from agent_runtime.server.routes.jobs import ScopeParameter
from agent_runtime.server.streams import stream
from agent_runtime.values.api_key import Permission
from llm_client.turns import aside

router = APIRouter(prefix="/v1/ag-ui", tags=["AG-UI"], route_class=JsonRoute)


@router.post(
    "/{operator}",
    response_class=StreamingResponse,
    response_model=None,
    responses={200: {"content": {EventSourceResponse.media_type: {}}}},
)
async def run_agent(
    operator: Annotated[str, Path(max_length=512, description="Its name; `agent` is the default agent.")],
    given: RunAgentInput,
    caller: Operating,
    service: TheService,
    scope_id: ScopeParameter = None,
    traceparent: Annotated[
        str | None, Header(description="The caller's trace, which the job's goes on (W3C Trace Context).")
    ] = None,
) -> Response:
    """Submit a job, and stream it as a run of AG-UI 1.0: texts, thoughts, calls of tools, steps, and the end.

    A second request with the same `threadId` and `runId` follows the same job, from its beginning. Leaving stops nothing. A job that
    waits for an answer that the caller may give ends the run with an `interrupt`; `resume` in another run gives it, which takes the
    permission to approve, and the job goes on.
    """
    run = await aside(Run, operator, given)
    scope = caller.sees(scope_id)
    followed = None
    if given.resume:
        if not caller.role.allows(Permission.APPROVE):
            raise HTTPException(403, f"the role {caller.role} may not answer: leave resume out")
    else:
        request = await aside(run.request, caller, scope_id, traceparent)
        followed = Followed((await service.kernel.execute(request)).job_id)
    return stream(service, caller, Running(service, caller, scope, run).frames(followed), end=b"")
