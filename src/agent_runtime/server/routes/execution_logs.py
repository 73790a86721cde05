"""`/execution-logs`: what agents did and models were asked, as rows: lists with true totals, one execution's texts, sums."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel

from agent_runtime.client import log_models as log_schemas
from agent_runtime.client.log_models import LogStatus
from agent_runtime.errors import UnknownExecution
from agent_runtime.observability import ExecutionLog, LogPage
from agent_runtime.observability.deleting import delete_logs
from agent_runtime.server.access import Administering, Reader
from agent_runtime.server.bodies import JsonRoute
from agent_runtime.server.pages import MAX_PAGE
from agent_runtime.server.parts import TheService
from agent_runtime.server.routes.jobs import ScopeParameter
from llm_client.turns import aside

router = APIRouter(prefix="/execution-logs", tags=["execution-logs"], route_class=JsonRoute)

MAX_OFFSET: Final = 100_000
"""Who wants to go further asks for a period."""
MAX_BYTES: Final = 200 * 1024
"""Of one execution's rows with their texts, unless the first one alone has more."""

Since = Annotated[AwareDatetime | None, Query(description="Begun at this moment or later.")]
Until = Annotated[AwareDatetime | None, Query(description="Begun before this moment.")]
Status = Annotated[LogStatus | None, Query(description="Only those that stand so.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows of an answer.")]
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="Rows to leave out.")]


@router.get("/executions", responses={200: {"model": log_schemas.ExecutionLogs}}, response_model=None)
async def list_executions(
    caller: Reader,
    service: TheService,
    scope_id: ScopeParameter = None,
    report_id: str | None = None,
    agent_type: str | None = None,
    execution_step: Annotated[
        str | None,
        Query(description="Of jobs `run`, `step` or `tool`; of what is logged by hand, as it says."),
    ] = None,
    action_type: str | None = None,
    status: Status = None,
    external_platform: str | None = None,
    start_date: Since = None,
    end_date: Until = None,
    limit: Limit = 50,
    offset: Offset = 0,
    include_llm_calls: Annotated[
        bool, Query(description="With the model calls that belong to them.")
    ] = False,
) -> Response:
    """List what agents did, the newest first, without its texts: those of one execution are read by its id."""
    store = await service.logs.store()
    page = await store.page_of_executions(
        scope_id=caller.sees(scope_id),
        report_id=report_id,
        agent_type=agent_type,
        execution_step=execution_step,
        action_type=action_type,
        status=status,
        external_platform=external_platform,
        start_date=start_date,
        end_date=end_date,
        limit=limit,
        offset=offset,
        include_llm_calls=include_llm_calls,
    )
    return await aside(_executions, page, limit, offset, include_llm_calls)


def _executions(page: LogPage[ExecutionLog], limit: int, offset: int, with_calls: bool) -> Response:
    counts = page.call_counts if with_calls else None
    shown = [
        log_schemas.LoggedExecution.of(one, None if counts is None else counts[one.id]) for one in page.rows
    ]
    return _json(log_schemas.ExecutionLogs(executions=shown, total=page.total, limit=limit, offset=offset))


@router.get(
    "/executions/{execution_id}", responses={200: {"model": log_schemas.LogsOfExecution}}, response_model=None
)
async def get_execution(
    execution_id: str,
    caller: Reader,
    service: TheService,
    scope_id: ScopeParameter = None,
    include_llm_calls: Annotated[bool, Query(description="With the model calls that belong to it.")] = True,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Return what is logged of an execution, such as a job, with its texts, in the order it began: 200 KB at most, or one row.

    `next_offset` says where the rest begins. The id of a row stands for its execution.
    """
    store = await service.logs.store()
    page = await store.page_of_execution(
        execution_id,
        scope_id=caller.sees(scope_id),
        include_llm_calls=include_llm_calls,
        limit=limit,
        offset=offset,
    )
    if page.total == 0:
        raise UnknownExecution(f"nothing is logged of an execution {execution_id!r}")
    return await aside(_execution, page, execution_id, limit, offset, include_llm_calls)


def _execution(
    page: LogPage[ExecutionLog], execution_id: str, limit: int, offset: int, with_calls: bool
) -> Response:
    shown: list[log_schemas.LoggedExecutionWithTexts] = []
    size = 0
    for one in page.rows:
        told = log_schemas.LoggedExecutionWithTexts.of(one, page.call_counts[one.id] if with_calls else None)
        size += len(told.model_dump_json().encode())
        if shown and size > MAX_BYTES:
            break
        shown.append(told)
    after = offset + len(shown)
    return _json(
        log_schemas.LogsOfExecution(
            execution_id=page.rows[0].execution_id if page.rows else execution_id,
            executions=shown,
            total=page.total,
            limit=limit,
            offset=offset,
            next_offset=after if after < page.total else None,
        )
    )


@router.get("/llm-calls", responses={200: {"model": log_schemas.LLMCallLogs}}, response_model=None)
async def list_llm_calls(
    caller: Reader,
    service: TheService,
    scope_id: ScopeParameter = None,
    provider: str | None = None,
    model_id: Annotated[str | None, Query(description="A model's name, or `provider:model`.")] = None,
    call_type: Annotated[
        str | None, Query(description="`inference`, `inference_stream` or `embedding`.")
    ] = None,
    status: Status = None,
    report_id: str | None = None,
    execution_log_id: Annotated[
        str | None, Query(description="The row of the execution that they belong to.")
    ] = None,
    start_date: Since = None,
    end_date: Until = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Response:
    """List model calls, the newest first, without their texts."""
    store = await service.logs.store()
    page = await store.page_of_llm_calls(
        scope_id=caller.sees(scope_id),
        provider=provider,
        model_id=model_id,
        call_type=call_type,
        status=status,
        report_id=report_id,
        execution_log_id=execution_log_id,
        start_date=start_date,
        end_date=end_date,
        limit=limit,
        offset=offset,
    )

    def shown() -> Response:
        calls = list(map(log_schemas.LoggedCall.of, page.rows))
        return _json(log_schemas.LLMCallLogs(llm_calls=calls, total=page.total, limit=limit, offset=offset))

    return await aside(shown)


@router.get(
    "/llm-calls/{call_id}", responses={200: {"model": log_schemas.LoggedCallWithTexts}}, response_model=None
)
async def get_llm_call(
    call_id: str,
    caller: Reader,
    service: TheService,
    scope_id: ScopeParameter = None,
    whole: Annotated[bool, Query(description="All of its texts, however long they are.")] = False,
) -> Response:
    """Return a model call with what was asked, put together from all that its conversation has said before, and answered.

    Of a text with more than 200,000 characters the middle is left out, unless all is asked for; `left_out` names what is not whole.
    """
    store = await service.logs.store()
    call = await store.llm_call(call_id, scope_id=caller.sees(scope_id))
    if call is None:
        raise UnknownExecution("no model call is logged under this id")
    make = log_schemas.LoggedCallWithTexts.of if whole else log_schemas.LoggedCallWithTexts.cut
    return await aside(lambda: _json(make(call)))


@router.get("/analytics/summary")
async def get_summary(
    caller: Reader,
    service: TheService,
    scope_id: ScopeParameter = None,
    start_date: Annotated[
        AwareDatetime | None, Query(description="30 days before the end by default.")
    ] = None,
    end_date: Annotated[AwareDatetime | None, Query(description="Now by default.")] = None,
    report_id: Annotated[
        str | None, Query(description="This is added up from the rows, not from sums that are kept.")
    ] = None,
) -> log_schemas.AnalyticsSummary:
    """Add executions and model calls of a period up. Costs are those of calls that have a price."""
    store = await service.logs.store()
    async with service.long_read(caller.name):
        found = await store.summary(
            start_date=start_date,
            end_date=end_date or service.kernel.clock.now(),
            report_id=report_id,
            scope_id=caller.sees(scope_id),
        )
    return log_schemas.AnalyticsSummary.model_validate(found)


@router.delete("/executions/{execution_id}")
async def delete_execution(
    execution_id: str, caller: Administering, service: TheService, scope_id: ScopeParameter = None
) -> log_schemas.DeletedLogs:
    """Delete all that is logged of an execution. A job and its journal stay; the trail of the scope says who has deleted what."""
    store = await service.logs.store()
    storage = service.kernel.storage
    gone = await delete_logs(store, storage, execution_id, scope_id=caller.sees(scope_id), by=caller.person)
    return log_schemas.DeletedLogs(execution_id=execution_id, **gone._asdict())


def _json(answer: BaseModel) -> Response:
    """Return an answer that is written here, aside: some hundred rows take longer than others may be kept waiting."""
    return Response(answer.model_dump_json(), media_type="application/json")
