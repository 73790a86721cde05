"""Several processes on one SQLite file: one executes, the others submit, follow, answer and take over."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_runtime import ExecutionRequest, ExecutorBusy, JobCancelled, RuntimeKernel
from agent_runtime.storage.sqlite import SQLiteStorage
from support.executor_child import OPERATORS
from support.kernels import BOUND, kernel, pending, status_becomes, until

pytestmark = [pytest.mark.fault, pytest.mark.timeout(BOUND * 3)]
TESTS = Path(__file__).parent.parent


@asynccontextmanager
async def executor(database: Path, *arguments: str) -> AsyncIterator[subprocess.Popen[str]]:
    """Run another process that executes the file's jobs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.executor_child", str(database), *arguments],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.communicate)


@asynccontextmanager
async def beside(database: Path) -> AsyncIterator[RuntimeKernel]:
    """Open a kernel on the same file in this process."""
    storage = SQLiteStorage(database, durability="process")
    async with kernel(storage, operators=OPERATORS) as k:
        yield k
    await storage.aclose()


async def test_another_process_submits_follows_and_answers(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    async with executor(database) as process, beside(database) as k:
        assert not k.executes
        handle = await k.execute(ExecutionRequest(operator="ask"))
        await handle.resolve_action((await pending(handle)).action_id, {"value": 7})
        assert (await handle.result(timeout=BOUND)).output == {"value": 7, "pid": process.pid}


async def test_another_process_sees_every_event_in_order(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    async with executor(database), beside(database) as k:
        handle = await k.execute(ExecutionRequest(operator="chatter", input=300))
        async with asyncio.timeout(BOUND):
            seen = [event async for event in handle.events()]
        assert [event.seq for event in seen] == list(range(1, 304))
        assert [event.data["n"] for event in seen if event.type == "custom.said"] == list(range(300))


async def test_another_process_cancels(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    async with executor(database), beside(database) as k:
        handle = await k.execute(ExecutionRequest(operator="long"))
        await status_becomes(handle, "running")
        await handle.cancel("from next door")
        with pytest.raises(JobCancelled, match="from next door"):
            await handle.result(timeout=BOUND)


async def test_a_second_executor_that_knows_another_operator_is_told_in_one_sentence(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"

    async with executor(database) as process:
        storage = SQLiteStorage(database)
        async with kernel(storage, operators={"other": OPERATORS[0]}) as k:
            with pytest.raises(ExecutorBusy, match=rf"pid {process.pid}\b.*'other'"):
                await k.execute(ExecutionRequest(operator="other"))
        await storage.aclose()


async def test_when_the_executor_is_killed_another_takes_over(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    async with beside(tmp_path / "elsewhere.db"):
        pass
    async with executor(database) as process, beside(database) as k:
        waiting = await k.execute(ExecutionRequest(operator="ask"))
        action = await pending(waiting)
        running = await k.execute(ExecutionRequest(operator="chatter", input=2000))
        await status_becomes(running, "running")
        process.kill()

        async def executes() -> bool:
            return k.executes

        await until(executes)
        await waiting.resolve_action(action.action_id, {"value": 1})
        assert (await waiting.result(timeout=BOUND)).output == {"value": 1, "pid": os.getpid()}
        assert (await running.result(timeout=BOUND)).output == 2000


async def test_a_forked_child_of_a_killed_executor_does_not_keep_its_place(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    async with executor(database, "fork") as process:
        process.kill()
        await asyncio.to_thread(process.wait)
        async with beside(database) as k:

            async def executes() -> bool:
                return k.executes

            await until(executes)


async def test_two_kernels_of_one_process_do_not_both_execute(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    async with beside(database) as first:
        async with beside(database) as second:
            assert (first.executes, second.executes) == (True, False)
        handle = await first.execute(ExecutionRequest(operator="chatter", input=3))
        assert (await handle.result(timeout=BOUND)).output == 3
        async with beside(database) as third:
            assert not third.executes


async def test_a_forked_child_becomes_the_executor_when_its_parent_is_gone_and_not_before(
    tmp_path: Path,
) -> None:
    database = tmp_path / "runs.db"
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "support.forking_child", str(database),
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert parent.stdin is not None
    assert parent.stdout is not None
    try:
        async with asyncio.timeout(BOUND):
            first = sorted([await parent.stdout.readline(), await parent.stdout.readline()])
            assert first[0].startswith(b"child ")
            assert first[0].endswith(b" waits\n")
            assert first[1] == b"parent executes\n"
            parent.stdin.write(b"go\n")
            assert (await parent.stdout.readline()).endswith(b" executes\n")
        async with beside(database) as k:
            assert not k.executes
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        await parent.communicate()  # the child holds its end of the pipe until it is gone
        await asyncio.sleep(0.1)  # and the loop closes ours


async def test_of_two_kernels_of_one_process_on_one_file_the_other_keeps_its_place_when_one_is_closed(
    tmp_path: Path,
) -> None:
    database = tmp_path / "runs.db"
    async with beside(database) as first:
        assert first.executes
        async with beside(database) as second:
            assert not second.executes
            assert not await SQLiteStorage(database).acquire_executor()
        assert not await taken_elsewhere(database)
        handle = await first.execute(ExecutionRequest(operator="chatter", input=1))
        await handle.result(timeout=BOUND)


async def taken_elsewhere(database: Path) -> bool:
    """Whether another process can become the executor of a file now."""
    code = (
        "import asyncio, sys\nfrom agent_runtime.storage.sqlite import SQLiteStorage\n"
        "print(asyncio.run(SQLiteStorage(sys.argv[1]).acquire_executor()))"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, str(database)],
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=True,
    )
    return bool(done.stdout.strip() == "True")


async def test_a_process_that_changes_its_folder_stays_the_executor_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by a relative path: nothing is made elsewhere, and nobody else gets its place."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    storage = SQLiteStorage("runs.db", durability="process")
    monkeypatch.chdir(there)
    async with kernel(storage, operators=OPERATORS) as k:
        assert k.executes
        handle = await k.execute(ExecutionRequest(operator="chatter", input=1))
        await handle.result(timeout=BOUND)
        async with beside(here / "runs.db") as other:
            assert not other.executes
        assert not await taken_elsewhere(here / "runs.db")
    monkeypatch.chdir(here)
    await storage.aclose()
    monkeypatch.chdir(there)
    assert list(there.iterdir()) == []
    async with beside(here / "runs.db") as other:
        assert other.executes


async def test_of_many_who_want_the_executors_place_at_once_one_gets_it(tmp_path: Path) -> None:
    storages = [SQLiteStorage(tmp_path / "runs.db", durability="process") for _ in range(8)]
    for storage in storages:
        await storage.open()
    taken = await asyncio.gather(*(storage.acquire_executor() for storage in storages))
    assert taken.count(True) == 1
    for storage, has_it in zip(storages, taken, strict=True):
        if not has_it:
            await storage.aclose()
    assert not await taken_elsewhere(tmp_path / "runs.db")
    await storages[taken.index(True)].aclose()
