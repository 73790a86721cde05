"""Clients of MCP servers as the official SDK has them, with keys, people who answer, and what the SDK leaves to others: tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ElicitRequestParams, ElicitResult, Request, Result
from pydantic import ConfigDict, Field

from agent_runtime import Role
from support.service import BOUND, Service

TASKS = "io.modelcontextprotocol/tasks"


class CreatedTask(Result):
    """What a call gets that takes long."""

    model_config = ConfigDict(extra="allow")

    result_type: Literal["task"] = Field(default="task", alias="resultType")
    task_id: str = Field(alias="taskId")


class Anything(Result):
    """A result as it came."""

    model_config = ConfigDict(extra="allow")


class TaskRequest(Request[dict[str, Any], str]):
    """`tasks/…`, with the header that names the task."""

    name_param = "taskId"


class Tasks(ClientExtension):
    """Takes tasks for results, and looks at each until it has ended."""

    identifier = TASKS

    def __init__(self) -> None:
        self.seen: list[Mapping[str, Any]] = []
        """How the last one stood, each time it was looked at."""

    def claims(self) -> Sequence[ResultClaim[Any]]:
        """Claim `resultType: task`."""
        return [ResultClaim(result_type="task", model=CreatedTask, resolve=self._resolve)]

    async def _resolve(self, created: CreatedTask, context: ClaimContext) -> CallToolResult:
        async with asyncio.timeout(BOUND):
            while True:
                self.seen.append(await task(context.session, "get", created.task_id))
                if self.seen[-1]["status"] not in ("working", "input_required"):
                    return CallToolResult.model_validate(self.seen[-1].get("result", {"content": []}))
                await asyncio.sleep(0.01)


async def task(session: ClientSession, verb: str, task_id: str, **more: Any) -> Mapping[str, Any]:
    """Ask something of a task."""
    request = TaskRequest(method=f"tasks/{verb}", params={"taskId": task_id, **more})
    told = await session.send_request(request, Anything)
    return told.model_dump(by_alias=True)


async def created(client: Client, tool: str, **arguments: Any) -> str:
    """Call a tool that takes long, and return the id of its task."""
    result: Any = await client.session.call_tool(tool, arguments, allow_claimed=True)
    assert isinstance(result, CreatedTask), result
    return result.task_id


Person = Callable[[str], ElicitResult]
"""Reads a question and answers it."""


@asynccontextmanager
async def mcp_client(
    service: Service,
    role: Role = Role.ADMIN,
    *,
    mode: str = "auto",
    person: Person | None = None,
    tasks: Tasks | None = None,
    key: str | None = None,
    **of_key: Any,
) -> AsyncIterator[Client]:
    """Give a client with a key."""
    key = key or await service.key(role, **of_key)

    async def ask(_: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert person is not None
        return person(params.message)

    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=BOUND) as http,
        Client(
            streamable_http_client(f"{service.url}/mcp", http_client=http),
            mode=mode,  # type: ignore[arg-type]  -- one of its words
            elicitation_callback=None if person is None else ask,
            extensions=None if tasks is None else [tasks],
        ) as client,
    ):
        yield client


def text_of(result: CallToolResult) -> str:
    """Return the text of a result."""
    return "".join(getattr(part, "text", "") for part in result.content)


def job_of(result: CallToolResult) -> str:
    """Return the job that a result is of."""
    job_id = (result.meta or {})["agent-runtime/job-id"]
    assert isinstance(job_id, str)
    return job_id
