"""Whether a file can be written, asked without changing it: what is written is taken back."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from agent_runtime.ports.ids import new_id
from agent_runtime.ports.workers import WorkerRecord
from agent_runtime.storage import rows
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.connection import connect, schema_version
from agent_runtime.storage.sqlite.errors import translated
from agent_runtime.storage.sqlite.values import encode


def examine(path: Path) -> list[str]:
    """Return why the file cannot be written, as one sentence; nothing if it can."""
    now = datetime(2000, 1, 1, tzinfo=UTC)
    nobody = WorkerRecord(worker_id=new_id("doctor"), started_at=now, heartbeat_at=now)
    try:
        db = connect(path)
        try:
            db.execute("BEGIN IMMEDIATE")
            if schema_version(db) is not None:
                db.execute(sql.PUT_WORKER, encode(rows.WORKER, rows.worker_row(nobody)))
            db.execute("ROLLBACK")
        finally:
            db.close()
    except sqlite3.Error as error:
        return [f"a row cannot be written: {translated(error, str(path))}"]
    return []
