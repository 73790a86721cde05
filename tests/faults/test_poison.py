"""Jobs that kill every process that runs them, and the innocent ones beside them. Real processes, real SIGKILLs."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ExecutionHandle, ExecutionRequest, RuntimeKernel
from agent_runtime.app import open_storage
from agent_runtime.values.budget import LedgerFilter
from support.kernels import BOUND
from support.poison_child import OPERATORS, OPTIONS

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 6)]

TESTS = Path(__file__).parent.parent
CALLS = 2 + OPTIONS.max_crashes
"""How often the poison is taken: twice before anybody suspects it, then as the only suspect."""
LIVES = 40


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'runs.db'}"
    return str(request.getfixturevalue("database"))


@asynccontextmanager
async def submitting(url: str) -> AsyncIterator[RuntimeKernel]:
    """A kernel that only submits and follows."""
    storage = open_storage(url)
    async with RuntimeKernel(storage=storage, operators=OPERATORS, options=OPTIONS, worker=False) as k:
        yield k
    await storage.aclose()


class Lives:
    """One process after the other, each started when the one before has died."""

    def __init__(self, url: str, world: Path) -> None:
        self._url = url
        self.world = world
        self.deaths = 0

    def count(self, what: str) -> int:
        """Return how often an effect has happened."""
        return self.world.read_text().split("\n").count(what) if self.world.exists() else 0

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "support.poison_child", self._url, str(self.world)),
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdout=asyncio.subprocess.PIPE,
        )

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Live and die until something is the case."""
        for _ in range(LIVES):
            process = await self._start()
            try:
                if await self._watch(process, condition):
                    return
            finally:
                if process.returncode is None:
                    process.kill()
                await process.wait()
            assert process.returncode == -signal.SIGKILL
            self.deaths += 1
        pytest.fail(f"not reached in {LIVES} lives: {self.world.read_text()}")

    async def _watch(self, process: Any, condition: Callable[[], Awaitable[bool]]) -> bool:
        death = asyncio.ensure_future(process.wait())
        async with asyncio.timeout(BOUND):
            while not death.done():
                if await condition():
                    death.cancel()
                    return True
                await asyncio.wait((death,), timeout=0.02)
        return False


async def parked(handle: ExecutionHandle) -> bool:
    """Whether a job was set aside because it kills."""
    job = await handle.job()
    return job.status == "blocked" and job.error_code == "CRASH_LOOP"


async def test_an_answer_that_kills_every_process_is_paid_a_few_times_and_then_set_aside(
    url: str, tmp_path: Path
) -> None:
    lives = Lives(url, tmp_path / "world")
    async with submitting(url) as k:
        handle = await k.execute(ExecutionRequest(operator="poison", input="answer"))
        await lives.until(lambda: parked(handle))
        assert lives.count("answer: asked") == lives.deaths == CALLS
        entries = await k.storage.ledger_entries(LedgerFilter(job_id=handle.job_id))
        assert [entry.uncertain for entry in entries if entry.type == "model_usage"] == [True] * CALLS
        await k.jobs.resume(handle.job_id)

        async def tried_again() -> bool:
            return lives.count("answer: asked") == CALLS + 1

        await lives.until(tried_again)


@pytest.mark.parametrize("kind", ["tool", "code", "branch"])
async def test_whatever_it_is_that_kills_is_found_out(tmp_path: Path, kind: str) -> None:
    """A read that writes no intent, code that reads a recorded answer, an answer beside a branch that gets on."""
    lives = Lives(f"sqlite:///{tmp_path / 'runs.db'}", tmp_path / "world")
    async with submitting(lives._url) as k:
        handle = await k.execute(ExecutionRequest(operator="poison", input=kind))
        await lives.until(lambda: parked(handle))
        # a death after an outcome of other work counts less, and how often that comes first is the machine's doing
        assert lives.deaths <= CALLS * 3
        assert lives.count(f"{kind}: asked") <= 3


async def test_innocent_jobs_beside_a_poisonous_one_are_not_condemned(url: str, tmp_path: Path) -> None:
    """A call that takes longer than the others live, and one that never ends and never says a word."""
    lives = Lives(url, tmp_path / "world")
    async with submitting(url) as k:
        sleeper = await k.execute(ExecutionRequest(operator="sleeper"))
        poison = await k.execute(ExecutionRequest(operator="poison", input="answer"))
        patient = await k.execute(ExecutionRequest(operator="patient", input=0.5))

        async def all_is_well() -> bool:
            return await parked(poison) and await patient.status() == "succeeded"

        await lives.until(all_is_well)
        assert lives.count("answer: asked") == CALLS
        assert await sleeper.status() == "running"
        assert (await sleeper.job()).lone_deaths == 0
        assert (await patient.job()).deaths == 0
