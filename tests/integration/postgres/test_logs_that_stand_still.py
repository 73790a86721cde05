"""A process that stands still in the middle of a transaction on the logs does not have all others stand still."""

import asyncio
import time

import psycopg
import pytest
from sqlalchemy import Connection, text

from agent_runtime.errors import StorageError
from agent_runtime.observability import ExecutionLogger, LogStore
from agent_runtime.observability.sql import database as logs_database
from agent_runtime.observability.sql import patience
from agent_runtime.storage.postgres import PostgresStorage


async def log(storage: PostgresStorage, times: int) -> None:
    for _ in range(times):
        async with ExecutionLogger(storage).log_execution("a", "run"):
            pass


async def test_rows_are_given_up_while_another_holds_the_sums_and_written_afterwards(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logs_database, "_PATIENCE", "SET LOCAL lock_timeout = '200ms'")
    monkeypatch.setattr(patience, "WAIT_SECONDS", 0)
    storage = PostgresStorage(database)
    await storage.open()
    logs = LogStore(storage)
    await log(storage, 1)
    async with asyncio.timeout(10):
        while await logs.count_executions(status="completed") < 1:
            await asyncio.sleep(0.01)
    holder = await asyncio.to_thread(psycopg.connect, database)
    await asyncio.to_thread(holder.execute, "SELECT * FROM execution_log_rollups FOR UPDATE")
    await log(storage, 60)  # no one of them waits
    began = time.monotonic()
    async with asyncio.timeout(20):
        await logs.aclose()
    assert time.monotonic() - began < 10
    assert "was not written" in caplog.text
    await asyncio.to_thread(holder.close)
    await log(storage, 1)
    async with asyncio.timeout(10):
        while await logs.count_executions(status="completed") < 2:
            await asyncio.sleep(0.01)
    await logs.aclose()
    await storage.aclose()


async def test_a_transaction_that_says_nothing_is_ended_by_the_server(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = "SET LOCAL idle_in_transaction_session_timeout = '300ms'"
    monkeypatch.setattr(logs_database, "_PATIENCE", soon)
    storage = PostgresStorage(database)
    await storage.open()
    logs = logs_database.database_of(storage)

    def stands_still(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))
        time.sleep(1)
        connection.execute(text("SELECT 1"))

    with pytest.raises(StorageError):
        await logs.run(stands_still)
    await logs.aclose()
    await storage.aclose()
