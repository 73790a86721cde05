"""The queue's connections: dead ones are replaced unasked, and statements commit by themselves."""

from collections.abc import AsyncIterator

import psycopg
import psycopg_pool
import pytest

from agent_runtime.adapters.queue_pool import check_socket, queue_pool


@pytest.fixture
async def pool(database: str) -> AsyncIterator[psycopg_pool.AsyncConnectionPool]:
    async with queue_pool(conninfo=database, min_size=1, max_size=1, timeout=5.0, open=False) as opened:
        yield opened


async def _close_all(database: str) -> None:
    """Have the server close every connection but the one that asks."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
        await other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


async def test_a_connection_that_the_server_has_closed_is_not_handed_out(
    pool: psycopg_pool.AsyncConnectionPool, database: str
) -> None:
    async with pool.connection() as connection:
        before = connection.info.backend_pid

    await _close_all(database)

    async with pool.connection() as connection:
        assert connection.info.backend_pid != before
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_a_closed_connection_is_known_by_its_socket_and_a_live_one_is_not_asked(
    pool: psycopg_pool.AsyncConnectionPool, database: str
) -> None:
    async with pool.connection() as connection:
        await connection.execute("SELECT 'the last statement'")
        await check_socket(connection)
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as other:
            row = await other.execute(
                "SELECT query FROM pg_stat_activity WHERE pid = %s", (connection.info.backend_pid,)
            )
            assert await row.fetchone() == ("SELECT 'the last statement'",)

        await _close_all(database)

        with pytest.raises(psycopg.OperationalError):
            await check_socket(connection)


async def test_a_statement_is_committed_without_being_told_to(
    pool: psycopg_pool.AsyncConnectionPool, database: str
) -> None:
    async with pool.connection() as connection:
        await connection.execute("CREATE TABLE seen (number int)")
        async with await psycopg.AsyncConnection.connect(database) as other:
            assert await (await other.execute("SELECT count(*) FROM seen")).fetchone() == (0,)
