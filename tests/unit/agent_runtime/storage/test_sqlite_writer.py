"""The writer thread: what shares a transaction, and what a failure takes with it."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.errors import BudgetRejected, StorageError
from agent_runtime.storage.sqlite import connection, writer
from agent_runtime.storage.sqlite.writer import Writer

Write = Callable[[sqlite3.Connection], Any]


def opened(path: Path) -> Writer:
    return Writer(path, durability="power", on_remote_change=lambda: None)


@pytest.fixture
async def written(tmp_path: Path) -> AsyncIterator[Writer]:
    thread = opened(tmp_path / "runs.db")
    await thread.start()
    await thread.run(lambda db: db.execute("CREATE TABLE notes (text TEXT UNIQUE)"))
    yield thread
    await thread.stop()


def note(text: str) -> Write:
    return lambda db: db.execute("INSERT INTO notes VALUES (?)", (text,)).rowcount


def refused(db: sqlite3.Connection) -> None:
    note("never")(db)
    raise BudgetRejected("all", settled=None, reserved=None)


async def together(thread: Writer, *writes: Write) -> list[Any]:
    """Hand operations in while the writer is busy, so that they share its next batch."""
    busy, go_on = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        busy.set()
        assert go_on.wait(10)

    held = asyncio.create_task(thread.run(hold))
    await asyncio.to_thread(busy.wait, 10)
    waiting = asyncio.gather(*(thread.run(write) for write in writes), return_exceptions=True)
    await asyncio.sleep(0)
    go_on.set()
    await held
    return await waiting


def notes(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {text for (text,) in db.execute("SELECT text FROM notes")}


def transactions(path: Path) -> int:
    """Count the transactions in the write-ahead log: the last frame of each gives the size of the database."""
    log = path.with_name(path.name + "-wal").read_bytes()
    frame = 24 + int.from_bytes(log[8:12])
    return sum(log[start + 4 : start + 8] != bytes(4) for start in range(32, len(log), frame))


async def test_operations_that_are_refused_leave_the_others_in_one_transaction(
    written: Writer, tmp_path: Path
) -> None:
    before = transactions(tmp_path / "runs.db")
    results = await together(written, note("a"), refused, note("b"), note("b"), note("c"))
    assert results[0] == results[2] == results[4] == 1
    assert isinstance(results[1], BudgetRejected)
    assert isinstance(results[3], StorageError)
    assert notes(tmp_path / "runs.db") == {"a", "b", "c"}
    assert transactions(tmp_path / "runs.db") == before + 1


async def test_a_batch_that_sqlite_gives_up_is_tried_one_by_one(written: Writer, tmp_path: Path) -> None:
    def give_up(db: sqlite3.Connection) -> None:
        db.execute("INSERT OR ROLLBACK INTO notes VALUES ('a'), ('a')")

    results = await together(written, note("b"), give_up, note("c"))
    assert results[0] == results[2] == 1
    assert isinstance(results[1], StorageError)
    assert notes(tmp_path / "runs.db") == {"b", "c"}


async def test_what_waits_for_a_locked_file_waits_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_SECONDS", 0.2)
    thread = opened(tmp_path / "runs.db")
    await thread.start()
    with closing(sqlite3.connect(tmp_path / "runs.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(10):  # one after the other they would need twice as long
            results = await asyncio.gather(
                *(thread.run(lambda db: None) for _ in range(100)), return_exceptions=True
            )
        locked = [result for result in results if isinstance(result, StorageError)]
        assert all("locked" in str(result) for result in locked)
        assert len(locked) == len(results)
    await thread.stop()


async def test_a_start_that_is_cancelled_leaves_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()
    connect = writer.connect

    def slow(*args: Any, **options: Any) -> sqlite3.Connection:
        reached.set()
        assert go_on.wait(10)
        return connect(*args, **options)

    monkeypatch.setattr(writer, "connect", slow)
    thread = opened(tmp_path / "runs.db")
    before = set(threading.enumerate())
    starting = asyncio.create_task(thread.start())
    await asyncio.to_thread(reached.wait, 10)
    (left,) = [one for one in set(threading.enumerate()) - before if one.name == "sqlite-writer"]
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    go_on.set()
    await asyncio.to_thread(left.join, 10)
    assert not left.is_alive()
    await thread.start()
    assert await thread.run(lambda db: db.execute("SELECT 1").fetchone()) == (1,)
    await thread.stop()
