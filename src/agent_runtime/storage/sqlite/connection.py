"""Opening a SQLite file the way the journal needs it, and giving it its tables."""

from __future__ import annotations

import os
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from agent_runtime.audit.chain import content_digest
from agent_runtime.errors import StorageReadOnly
from agent_runtime.storage.migrations import HEAD, REVISIONS, unknown_schema
from llm_client.private_files import make_private

Durability = Literal["power", "process"]
"""What a finished commit survives: a loss of power (`synchronous=FULL`), or only the death of the process (`NORMAL`)."""

READER_CACHE_KIB: Final = 512
"""Page cache of a connection that only reads; the operating system caches the file as well."""
BUSY_SECONDS: Final = 10.0
"""How long to wait for another process's transaction."""


def connect(path: Path, *, durability: Durability = "power", read_only: bool = False) -> sqlite3.Connection:
    """Open a connection in WAL mode, without implicit transactions. To be used by one thread at a time.

    Raises:
        StorageReadOnly: There is a log beside the file, and the folder cannot be written, which reading both takes.
    """
    if not read_only:
        make_private(path)
    db = sqlite3.connect(
        address(path),
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        db.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        if read_only:
            db.execute("PRAGMA query_only = ON")
            db.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
        else:
            db.create_function("content_digest", 3, content_digest, deterministic=True)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
    except BaseException:
        db.close()
        raise
    return db


def address(path: Path) -> str:
    """Return the file's address, a URI: of one in a folder that cannot be written, without the files that SQLite makes beside it.

    A read-only mount, say. What is in the file can be read all the same, and every write says that it cannot be.
    """
    uri = f"file:{quote(str(path))}"
    if not path.exists() or os.access(path.parent, os.W_OK):
        return uri
    log, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if not log.exists() or not log.stat().st_size:
        return f"{uri}?immutable=1"
    if not index.exists():
        raise StorageReadOnly(
            f"{str(path)!r} cannot be read: its log, {log.name}, has to be written into it first, and the folder cannot be "
            "written; copy both to one that can"
        )
    return uri


def ensure_schema(db: sqlite3.Connection, path: Path) -> None:
    """Create the tables in a new file, migrate an older one, refuse any other."""
    version = schema_version(db)
    if version == HEAD:
        return
    if version is None:
        db.execute("BEGIN IMMEDIATE")
        try:
            if schema_version(db) is None:
                _create(db)
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    elif version in REVISIONS:
        from agent_runtime.storage.migrations.run import upgrade

        upgrade(f"sqlite:///{path}")
    else:
        raise unknown_schema(repr(str(path)), version)


def schema_version(db: sqlite3.Connection) -> str | None:
    """Return the file's schema revision, `None` when it has no tables of ours."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'runtime_schema_version'").fetchone() is None:
        return None
    row = db.execute("SELECT version_num FROM runtime_schema_version").fetchone()
    return None if row is None else row[0]


def _create(db: sqlite3.Connection) -> None:
    script = (
        resources.files("agent_runtime.storage.sqlite").joinpath("schema.sql").read_text(encoding="utf-8")
    )
    for statement in script.split(";\n"):
        if statement.strip():
            db.execute(statement)
    db.execute("INSERT INTO runtime_schema_version (version_num) VALUES (?)", (HEAD,))
