"""Jobs as tasks of the protocol (extension `io.modelcontextprotocol/tasks`): looked at, answered and cancelled.

A task is the job itself, so it outlives processes, and any process of the database answers for it.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Final

from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import HEADER_MISMATCH, InputResponses, RequestParams
from pydantic import BaseModel, Field

from agent_runtime.errors import InvalidInput, UnknownJob
from agent_runtime.kernel.handle import ExecutionHandle
from agent_runtime.server.mcp.clients import asks_people, check_knows_tasks
from agent_runtime.server.mcp.progress import is_told, words_for
from agent_runtime.server.mcp.questions import forms_of, take_answers
from agent_runtime.server.mcp.refusals import Context, caller_of, request_of
from agent_runtime.server.mcp.results import result_of
from agent_runtime.server.parts import Service
from agent_runtime.server.questions import open_questions
from agent_runtime.values.job import SUSPENDED, JobRecord, JobStatus

POLL_MS: Final = 1_000
"""After which a client looks again at a job that runs."""
SLOW_POLL_MS: Final = 5_000
"""And at one that waits."""
LOOKED_AT: Final = 10
"""Newest events of a job among which one is told."""
RESULT_SECONDS: Final = 5.0
"""How long a result is looked for that is there, unless the job is retried in this moment."""


class TaskParams(RequestParams):
    """Which task."""

    task_id: str = Field(alias="taskId", max_length=512)


class UpdateParams(TaskParams):
    """Answers to what a task has asked."""

    input_responses: InputResponses = Field(alias="inputResponses")


class Tasks:
    """Answers what clients ask of tasks.

    Args:
        service: Whose jobs they are.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def created(self, handle: ExecutionHandle) -> dict[str, object]:
        """Return what a call gets that takes long. The job is stored, so that whoever looks for it finds it."""
        return {**await self._begun(handle, await handle.job()), "resultType": "task"}

    async def get(self, context: Context, params: TaskParams) -> dict[str, object]:
        """Return how a task stands: with its result, or with what it asks of this caller."""
        handle = self._handle(context, params)
        job = await handle.job()
        told = await self._begun(handle, job)
        if job.status is JobStatus.CANCELLED:
            return {**told, "status": "cancelled"}
        if job.status.is_terminal:
            result = await result_of(handle, RESULT_SECONDS)
            return told if result is None else {**told, "status": "completed", "result": _wire(result)}
        told["statusMessage"] = await self._words_for(job)
        if asks_people(context):
            questions = await open_questions(self._service.kernel, job.job_id, caller_of(context))
            if questions:
                forms = {name: _wire(form) for name, form in (await forms_of(questions, {})).items()}
                return {**told, "status": "input_required", "inputRequests": forms}
        return told

    async def update(self, context: Context, params: UpdateParams) -> dict[str, object]:
        """Take answers. Those to questions that are not open for this caller are nothing."""
        handle, kernel, caller = self._handle(context, params), self._service.kernel, caller_of(context)
        job = await handle.job()
        taken = await take_answers(kernel, job.job_id, params.input_responses, caller)
        if taken.problems:
            raise InvalidInput("; ".join(taken.problems.values()))
        return {}

    async def cancel(self, context: Context, params: TaskParams) -> dict[str, object]:
        """Ask a job to stop; one that has ended stays as it is."""
        await self._handle(context, params).cancel("cancelled by an MCP client")
        return {}

    def _handle(self, context: Context, params: TaskParams) -> ExecutionHandle:
        check_knows_tasks(context)
        named = request_of(context).headers.get(MCP_NAME_HEADER)
        if named is not None and decode_header_value(named) != params.task_id:
            raise MCPError(HEADER_MISMATCH, f"{MCP_NAME_HEADER} does not name the task of the request")
        return self._service.kernel.handle(params.task_id, scope_id=caller_of(context).scope_id)

    async def _words_for(self, job: JobRecord) -> str:
        """Return what is told of a job that is under way."""
        if job.status is JobStatus.BLOCKED:
            return "it cannot go on until somebody has mended something"
        if job.status is JobStatus.WAITING_ACTION:
            return "it waits for a person's answer"
        newest = await self._service.kernel.storage.tail(job.job_id, LOOKED_AT, with_content=False)
        return next((words_for(event) for event in reversed(newest) if is_told(event)), str(job.status))

    async def _begun(self, handle: ExecutionHandle, job: JobRecord) -> dict[str, object]:
        """Return what is told of every task, as of one that is under way. It holds as long as the job is kept."""
        first = job
        if job.job_id != handle.job_id:  # which goes on in its place
            with suppress(UnknownJob):  # pruned
                first = await self._service.kernel.jobs.get(handle.job_id)
        return {
            "taskId": handle.job_id,
            "status": "working",
            "createdAt": _time(first.created_at),
            "lastUpdatedAt": _time(job.updated_at),
            "ttlMs": None,
            "pollIntervalMs": SLOW_POLL_MS if job.status in SUSPENDED else POLL_MS,
        }


def _wire(model: BaseModel) -> dict[str, object]:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
