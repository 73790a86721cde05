"""`tools/list` and `tools/call`: a call is a job, and waits for its result as long as that is sensible."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Final

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
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
from agent_runtime.server.mcp.questions import answer, form_of, forms_of, problem_of, take_answers
from agent_runtime.server.mcp.refusals import Context, caller_of, left_of, request_of
from agent_runtime.server.mcp.results import failed, refused
from agent_runtime.server.mcp.tasks import Tasks
from agent_runtime.server.mcp.waiting import Ask, Wait, Waited, Why
from agent_runtime.server.parts import Service
from agent_runtime.values.action import ActionRecord
from llm_client.background import in_background
from llm_client.errors import ConfigurationError
from llm_client.json_text import JsonObject
from llm_client.tools.mcp import OPERATION_ID
from llm_client.turns import read_aside

PAGE: Final = 100
"""Tools in one answer."""
ATTEMPTS: Final = 5
"""How often a client is asked anew within a session whose answers are none."""
CALL_NAMES: Final = ("agent-runtime/idempotency-key", OPERATION_ID, "claudecode/toolUseId")
"""Names under which clients say in `_meta` which call this is; a second request with the same one gets the same job. The second is what an
`McpServer` of ours sends, the third what Claude Code does."""

CallResult = CallToolResult | InputRequiredResult | dict[str, object]
Submitted = ExecutionHandle | AgentRuntimeError | ConfigurationError


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
        with self._service.readers.one_more(caller.name):
            try:
                tool = await self._tools.get(params.name)
            except UnknownOperator as error:
                raise MCPError(INVALID_PARAMS, f"there is no tool {params.name[:200]!r}") from error
            try:
                if params.request_state is not None:
                    return await self._went_on(context, params, tool)
                return await self._made(context, params, tool)
            except StorageError:
                raise
            except AgentRuntimeError as error:  # which a model may read, and do better
                return failed(error)

    async def _made(self, context: Context, params: CallToolRequestParams, tool: OfferedTool) -> CallResult:
        """Submit a job and wait for it. It is cancelled when its caller leaves and cannot come back to it, in whichever moment."""
        key = _key_of(context)
        request = await self._request_of(context, params, tool, key)
        submitting = in_background(self._submitted(request), name="submitting the job of a call")
        try:
            handle = await asyncio.shield(submitting)
            if not isinstance(handle, ExecutionHandle):
                raise handle
            waited = await self._waited(context, handle)
        except asyncio.CancelledError:
            self._left(submitting, is_known=key is not None)
            raise
        if waited is None:
            self._left(submitting, is_known=key is not None)
        return waited or _gone()

    def _left(self, submitting: asyncio.Task[Submitted], *, is_known: bool) -> None:
        """Cancel a job whose caller has left, unless it is to go on, or the process ends."""
        if self._config.cancel_on_leave and not is_known and not self._service.stopping.is_set():
            in_background(_cancelled(submitting), name="cancelling a job whose caller has left")

    async def _request_of(
        self, context: Context, params: CallToolRequestParams, tool: OfferedTool, key: str | None
    ) -> ExecutionRequest:
        """Return what a call asks for. Raises `InvalidInput` for arguments that do not fit."""
        caller = caller_of(context)
        given = dict(params.arguments or {})
        problems = await read_aside(given, lambda: problems_of(given, tool.input_schema))
        if problems:
            raise InvalidInput(f"the arguments do not match the tool's schema: {'; '.join(problems)}")
        return ExecutionRequest(
            operator=tool.operator,
            input=given,
            scope_id=caller.acts_in(None),
            principal_id=caller.acts_for(None),
            idempotency_key=key,
            traceparent=_traceparent_of(context),
        )

    async def _submitted(self, request: ExecutionRequest) -> Submitted:
        """Return the job of a call – a new one, or that of the same call before – or why there is none."""
        try:
            return await self._service.kernel.execute(request)
        except (AgentRuntimeError, ConfigurationError) as error:
            return error

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
        taken = await take_answers(kernel, job.job_id, params.input_responses or {}, caller)
        if taken.dismissed:
            return refused(
                f"job {job.job_id} waits for an answer that was not given", "UNANSWERED", job.job_id
            )
        # What was no answer is asked again, and told why.
        return await self._waited(context, handle, problems=taken.problems) or _gone()

    async def _waited(
        self, context: Context, handle: ExecutionHandle, *, problems: Mapping[str, str] | None = None
    ) -> CallResult | None:
        """Wait for a job; `None` when nobody does any more.

        Args:
            context: The request.
            handle: The job.
            problems: What was wrong with answers, by question.
        """
        tasks = knows_tasks(context)
        wait = Wait(
            self._service,
            handle,
            caller_of(context),
            left=left_of(context),
            report=_report_to(context),
            answers=asks_people(context),
            ask=_asking(self._service.kernel, context),
        )
        waited = await wait.until(self._config.task_after if tasks else self._config.longest_call)
        if waited.why is Why.LEFT:
            return None
        if waited.result is not None:
            return waited.result
        if tasks and waited.why is not Why.REVOKED:
            with suppress(StorageError):  # which is away just now; then the client is told of the job
                return await self._tasks.created(handle)
        return await _unfinished(handle, waited, problems or {})


async def _cancelled(submitting: asyncio.Task[Submitted]) -> None:
    """Cancel a job, once it is there."""
    submitted = await submitting
    if isinstance(submitted, ExecutionHandle):
        await submitted.cancel("its caller has left")


def _gone() -> CallToolResult:
    """Return what nobody hears any more."""
    return refused("its caller has left", "LEFT")


def _told(tool: OfferedTool) -> Tool:
    return Tool(name=tool.name, description=tool.description, input_schema=dict(tool.input_schema))


async def _unfinished(handle: ExecutionHandle, waited: Waited, problems: Mapping[str, str]) -> CallResult:
    """Return what a client is told that knows nothing of tasks, of a job that has not ended."""
    job_id = handle.job_id
    match waited.why:
        case Why.ASKED:
            return InputRequiredResult(
                input_requests=await forms_of(waited.questions, problems), request_state=job_id
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
                problem = problem_of(error)
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
