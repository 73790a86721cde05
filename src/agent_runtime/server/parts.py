"""What routes are given of the service they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request

from agent_runtime.errors import AgentRuntimeError, StorageError, UnknownKey
from agent_runtime.extras import optional_packages
from agent_runtime.kernel.kernel import Kernel
from agent_runtime.server.access import Caller
from agent_runtime.server.config import ServerConfig
from agent_runtime.server.frames import Frames
from agent_runtime.server.logs import ServedLogs
from agent_runtime.server.metrics import ServiceMetrics
from agent_runtime.server.rates import Rates
from agent_runtime.server.readers import Readers
from agent_runtime.server.tail import FeedTail

if TYPE_CHECKING:
    from agent_runtime.server.jwt.tokens import Tokens

LONG_READS: Final = 4
"""Long tables that are read at a time."""
READY_SECONDS: Final = 2.0
"""How long the storage may take to answer, to be called ready."""
READY_EVERY: Final = 1.0


class Service:
    """What one service is made of.

    Args:
        kernel: Whose jobs it serves.
        config: What it bounds.
    """

    def __init__(self, kernel: Kernel, config: ServerConfig) -> None:
        self.kernel = kernel
        self.config = config
        self.tokens = _tokens(kernel, config)
        self.logs = ServedLogs(kernel)
        self.rates = Rates(kernel.clock, per_second=config.requests_per_second, burst=config.burst)
        self.readers = Readers(most=config.max_streams, most_each=config.max_streams_per_key)
        self.frames = Frames()
        self.metrics = ServiceMetrics(kernel, self.readers)
        self.tail = FeedTail(kernel.storage)
        """What is written now, for readers of many jobs."""
        self._long_reads = asyncio.Semaphore(LONG_READS)
        self._reading: dict[str, asyncio.Semaphore] = {}
        """Of callers who read long tables now."""
        self._looking = asyncio.Lock()
        self._looked_at: float | None = None
        self._answers = False
        self.stopping = asyncio.Event()
        """Set when the process is going to end: whatever waits answers, and streams end, so that nobody holds it up."""

    async def aclose(self) -> None:
        """End what was begun for readers, while the kernel is still there."""
        await self.logs.aclose()
        if self.tokens is not None:
            await self.tokens.aclose()

    @asynccontextmanager
    async def long_read(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn to read all of a long table: it leaves the storage to others, and no caller takes the turns of all."""
        own = self._reading.setdefault(caller, asyncio.Semaphore(1))
        try:
            async with own, self._long_reads:
                yield
        finally:
            if not own.locked():
                self._reading.pop(caller, None)

    async def storage_answers(self) -> bool:
        """Whether the storage answers in time. Asked by anybody, so it is looked at once a second."""
        async with self._looking:
            now = self.kernel.clock.monotonic()
            if self._looked_at is None or now - self._looked_at >= READY_EVERY:
                self._looked_at = now
                try:
                    async with asyncio.timeout(READY_SECONDS):
                        await self.kernel.start()
                        await self.kernel.storage.list_workers()
                    self._answers = True
                except (AgentRuntimeError, TimeoutError):
                    self._answers = False
            return self._answers

    async def still_lets_in(self, caller: Caller) -> bool:
        """Whether what a stream or a call was opened with, a key or a token, still holds. A storage that is away says nothing of it."""
        now = self.kernel.clock.now()
        if caller.expires_at is not None and caller.expires_at <= now:
            return False
        try:
            return caller.key_id is None or (await self.kernel.keys.get(caller.key_id)).holds_at(now)
        except StorageError:
            return True
        except UnknownKey:
            return False


def _tokens(kernel: Kernel, config: ServerConfig) -> Tokens | None:
    """Return what reads tokens, where an identity provider is named. Raises `MissingDependency`."""
    if config.jwt is None:
        return None
    with optional_packages():
        from agent_runtime.server.jwt.tokens import Tokens
    return Tokens(config.jwt, kernel.clock)


# Asynchronous, because FastAPI gives every other dependency a thread.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _kernel(request: Request) -> Kernel:
    return (await _service(request)).kernel


TheService = Annotated[Service, Depends(_service)]
TheKernel = Annotated[Kernel, Depends(_kernel)]
