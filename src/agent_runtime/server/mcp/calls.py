"""`tools/list` and `tools/call`: a call is a job, and waits for its result as long as that is sensible."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ElicitResult,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
    Tool,
)
from starlette.exceptions import HTTPException

from agent_runtime.actions.argument_schema import problems_of
from agent_runtime.errors import AgentRuntimeError, InvalidInput, StorageError, UnknownJob, UnknownOperator
from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.kernel.request import ExecutionRequest
from agent_runtime.server.mcp.clients import asks_people, asks_within_session, knows_tasks
from agent_runtime.server.mcp.config import McpConfig
from agent_runtime.server.mcp.offered import OfferedTool, OfferedTools
from agent_runtime.server.mcp.progress import Report
from agent_runtime.server.mcp.questions import answer, form_of, forms_of, open_questions
from agent_runtime.server.mcp.refusals import Context, caller_of, request_of
from agent_runtime.server.mcp.results import failed, refused
from agent_runtime.server.mcp.tasks import Tasks
from agent_runtime.server.mcp.waiting import Ask, Wait, Waited, Why
from agent_runtime.server.parts import Service
from agent_runtime.values.action import ActionRecord
from llm_client.background import in_background
from llm_client.json_text import JsonObject
from llm_client.public_text import public_text
from llm_client.tools.mcp import OPERATION_ID
from llm_client.turns import read_aside

PAGE: Final = 100
"""Tools in one answer."""
ATTEMPTS: Final = 5
"""How often a client is asked anew within a session whose answers are none."""
MAX_PROBLEM: Final = 500
"""Characters of what was wrong with an answer."""
CALL_NAMES: Final = ("agent-runtime/idempotency-key", OPERATION_ID, "claudecode/toolUseId")
"""Names under which clients say in `_meta` which call this is; a second request with the same one gets the same job. The second is what an
`McpServer` of ours sends, the third what Claude Code does."""

CallResult = CallToolResult | InputRequiredResult | dict[str, object]


class Calls:
    """Answers what clients ask of tools.

    Args:
        service: Whose operators they are.
        config: What is offered and bounded.
        tools: The tools.
        tasks: What a call that takes long becomes.
    """

    def __init__(self, service: Service, config: McpConfig, tools: OfferedTools, tasks: Tasks) -> None:
        self._service = service
        self._config = config
        self._tools = tools
        self._tasks = tasks

    async def list(self, _: Context, params: PaginatedRequestParams) -> ListToolsResult:
        """Return a page of the tools, in the order of their names."""
        tools = list((await self._tools.all()).values())
        after = params.cursor or ""
        page = [tool for tool in tools if tool.name > after][: PAGE + 1]
        shown = page[:PAGE]
        return ListToolsResult(
            tools=[_told(tool) for tool in shown],
            next_cursor=shown[-1].name if len(page) > PAGE else None,
        )

    async def call(self, context: Context, params: CallToolRequestParams) -> CallResult:
        """Submit a job, or go on waiting for it, and return its result, a question, or a task.

        Raises:
            MCPError: There is no such tool.
            HTTPException: Too many calls of this key wait already.
        """
        caller = caller_of(context)
        if not self._service.readers.has_room(caller.name):
            raise HTTPException(429, "too many calls wait already")
        try:
            tool = await self._tools.get(params.name)
        except UnknownOperator as error:
            raise MCPError(INVALID_PARAMS, f"there is no tool {params.name[:200]!r}") from error
        with self._service.readers.one_more(caller.name):
            try:
                if params.request_state is not None:
                    return await self._went_on(context, params, tool)
                key = _key_of(context)
                handle = await self._submitted(context, params, tool, key)
            except StorageError:
                raise
            except AgentRuntimeError as error:  # which a model may read, and do better
                return failed(error)
            return await self._waited(context, handle, is_known=key is not None)

    async def _submitted(
        self, context: Context, params: CallToolRequestParams, tool: OfferedTool, key: str | None
    ) -> ExecutionHandle:
        """Return the job of a call: a new one, or that of the same call before."""
        caller = caller_of(context)
        given = dict(params.arguments or {})
        problems = await read_aside(given, lambda: problems_of(given, tool.input_schema))
        if problems:
            raise InvalidInput(f"the arguments do not match the tool's schema: {'; '.join(problems)}")
        request = ExecutionRequest(
            operator=tool.operator,
            input=given,
            scope_id=caller.acts_in(None),
            principal_id=caller.acts_for(None),
            idempotency_key=key,
            traceparent=_traceparent_of(context),
        )
        return await self._service.kernel.execute(request)

    async def _went_on(
        self, context: Context, params: CallToolRequestParams, tool: OfferedTool
    ) -> CallResult:
        """Take a caller's answers to what its job has asked, and wait for the job again.

        The state that a client brings back is the job's id: it is worth no more than that, which the key's scope decides.
        """
        caller, kernel = caller_of(context), self._service.kernel
        handle = kernel.handle(params.request_state or "", scope_id=caller.scope_id)
        job = await handle.job()
        if job.operator != tool.operator:
            raise UnknownJob("this job is of another tool")
        given, problems = params.input_responses or {}, {}
        for action in await open_questions(kernel, job.job_id, caller):
            said = given.get(action.action_id)
            if not isinstance(said, ElicitResult):
                continue
            if said.action == "cancel":
                return refused(
                    f"job {job.job_id} waits for an answer that was not given", "UNANSWERED", job.job_id
                )
            try:
                await answer(kernel, action, said, caller)
            except InvalidInput as error:  # it is asked again, and told why
                problems[action.action_id] = public_text(str(error), MAX_PROBLEM)
        return await self._waited(context, handle, is_known=True, problems=problems)

    async def _waited(
        self,
        context: Context,
        handle: ExecutionHandle,
        *,
        is_known: bool,
        problems: Mapping[str, str] | None = None,
    ) -> CallResult:
        """Wait for a job.

        Args:
            context: The request.
            handle: The job.
            is_known: Whether the client can come back to it.
            problems: What was wrong with answers, by question.
        """
        tasks = knows_tasks(context)
        wait = Wait(
            self._service,
            handle,
            caller_of(context),
            report=_report_to(context),
            answers=asks_people(context),
            ask=_asking(self._service.kernel, context),
        )
        try:
            waited = await wait.until(self._config.task_after if tasks else self._config.longest_call)
        except asyncio.CancelledError:
            if self._config.cancel_on_leave and not is_known and not self._service.stopping.is_set():
                in_background(
                    handle.cancel("its caller has left"), name="cancelling a job whose caller has left"
                )
            raise
        if waited.result is not None:
            return waited.result
        if tasks and waited.why is not Why.REVOKED:
            return await self._tasks.created(handle)
        return _unfinished(handle, waited, problems or {})


def _told(tool: OfferedTool) -> Tool:
    return Tool(name=tool.name, description=tool.description, input_schema=dict(tool.input_schema))


def _unfinished(handle: ExecutionHandle, waited: Waited, problems: Mapping[str, str]) -> CallResult:
    """Return what a client is told that knows nothing of tasks, of a job that has not ended."""
    job_id = handle.job_id
    match waited.why:
        case Why.ASKED:
            return InputRequiredResult(
                input_requests=forms_of(waited.questions, problems), request_state=job_id
            )
        case Why.BLOCKED:
            return refused(
                f"job {job_id} cannot go on until somebody has mended something", "JOB_BLOCKED", job_id
            )
        case Why.REVOKED:
            return refused("the key of this call holds no more", "UNAUTHORIZED")
        case Why.STOPPING:
            return refused(f"the service ends; job {job_id} goes on", "UNFINISHED", job_id)
    return refused(f"job {job_id} takes longer than a call may wait; it goes on", "UNFINISHED", job_id)


def _asking(kernel: Kernel, context: Context) -> Ask | None:
    """Return what has the client of a session ask its person, if it can."""
    if not asks_within_session(context):
        return None

    async def ask(action: ActionRecord) -> None:
        problem: str | None = None
        for _ in range(ATTEMPTS):
            form = form_of(action, problem)
            said = await context.session.elicit_form(
                form.message, form.requested_schema, related_request_id=context.request_id
            )
            try:
                await answer(kernel, action, said, caller_of(context))
            except InvalidInput as error:
                problem = public_text(str(error), MAX_PROBLEM)
            else:
                return

    return ask


def _meta_of(context: Context) -> JsonObject:
    meta = (context.params or {}).get("_meta")
    return meta if isinstance(meta, Mapping) else {}


def _key_of(context: Context) -> str | None:
    """Return the idempotency key of a call, where its client says which one it is."""
    meta = _meta_of(context)
    for name in CALL_NAMES:
        said = meta.get(name)
        if isinstance(said, str) and said:
            return f"mcp:{sha256(said.encode('utf-8', 'replace')).hexdigest()}"
    return None


def _traceparent_of(context: Context) -> str | None:
    """Return the trace of a call: that of the message counts more than that of the request which brought it."""
    said = _meta_of(context).get("traceparent")
    if isinstance(said, str):
        return said
    return request_of(context).headers.get("traceparent")


def _report_to(context: Context) -> Report | None:
    """Return what tells a client of progress, if it has asked for that."""
    if _meta_of(context).get("progressToken") is None:
        return None

    async def report(count: float, words: str) -> None:
        await context.session.report_progress(count, message=words)

    return report
