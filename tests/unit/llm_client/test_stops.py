"""Calls that nobody waits for any more, and connections that are closed: they end although a cancellation was swallowed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from llm_client import ExecutionEngine, FunctionProvider
from llm_client.tools.mcp_connection import Connection
from support.engine import SPEC
from support.soak.virtual import run_in_virtual_time

ENOUGH = 300.0
FAR = 3600.0


class Stubborn:
    """Something to wait for that swallows the first cancellations that reach it."""

    def __init__(self, swallows: int) -> None:
        self._left = swallows
        self.inside = asyncio.Event()

    async def __call__(self, *given: Any) -> str:
        self.inside.set()
        while True:
            try:
                await asyncio.sleep(FAR)
            except asyncio.CancelledError:
                if not self._left:
                    raise
                self._left -= 1


async def stream(stubborn: Stubborn) -> None:
    """Read a stream until whoever reads is cancelled."""
    async for _ in ExecutionEngine(FunctionProvider(stubborn)).stream(SPEC):
        pass


async def flight(stubborn: Stubborn) -> None:
    """Wait for a call with a key until whoever waits is cancelled."""
    await ExecutionEngine(FunctionProvider(stubborn)).complete(SPEC, idempotency_key="k")


class NeverOpen:
    """An SDK's client that does not come to be connected."""

    def __init__(self, stubborn: Stubborn) -> None:
        self._stubborn = stubborn

    async def __aenter__(self) -> None:
        await self._stubborn()

    async def __aexit__(self, *details: object) -> None:
        pass


async def connection(stubborn: Stubborn) -> None:
    """Connect until whoever waits for that is cancelled."""
    await Connection(lambda: _Made(NeverOpen(stubborn))).open(FAR)  # type: ignore[arg-type,return-value]


class _Made:
    def __init__(self, client: Any) -> None:
        self.client = client
        self.http_client = None
        self.program = None


@pytest.mark.parametrize("swallows", [0, 1, 2])
@pytest.mark.parametrize("call", [stream, flight, connection], ids=lambda call: call.__name__)
def test_what_nobody_waits_for_ends_although_it_swallows_cancellations(
    call: Callable[[Stubborn], Awaitable[None]], swallows: int
) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        stubborn = Stubborn(swallows)
        waiting = asyncio.ensure_future(_awaited(call(stubborn)))
        async with asyncio.timeout(ENOUGH):
            await stubborn.inside.wait()
            waiting.cancel()
            await asyncio.wait((waiting,))
            assert waiting.cancelled()
            while asyncio.all_tasks() - before:
                await asyncio.sleep(0.05)

    run_in_virtual_time(main())


async def _awaited(work: Awaitable[None]) -> None:
    await work
