"""What a reader of all journals stands on: every event knows the transaction that wrote it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from agent_runtime.ports.commit import NewEvent
from agent_runtime.storage.postgres import PostgresStorage
from agent_runtime.testing.storage_contract import commit, job
from support.kernels import until

OUTBOX = """
SELECT job_id, seq FROM runtime_events
WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) AND (xid, id) > ($1::text::xid8, $2) ORDER BY xid, id LIMIT 100
"""
INSERT = "INSERT INTO runtime_events (job_id, seq, type, at, data) VALUES ($1, $2, 'custom.x', now(), '{}')"


@pytest.fixture
async def connections(database: str) -> AsyncIterator[list[asyncpg.Connection]]:
    opened = [await asyncpg.connect(database) for _ in range(3)]
    yield opened
    for connection in opened:
        await connection.close()


async def read(connection: asyncpg.Connection) -> list[str]:
    return [row["job_id"] for row in await connection.fetch(OUTBOX, "0", 0)]


async def test_no_event_comes_late_below_the_oldest_open_transaction(
    connections: list[asyncpg.Connection],
) -> None:
    reader, late, early = connections
    transaction = late.transaction()
    await transaction.start()
    await late.execute(INSERT, "begun first", 1)
    await early.execute(INSERT, "committed first", 1)
    assert await read(reader) == []  # what could still come before it is not decided
    await transaction.commit()

    async def both() -> bool:
        return await read(reader) == ["begun first", "committed first"]

    await until(both)  # other tests' transactions on this server hold events back too


async def test_an_event_whose_transaction_was_undone_is_not_waited_for(
    connections: list[asyncpg.Connection],
) -> None:
    reader, undone, done = connections
    transaction = undone.transaction()
    await transaction.start()
    await undone.execute(INSERT, "undone", 1)
    await done.execute(INSERT, "done", 1)
    await transaction.rollback()

    async def one() -> bool:
        return await read(reader) == ["done"]

    await until(one)


async def test_the_storage_writes_the_transaction_of_every_event(
    database: str, connections: list[asyncpg.Connection]
) -> None:
    """Of creations, of extended journals, of claims: whichever statement writes them."""
    storage = PostgresStorage(database)
    await storage.open()
    record = job()
    await storage.commit(commit(create=[(record, [NewEvent("job.created")])]))
    claim = await storage.claim(record.job_id, owner="w", at=record.created_at)
    assert claim is not None
    await storage.commit(commit(job_id=record.job_id, fence=claim.job.fence, events=[NewEvent("custom.a")]))
    await storage.aclose()
    (reader, *_) = connections
    rows = await reader.fetch("SELECT seq, xid::text::bigint AS xid FROM runtime_events ORDER BY xid, id")
    assert [row["seq"] for row in rows] == [1, 2, 3]
    assert len({row["xid"] for row in rows}) == 3


async def test_the_order_is_read_from_an_index(connections: list[asyncpg.Connection]) -> None:
    (reader, *_) = connections
    await reader.execute("SET enable_seqscan = off")
    await reader.execute("SET enable_bitmapscan = off")
    plan = "\n".join(row[0] for row in await reader.fetch(f"EXPLAIN {OUTBOX}", "0", 0))
    assert "Index Scan using runtime_events_outbox" in plan
    assert "Sort" not in plan
