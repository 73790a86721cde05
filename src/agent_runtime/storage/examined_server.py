"""What a server lacks for the runtime, asked without changing anything: what is written meanwhile is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from agent_runtime.ports.ids import new_id
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage import rows
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import (
    CONNECT_TIMEOUT,
    DRIVER_ERRORS,
    LEAST_VERSION,
    MIGRATE,
    POOL_SIZE,
    mapped,
    translated,
)
from agent_runtime.storage.postgres.tables import QUEUE_TABLE
from agent_runtime.storage.postgres.values import encode

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record]

QUEUE_CONNECTIONS: Final = 4
"""What a worker's queue uses besides the pool."""
NEWS_SECONDS: Final = 2.0
"""How long a notification may take from one connection to another."""
_CHANNEL: Final = "agent_runtime_doctor"

_SERVER: Final = """
SELECT current_setting('server_version_num')::int / 10000 AS version, current_setting('server_encoding') AS encoding,
  pg_is_in_recovery() AS is_replica, current_setting('default_transaction_read_only') = 'on' AS is_read_only,
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS of_server,
  (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_role,
  (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database,
  to_regclass($1) IS NOT NULL AS has_queue
"""
_LACKING: Final = r"""
SELECT c.relname || ' (' || string_agg(lower(p), ', ' ORDER BY p) || ')' FROM pg_class c, unnest($1::text[]) p
WHERE c.relkind = 'r' AND pg_table_is_visible(c.oid) AND c.relname ~ '^(runtime|procrastinate)_'
  AND c.relname <> 'runtime_schema_version' AND NOT has_table_privilege(c.oid, p)
GROUP BY c.relname ORDER BY c.relname
"""
_WANTED: Final = ["SELECT", "INSERT", "UPDATE", "DELETE"]
_SHOWN: Final = 3


async def examine(dsn: str) -> list[str]:
    """Return what the server lacks, a sentence for each; nothing if all is there.

    Raises:
        StorageError: It cannot be asked.
    """
    with mapped():
        async with _connected(dsn) as connection:
            found = await connection.fetchrow(_SERVER, QUEUE_TABLE)
            assert found is not None  # noqa: S101 -- a query without a table has a row
            lacks = [*_of_server(found), *_of_connections(found)]
            tables = await connection.fetchval("SELECT to_regclass('runtime_workers') IS NOT NULL")
            if tables:
                lacks += await _of_tables(connection, has_queue=found["has_queue"])
            if not found["is_replica"] and not await _hears(dsn, connection):
                lacks.append(
                    "a notification of one connection does not reach another: a pooler in transaction mode breaks LISTEN; connect to "
                    "the server itself"
                )
    return lacks


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[Connection]:
    import asyncpg

    connection = await asyncpg.connect(
        dsn, timeout=CONNECT_TIMEOUT, command_timeout=CONNECT_TIMEOUT, statement_cache_size=0
    )
    try:
        yield connection
    finally:
        connection.terminate()  # without a word: a server that does not answer would be waited for


def _of_server(found: asyncpg.Record) -> list[str]:
    lacks = []
    if found["version"] < LEAST_VERSION:
        lacks.append(f"Postgres {found['version']} is too old; agent-runtime needs {LEAST_VERSION} or newer")
    if found["encoding"] != "UTF8":
        lacks.append(
            f"the database's encoding is {found['encoding']}, which cannot hold every text; make one with ENCODING 'UTF8'"
        )
    if found["is_replica"]:
        lacks.append("the server is a replica and takes no writes; name the primary")
    elif found["is_read_only"]:
        lacks.append(
            "transactions are read-only here (default_transaction_read_only is on, for the server, the database or the role)"
        )
    return lacks


def _of_connections(found: asyncpg.Record) -> list[str]:
    """Say where a worker would not get its connections."""
    bounds = {
        "max_connections": found["of_server"],
        "the role's CONNECTION LIMIT": found["of_role"],
        "the database's CONNECTION LIMIT": found["of_database"],
    }
    wanted = POOL_SIZE + QUEUE_CONNECTIONS
    return [
        f"{name} leaves room for {bound} connections, and one worker uses up to {wanted}"
        for name, bound in bounds.items()
        if bound is not None and 0 <= bound < wanted
    ]


async def _of_tables(connection: Connection, *, has_queue: bool) -> list[str]:
    """Try a write, and see what may not be done with which table."""
    lacks = []
    if not has_queue:
        lacks.append(f"the tables of the queue are missing: with the extra postgres installed, {MIGRATE}")
    transaction = connection.transaction()
    await transaction.start()
    try:
        row = encode(rows.WORKER, rows.worker_row(_nobody()))
        await connection.fetch(sql.PUT_WORKER, *([value] for value in row))
    except DRIVER_ERRORS as error:
        lacks.append(f"a row cannot be written: {translated(error)}")
    finally:
        await transaction.rollback()
    forbidden = [row[0] for row in await connection.fetch(_LACKING, _WANTED)]
    if forbidden:
        more = f" and {len(forbidden) - _SHOWN} more" if len(forbidden) > _SHOWN else ""
        lacks.append(f"the role lacks rights on {', '.join(forbidden[:_SHOWN])}{more}")
    return lacks


def _nobody() -> WorkerRecord:
    now = datetime(2000, 1, 1, tzinfo=UTC)
    return WorkerRecord(worker_id=new_id("doctor"), started_at=now, heartbeat_at=now)


async def _hears(dsn: str, connection: Connection) -> bool:
    """Whether what another connection says arrives."""
    heard = asyncio.Event()
    await connection.add_listener(_CHANNEL, lambda *_: heard.set())
    async with _connected(dsn) as other:
        await other.execute(f"NOTIFY {_CHANNEL}")
        try:
            async with asyncio.timeout(NEWS_SECONDS):
                await heard.wait()
        except TimeoutError:
            return False
    return True
