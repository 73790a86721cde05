"""A wall clock that jumps by hours, and a disk that is full for a while, under jobs that run."""

import asyncio
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent_runtime import ActionSpec, BudgetSpec, ExecutionRequest, OperatorContext
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.storage.sqlite import SQLiteStorage
from support.kernels import BOUND, journal, kernel, pending, status_becomes, until
from support.server_guard import unprivileged_user
from support.services import Postgres
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
        noise = await context.step(secrets.token_hex, 20_000, name=f"noise{number}", effect="read")
        await context.emit("custom.said", {"n": number, "text": noise})
        await context.step(asyncio.sleep, 0.01, name=f"s{number}", effect="idempotent")
    return given


async def outlives_a_full_disk(
    storage: Storage,
    caplog: pytest.LogCaptureFixture,
    *,
    fill: Callable[[], Awaitable[Any]],
    empty: Callable[[], Awaitable[Any]],
) -> None:
    """Run a job while the disk is filled and emptied: it is given up meanwhile, and then goes on."""
    async with kernel(storage, operators=[writes], dispatch="local") as k:
        handle = await k.execute(ExecutionRequest(operator="writes", input=20))

        async def given_up() -> bool:
            return "was given up because the storage failed" in caplog.text

        async def said() -> list[int]:
            return [event.data["n"] for event in await journal(handle) if event.type == "custom.said"]

        await until(said)
        await fill()
        await until(given_up)
        assert "is full" in caplog.text
        assert not (await handle.status()).is_terminal
        await empty()
        assert (await handle.result(timeout=BOUND)).output == 20
        assert await said() == list(range(20))
        events = await journal(handle)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_a_job_outlives_a_full_disk_under_sqlite(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The limit on pages stands for the disk: SQLite reports both as a full disk, and rolls back."""
    storage = SQLiteStorage(tmp_path / "runs.db", durability="process")
    await storage.open()

    async def limit(pages: int) -> None:
        await storage._writer.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    await outlives_a_full_disk(storage, caplog, fill=lambda: limit(1), empty=lambda: limit(1_000_000))
    await storage.aclose()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a disk of some megabytes, where this process may."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@asynccontextmanager
async def database_there(postgres: Postgres, disk: Path) -> AsyncIterator[str]:
    """Make a database on a disk of its own. It goes before the disk does, or no checkpoint of the server that others share would end."""
    await asyncio.to_thread(postgres.execute, f"CREATE TABLESPACE small LOCATION '{disk}'")
    try:
        await asyncio.to_thread(postgres.execute, "CREATE DATABASE small TABLESPACE small")
        yield postgres.dsn("small")
    finally:
        (disk / "ballast").unlink(missing_ok=True)
        await asyncio.to_thread(postgres.execute, "DROP DATABASE IF EXISTS small WITH (FORCE)")
        await asyncio.to_thread(postgres.execute, "DROP TABLESPACE small")


async def test_a_job_outlives_a_full_disk_under_postgres(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    owner = unprivileged_user()
    if owner is None:
        pytest.skip("only root may mount a disk")
    folder = Path(tempfile.mkdtemp(prefix="agent-runtime-disk-"))
    folder.chmod(0o711)
    disk = folder / "disk"
    with small_disk(disk):
        os.chown(disk, owner.pw_uid, owner.pw_gid)
        async with database_there(postgres, disk) as dsn:
            storage = PostgresStorage(dsn)
            await storage.setup()

            def stuff() -> None:
                with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
                    while True:  # until it is full
                        ballast.write(bytes(65_536))

            async def fill() -> None:
                await asyncio.to_thread(stuff)

            async def empty() -> None:
                (disk / "ballast").unlink()

            await outlives_a_full_disk(storage, caplog, fill=fill, empty=empty)
            await storage.aclose()
    shutil.rmtree(folder)
