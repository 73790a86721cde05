"""A wall clock that jumps by hours, and a disk that is full for a while, under jobs that run."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ActionSpec, BudgetSpec, ExecutionRequest, OperatorContext
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import BOUND, journal, kernel, pending, status_becomes, until
from support.soak.virtual import LoopClock, run_in_virtual_time

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 3)]


class JumpingClock(LoopClock):
    """A wall clock that is set by hand; its other hand goes on evenly."""

    def __init__(self) -> None:
        self.jumped = timedelta()

    def now(self) -> datetime:
        return super().now() + self.jumped


async def steps(context: OperatorContext, given: int) -> int:
    for number in range(given):
        await context.step(asyncio.sleep, 0.1, name=f"s{number}", effect="read")
    return given


async def sleeps(context: OperatorContext, given: float) -> str:
    await context.sleep(given)
    return "slept"


async def asks(context: OperatorContext, given: Any) -> Any:
    return (await context.action(ActionSpec(type="input"))).resolution


@pytest.mark.parametrize("hours", [5, -5])
def test_a_clock_that_jumps_ends_no_running_job_and_costs_it_no_running_time(hours: int) -> None:
    async def main() -> None:
        clock = JumpingClock()
        async with kernel(MemoryStorage(), operators=[steps, asks], clock=clock) as k:
            request = ExecutionRequest(
                operator="steps",
                input=20,
                budgets=BudgetSpec(max_runtime_seconds=10),
                deadline_seconds=86_400,
            )
            handle = await k.execute(request)
            waiting = await k.execute(ExecutionRequest(operator="asks"))
            question = await pending(waiting)
            await asyncio.sleep(1)
            clock.jumped += timedelta(hours=hours)
            assert (await handle.result(timeout=BOUND)).output == 20
            await waiting.resolve_action(question.action_id, {"value": 1})
            assert (await waiting.result(timeout=BOUND)).output == {"value": 1}
            seqs = [event.seq for event in await journal(handle)]
            assert seqs == list(range(1, len(seqs) + 1))

    run_in_virtual_time(main())


def test_a_timer_follows_the_wall_clock_forward_and_back() -> None:
    """What was to happen at nine happens at nine, whenever that is."""

    async def main() -> None:
        clock = JumpingClock()
        loop = asyncio.get_running_loop()
        async with kernel(MemoryStorage(), operators=[sleeps], clock=clock) as k:
            early = await k.execute(ExecutionRequest(operator="sleeps", input=3600.0))
            await status_becomes(early, "sleeping")
            began = loop.time()
            clock.jumped += timedelta(hours=2)
            assert (await early.result(timeout=BOUND)).content == "slept"
            assert loop.time() - began < 1

            late = await k.execute(ExecutionRequest(operator="sleeps", input=60.0))
            await status_becomes(late, "sleeping")
            began = loop.time()
            clock.jumped -= timedelta(minutes=10)
            assert (await late.result(timeout=3600)).content == "slept"
            assert 600 <= loop.time() - began < 700

    run_in_virtual_time(main())


async def writes(context: OperatorContext, given: int) -> int:
    for number in range(given):
        await context.emit("custom.said", {"n": number, "text": "x" * 20_000})
        await context.step(asyncio.sleep, 0.01, name=f"s{number}", effect="idempotent")
    return given


async def test_a_job_outlives_a_disk_that_is_full_for_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit on pages stands for the disk: SQLite reports both as a full disk, and rolls back."""
    storage = SQLiteStorage(tmp_path / "runs.db", durability="process")
    await storage.open()

    async def limit(pages: int) -> None:
        await storage._writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    async with kernel(storage, operators=[writes]) as k:
        handle = await k.execute(ExecutionRequest(operator="writes", input=20))

        async def given_up() -> bool:
            return "was given up because the storage failed" in caplog.text

        async def said() -> list[int]:
            return [event.data["n"] for event in await journal(handle) if event.type == "custom.said"]

        await until(said)
        await limit(1)
        await until(given_up)
        assert "is full" in caplog.text
        assert not (await handle.status()).is_terminal
        await limit(1_000_000)
        assert (await handle.result(timeout=BOUND)).output == 20
        assert await said() == list(range(20))
        events = await journal(handle)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
    await storage.aclose()
