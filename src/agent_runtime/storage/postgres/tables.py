"""Making, checking and removing the tables.

Alembic writes the SQL of the migrations; it is run on our own connection, in one transaction. So a pool is enough, and
no second driver is needed.
"""

from __future__ import annotations

import asyncio
from importlib import resources
from typing import TYPE_CHECKING, Final

from agent_runtime.errors import InvalidInput, SchemaMismatch
from agent_runtime.storage.migrations import HEAD, REVISIONS, VERSION_TABLE, unknown_schema
from agent_runtime.storage.postgres.connections import MIGRATE, Connections, mapped
from agent_runtime.storage.postgres.locks import change_tables

if TYPE_CHECKING:
    from agent_runtime.storage.postgres.connections import Connection

LONG_SECONDS: Final = 86_400.0
"""How long a statement of a migration may take: an index on a large table is not made in a moment."""
QUEUE_TABLE: Final = "procrastinate_jobs"
_DROP_QUEUE: Final = (
    r"""
    SELECT format('DROP TABLE %s CASCADE', oid::regclass) FROM pg_class
    WHERE relkind = 'r' AND relname LIKE 'procrastinate\_%' AND pg_table_is_visible(oid)
    """,
    r"""
    SELECT format('DROP FUNCTION %s CASCADE', oid::regprocedure) FROM pg_proc
    WHERE proname LIKE 'procrastinate\_%' AND pg_function_is_visible(oid)
    """,
    r"""
    SELECT format('DROP TYPE %s CASCADE', oid::regtype) FROM pg_type
    WHERE typname LIKE 'procrastinate\_%' AND pg_type_is_visible(oid)
    """,
)
"""Queries for the statements that remove what procrastinate has made."""


async def schema_version(connection: Connection) -> str | None:
    """Return the schema's revision, `None` when there are no tables of ours."""
    if await connection.fetchval("SELECT to_regclass($1)", VERSION_TABLE) is None:
        return None
    version: str | None = await connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608
    return version


async def check_tables(connections: Connections) -> None:
    """Refuse a database whose tables are missing or of another version.

    Raises:
        SchemaMismatch: With what to run.
    """
    with mapped():
        version = await connections.run(schema_version)
    if version == HEAD:
        return
    if version is None:
        raise SchemaMismatch(f"the database has no tables of agent-runtime yet: {MIGRATE}")
    if version in REVISIONS:
        raise SchemaMismatch(f"the database has schema {version}, this agent-runtime needs {HEAD}: {MIGRATE}")
    raise unknown_schema("the database", version)


async def create_tables(connections: Connections) -> None:
    """Bring the tables to the newest revision, and create those of the queue when its package is installed."""
    await migrate_tables(connections, HEAD)


async def _create_queue(connections: Connections) -> None:
    script = await asyncio.to_thread(_queue_script)
    if script is None:
        return

    async def create(connection: Connection) -> None:
        if await connection.fetchval("SELECT to_regclass($1)", QUEUE_TABLE) is None:
            await connection.execute(script)

    await change_tables(connections, create)


async def migrate_tables(connections: Connections, revision: str) -> tuple[str | None, str | None]:
    """Bring the tables to a revision, up or down; `base` removes them. Return the revisions before and after.

    Raises:
        InvalidInput: There is no such revision.
        SchemaMismatch: The database has one that this version does not know.
    """
    done = await _migrate(connections, HEAD if revision == "head" else revision)
    if revision == "base":
        await _drop_queue(connections)
    else:
        await _create_queue(connections)
    return done


async def _migrate(connections: Connections, revision: str) -> tuple[str | None, str | None]:
    if revision not in (*REVISIONS, "base"):
        raise InvalidInput(f"there is no schema {revision!r}; known are base, {', '.join(REVISIONS)}")

    async def change(connection: Connection) -> tuple[str | None, str | None]:
        before = await schema_version(connection)
        if before is not None and before not in REVISIONS:
            raise unknown_schema("the database", before)
        script = await asyncio.to_thread(_script, before, revision)
        if script:
            await connection.execute(script, timeout=LONG_SECONDS)
        if revision == "base":
            await connection.execute(f"DROP TABLE IF EXISTS {VERSION_TABLE}")
        return before, await schema_version(connection)

    return await change_tables(connections, change)


def _script(before: str | None, after: str) -> str:
    """Return the SQL that leads from one revision to another, without its transaction control."""
    from agent_runtime.storage.migrations.run import script

    place: dict[str | None, int] = {
        None: -1,
        "base": -1,
        **{revision: n for n, revision in enumerate(REVISIONS)},
    }
    if place[before] == place[after]:
        return ""
    return script("postgresql://", before, after, down=place[after] < place[before])


async def _drop_queue(connections: Connections) -> None:
    """Remove the tables, types and functions of the queue."""

    async def drop(connection: Connection) -> None:
        for statement in _DROP_QUEUE:
            for (command,) in await connection.fetch(statement):
                await connection.execute(command)

    await change_tables(connections, drop)


def _queue_script() -> str | None:
    """Return the SQL of procrastinate's tables, `None` when it is not installed."""
    try:
        return resources.files("procrastinate.sql").joinpath("schema.sql").read_text(encoding="utf-8")
    except ModuleNotFoundError:
        return None
