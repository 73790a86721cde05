"""The feed on Postgres, where ids are drawn before their transaction commits: nobody who follows it misses what commits late."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from agent_runtime.errors import StorageError
from agent_runtime.ports.commit import NewEvent
from agent_runtime.storage.postgres import PostgresStorage, locks
from agent_runtime.testing.storage_contract import commit, job

INSERT = "INSERT INTO runtime_events (job_id, seq, type, at, data) VALUES ($1, $2, 'custom.x', now(), '{}')"


@pytest.fixture
async def storage(database: str) -> AsyncIterator[PostgresStorage]:
    storage = PostgresStorage(database)
    await storage.open()
    yield storage
    await storage.aclose()


@pytest.fixture
async def late(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def created(storage: PostgresStorage) -> str:
    record = job()
    await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
    return record.job_id


async def read(storage: PostgresStorage) -> list[tuple[str | None, int | None]]:
    entries = await storage.feed(after=0, upto=await storage.feed_end())
    return [(event.job_id, event.seq) for _, event in entries]


async def test_what_commits_late_is_waited_for_and_stands_where_it_was_begun(
    storage: PostgresStorage, late: asyncpg.Connection
) -> None:
    first = await created(storage)
    transaction = late.transaction()
    await transaction.start()
    await late.execute(INSERT, first, 2)
    second = await created(storage)
    reading = asyncio.create_task(read(storage))
    await asyncio.sleep(0.2)
    assert not reading.done()  # what could still come before the last one is not decided
    await transaction.commit()
    assert await reading == [(first, 1), (first, 2), (second, 1)]


async def test_what_was_undone_is_not_waited_for(storage: PostgresStorage, late: asyncpg.Connection) -> None:
    first = await created(storage)
    transaction = late.transaction()
    await transaction.start()
    await late.execute(INSERT, first, 2)
    await transaction.rollback()
    second = await created(storage)
    assert await read(storage) == [(first, 1), (second, 1)]


async def test_one_that_only_reads_or_writes_elsewhere_holds_nobody_up(
    storage: PostgresStorage, late: asyncpg.Connection
) -> None:
    first = await created(storage)
    async with late.transaction():
        await late.fetch("SELECT * FROM runtime_events")
        await late.execute("UPDATE runtime_jobs SET progress = 0.5")
        assert await asyncio.wait_for(read(storage), 5) == [(first, 1)]


async def test_those_who_begin_meanwhile_are_not_waited_for(storage: PostgresStorage, database: str) -> None:
    """A database that is always written to has a settled end all the same."""
    first = await created(storage)
    connections = [await asyncpg.connect(database) for _ in range(3)]
    stop = asyncio.Event()

    async def write(connection: asyncpg.Connection, number: int) -> None:
        seq = 1_000_000 * number
        while not stop.is_set():
            async with connection.transaction():
                seq += 1
                await connection.execute(INSERT, first, seq)
                await asyncio.sleep(0.02)

    writing = [asyncio.create_task(write(one, n)) for n, one in enumerate(connections, 1)]
    for _ in range(20):
        assert await asyncio.wait_for(storage.feed_end(), 5) > 0
    stop.set()
    await asyncio.gather(*writing)
    for connection in connections:
        await connection.close()


async def test_a_transaction_that_does_not_end_is_named(
    storage: PostgresStorage, late: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    first = await created(storage)
    async with late.transaction():
        await late.execute(INSERT, first, 2)
        with pytest.raises(StorageError, match=rf"runtime_events.*process {late.get_server_pid()}\b"):
            await storage.feed_end()


async def test_a_page_is_read_by_position(storage: PostgresStorage, late: asyncpg.Connection) -> None:
    """However long the journals are, and however few rows the server believes to be there."""
    from agent_runtime.storage.postgres import feed

    await late.execute("SET enable_seqscan = off")
    asked = [
        (statement, parameters)
        for measure, read in feed._READ.values()
        for statement, parameters in ((measure, (0, 10, 5)), (read, (0, 10)))
    ]
    for statement, parameters in asked:
        plan = "\n".join(row[0] for row in await late.fetch(f"EXPLAIN {statement}", *parameters))
        assert "runtime_events_pkey" in plan
