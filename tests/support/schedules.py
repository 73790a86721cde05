"""A kernel whose clock stands still until it is moved, and schedules on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from agent_runtime import ExecutionRequest, OperatorContext, RuntimeKernel, Timing
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.clock import FakeClock
from support.kernels import QUICK, kernel, until

NINE = datetime(2026, 11, 30, 9, tzinfo=UTC)
MINUTELY = Timing(cron="* * * * *")
BEAT = ExecutionRequest(operator="beat", input={"n": 1})


class Scene:
    """A kernel whose clock stands still, and an operator that can be held."""

    def __init__(self, storage: Storage, *, clock: FakeClock | None = None, **options: Any) -> None:
        self.clock = clock or FakeClock(NINE)
        self.storage = storage
        self.begun: list[Any] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.kernel: RuntimeKernel = kernel(storage, clock=self.clock, operators=[self.beat], **options)

    async def beat(self, context: OperatorContext, given: Any) -> Any:
        self.begun.append(given)
        await self.goes_on.wait()
        return given

    async def log(
        self, name: str = "beat", scope_id: str = "default"
    ) -> list[tuple[str, str, int, str | None]]:
        """Return what became of times, the oldest first: the first of them, the outcome, how many, and why."""
        found = await self.kernel.schedules.log(name, scope_id=scope_id)
        return [
            (f"{fire.due_at:%H:%M}", str(fire.outcome), fire.count, fire.reason) for fire in reversed(found)
        ]

    async def outcomes(self, *wanted: str) -> None:
        """Wait until the log has these outcomes, the oldest first, and nothing is open."""

        async def has() -> bool:
            return [outcome for _, outcome, _, _ in await self.log()] == list(wanted)

        await until(has)

    async def rest(self) -> None:
        """Let the scheduler look a few times."""
        await asyncio.sleep(3 * QUICK.sweep_interval)


@asynccontextmanager
async def scene(**options: Any) -> AsyncIterator[Scene]:
    made = Scene(MemoryStorage(), **options)
    async with made.kernel:
        yield made
