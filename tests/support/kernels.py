"""Kernels for tests: quick to suspend, quick to stop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent_runtime import ExecutionHandle, ExecutionResult, KernelOptions, RuntimeEvent, RuntimeKernel
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from agent_runtime.values.budget import run_budget_id

QUICK = KernelOptions(
    suspend_after=0.01,
    drain_timeout=2.0,
    cancel_timeout=0.5,
    sweep_interval=0.2,
    projection_interval=0.02,
    storage_patience=0.2,
    reservation_wait=0.5,
    unlisted_after=0.1,
)
DOOMED = replace(QUICK, drain_timeout=0.0, cancel_timeout=0.05)
"""For kernels whose storage dies: there is nothing to wait for."""
BOUND = 20.0
"""Seconds after which a test that waits has failed."""


def run_key(job_id: str, scope_id: str = "default") -> tuple[str, str]:
    """Return the key of the counters of a run's own budget."""
    return run_budget_id(scope_id, job_id), ""


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[Storage]:
    """Open a storage for one test: `memory`, `sqlite`, or the address of a Postgres database."""
    storage: Storage = MemoryStorage()
    if kind != "memory":
        is_file = kind == "sqlite"
        storage = (
            SQLiteStorage(folder / "runs.db", durability="process") if is_file else PostgresStorage(kind)
        )
    await storage.open()
    try:
        yield storage
    finally:
        await storage.aclose()


def kernel(storage: Any = None, **options: Any) -> RuntimeKernel:
    """Build a kernel with quick options."""
    return RuntimeKernel(storage=storage, **{"options": QUICK, **options})


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until a condition holds, and return what it gave."""
    async with asyncio.timeout(BOUND):
        while not (value := await condition()):
            await asyncio.sleep(0.005)
        return value


async def status_becomes(handle: ExecutionHandle, *statuses: str) -> None:
    """Wait until a job has one of these statuses."""

    async def reached() -> bool:
        return await handle.status() in statuses

    await until(reached)


async def resumed(handle: ExecutionHandle) -> ExecutionResult:
    """Wait until a job has left the memory with a question, answer that, and return the result of the run that goes on."""
    question = await pending(handle)
    await status_becomes(handle, "waiting_action")
    await handle.resolve_action(question.action_id, {"confirmed": True})
    return await handle.result()


async def journal(handle: ExecutionHandle) -> list[RuntimeEvent]:
    """Return a job's stored events."""
    await handle.job()
    return list(await handle._kernel.storage.events(handle.job_id))


async def types(handle: ExecutionHandle) -> list[str]:
    """Return the types of a job's stored events."""
    return [str(event.type) for event in await journal(handle)]


async def pending(handle: ExecutionHandle) -> Any:
    """Wait for a job's next question."""
    return (await until(handle.get_pending_actions))[0]
