"""Calls of MCP whose clients leave, in whichever moment, and those that wait while the storage is away: one job each, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp_types import ElicitResult

from agent_runtime import JobStatus, OperatorContext, Role, RuntimeKernel, StorageError
from agent_runtime.storage.memory import MemoryStorage
from support.hooked_storage import HookedStorage
from support.kernels import QUICK, opened, status_becomes, until
from support.mcp_clients import Tasks, job_of, mcp_client
from support.mcp_scene import CONFIRM, HEADERS, INITIALIZE, OPERATORS, ask, call_of, serving
from support.service import BOUND, Service


async def the_job(service: Service, *statuses: str) -> Any:
    """Return the only job, once it stands so."""

    async def there() -> Any:
        jobs = await service.kernel.jobs.list()
        return jobs if jobs and (not statuses or jobs[0].status in statuses) else None

    (job,) = await until(there)
    return job


def nobody_waits(service: Service) -> Callable[[], Awaitable[bool]]:
    async def none() -> bool:
        return not len(service.app.state.service.readers)

    return none


async def session_of(client: httpx2.AsyncClient) -> dict[str, str]:
    """Open a session, and return what its requests say."""
    opened_one = await client.post("/mcp", json=INITIALIZE)
    return {"Mcp-Session-Id": opened_one.headers["mcp-session-id"], "Mcp-Protocol-Version": "2025-11-25"}


@pytest.mark.parametrize("goes_on", [False, True])
async def test_within_a_session_a_closed_connection_is_heard(goes_on: bool) -> None:
    async with (
        serving(sessions=True, cancel_on_leave=not goes_on) as service,
        service.client(await service.key(), **HEADERS) as client,
    ):
        session = await session_of(client)
        calling = asyncio.ensure_future(client.post("/mcp", json=call_of("wait"), headers=session))
        job = await the_job(service, "sleeping")
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)

        await until(nobody_waits(service))
        await status_becomes(service.kernel.handle(job.job_id), "sleeping" if goes_on else "cancelled")


async def test_a_client_that_leaves_while_its_job_is_stored_leaves_no_job_that_runs() -> None:
    storing, stored = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        storing.set()
        await stored.wait()

    storage: Any = HookedStorage(MemoryStorage(), lambda commit: bool(commit.create), hold)
    kernel = RuntimeKernel(storage=storage, operators=OPERATORS, options=QUICK)
    async with (
        serving(kernel) as service,
        service.client(await service.key(), **HEADERS) as client,
    ):
        calling = asyncio.ensure_future(client.post("/mcp", json=call_of("wait")))
        async with asyncio.timeout(BOUND):
            await storing.wait()
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        await until(nobody_waits(service))
        stored.set()

        job = await the_job(service)
        await status_becomes(kernel.handle(job.job_id), "cancelled")


async def test_a_client_that_leaves_before_its_message_is_whole_is_no_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as service:
        key = await service.key()
        host, port = service.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = [f"Host: {host}:{port}", f"Authorization: Bearer {key}", "Content-Length: 100"]
        head += [f"{name}: {value}" for name, value in HEADERS.items()]
        writer.write("\r\n".join(["POST /mcp HTTP/1.1", *head, "", '{"jsonrpc"']).encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with mcp_client(service, Role.OPERATOR) as client:
            await client.call_tool("count", {})
    assert not caplog.records


class Away(MemoryStorage):
    """A storage that can be away for readers."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.asked = asyncio.Event()

    def _check(self) -> None:
        if self.is_away:
            self.asked.set()
            raise StorageError("the database is away")

    async def part_of_actions(self, **wanted: Any) -> Any:
        self._check()
        return await super().part_of_actions(**wanted)


async def test_a_call_outlives_a_storage_that_is_away_for_a_moment() -> None:
    storage = Away()
    kernel = RuntimeKernel(storage=storage, operators=OPERATORS, options=QUICK)

    def person(_: str) -> ElicitResult:
        return ElicitResult(action="accept", content={"confirmed": True})

    async with serving(kernel) as service, mcp_client(service, person=person) as client:
        storage.is_away = True
        calling = asyncio.ensure_future(client.call_tool("ask", CONFIRM))
        async with asyncio.timeout(BOUND):
            await storage.asked.wait()
        storage.is_away = False

        result = await calling
        assert result.structured_content == {"approved": True, "confirmed": True}
        assert len(await kernel.jobs.list()) == 1


async def late(context: OperatorContext, given: Any) -> Any:
    await context.sleep(0.2)
    return await ask(context, CONFIRM)


async def test_a_question_is_told_of_a_job_that_another_process_executes(
    tmp_path: Path, database: str
) -> None:
    async with opened(database, tmp_path) as storage:
        executing = RuntimeKernel(storage=storage, operators={"late": late}, options=QUICK)
        serving_one = RuntimeKernel(storage=storage, operators={"late": late}, options=QUICK, worker=False)

        def person(_: str) -> ElicitResult:
            return ElicitResult(action="accept", content={"confirmed": True})

        async with (
            executing,
            serving(serving_one, task_after=0.05) as service,
            mcp_client(service, person=person) as client,
            mcp_client(service, tasks=Tasks(), person=person) as other,
        ):
            result = await client.call_tool("late", {})
            assert result.structured_content == {"approved": True, "confirmed": True}
            calling = asyncio.ensure_future(other.call_tool("late", {"again": True}))

            async def asked() -> Any:
                return await serving_one.actions.list_pending()

            (action,) = await until(asked)
            await serving_one.actions.resolve_by_id(action.action_id, {"confirmed": False})
            answered = await calling
            assert answered.structured_content == {"approved": False, "confirmed": False}
            job = await serving_one.jobs.get(job_of(answered))
            assert job.status is JobStatus.SUCCEEDED
