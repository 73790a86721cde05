"""Migrating the database of a URL, up or down."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent_runtime.errors import InvalidInput
from agent_runtime.storage.migrations import HEAD, REVISIONS, unknown_schema


async def migrate_postgres(url: str, revision: str = "head") -> tuple[str | None, str | None]:
    """Bring the tables of a Postgres database to a revision, and those of its queue; `base` removes all of them.

    Returns:
        The revisions before and after; `None` where there are no tables.

    Raises:
        InvalidInput: There is no such revision.
        SchemaMismatch: The database has one that this version does not know.
        StorageError: The server cannot be reached.
    """
    from agent_runtime.storage.postgres.connections import Connections
    from agent_runtime.storage.postgres.tables import migrate_tables

    connections = Connections(url)
    await connections.open()
    try:
        return await migrate_tables(connections, revision)
    finally:
        await connections.aclose()


async def migrate_sqlite(path: Path, revision: str = "head") -> tuple[str | None, str | None]:
    """Bring the tables of a SQLite file to a revision; `base` removes them. Returns and raises as for Postgres."""
    return await asyncio.to_thread(_migrate_sqlite, path, HEAD if revision == "head" else revision)


def _migrate_sqlite(path: Path, revision: str) -> tuple[str | None, str | None]:
    from agent_runtime.storage.migrations.run import downgrade, upgrade
    from agent_runtime.storage.sqlite.connection import connect, schema_version
    from agent_runtime.storage.sqlite.errors import mapped

    def version() -> str | None:
        with mapped(str(path)):
            database = connect(path)
            try:
                return schema_version(database)
            finally:
                database.close()

    place = {"base": -1, **{known: number for number, known in enumerate(REVISIONS)}}
    if revision not in place:
        raise InvalidInput(f"there is no schema {revision!r}; known are {', '.join(place)}")
    before = version()
    if before is not None and before not in place:
        raise unknown_schema(repr(str(path)), before)
    if place[revision] < place[before or "base"]:
        downgrade(f"sqlite:///{path}", revision)
    else:
        upgrade(f"sqlite:///{path}", revision)
    return before, version()
