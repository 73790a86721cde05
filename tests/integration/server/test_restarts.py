"""A service that is started anew: who waits for it does not notice, as long as its patience lasts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import OperatorContext, Role, RuntimeKernel
from agent_runtime.client import AsyncClient
from agent_runtime.server import create_app
from agent_runtime.server.running import serving
from support.service import BOUND, FAST

AWAY = 5.0
"""Seconds for which the service is away: more than the first tries of a request take, which are over after three."""


async def steps(context: OperatorContext, given: Any) -> int:
    for number in range(5):
        await context.emit("custom.step", {"number": number})
    await context.sleep(AWAY / 2)
    await context.emit("custom.step", {"number": 5})
    return 6


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@asynccontextmanager
async def _serving(kernel: RuntimeKernel, port: int) -> AsyncIterator[str]:
    async with serving(create_app(kernel, FAST), port=port) as url:
        yield url


@pytest.mark.timeout(90)
async def test_results_and_events_outlive_a_restart_of_the_service(tmp_path: Path) -> None:
    place, port = f"sqlite:///{tmp_path / 'runs.db'}", _free_port()

    def kernel() -> RuntimeKernel:
        return RuntimeKernel(storage=place, operators={"steps": steps})

    first = kernel()
    async with _serving(first, port) as url:
        _, key = await first.keys.create(name="x", role=Role.OPERATOR, scope_id="acme")
        client = AsyncClient(url, key)
        job = await client.jobs.submit(operator="steps")
        seen: list[int | None] = []

        async def follow() -> None:
            async for event in client.jobs.events(job.job_id):
                seen.append(event.seq)

        following = asyncio.ensure_future(follow())
        waiting = asyncio.ensure_future(client.jobs.result(job.job_id))
        async with asyncio.timeout(BOUND):
            while len(seen) < 6:
                await asyncio.sleep(0.01)
    await asyncio.sleep(AWAY)
    async with _serving(kernel(), port):
        async with asyncio.timeout(2 * BOUND):
            assert (await waiting).output == 6
            await following
    await client.aclose()
    stored = [number for number in seen if number is not None]
    assert stored == list(range(1, len(stored) + 1))
