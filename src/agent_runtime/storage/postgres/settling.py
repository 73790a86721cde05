"""Waiting until a table is settled: ids are drawn before their transaction commits, so a lower one may come late.

Whoever inserts has the table's lock before an id is drawn, and lets it go when what was written can be seen. So once those who
have the lock now are gone, nothing can come to stand below the ids that could be seen before.
"""

from __future__ import annotations

import asyncio
from typing import Final

from agent_runtime.errors import StorageError
from agent_runtime.storage.postgres.connections import Connections

PATIENCE: Final = 60.0
"""Seconds to wait for transactions that write."""
LOOK_SECONDS: Final = 0.005
WRITERS: Final = """
SELECT virtualtransaction, pid FROM pg_locks
WHERE locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation = to_regclass($1) AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid()
"""


async def writers_gone(connections: Connections, table: str) -> None:
    """Wait for the transactions that may have written to a table until now.

    Raises:
        StorageError: One of them does not end.
    """
    writing = dict(map(tuple, await connections.fetch(WRITERS, table)))
    give_up_at = asyncio.get_running_loop().time() + PATIENCE
    while writing:
        if asyncio.get_running_loop().time() > give_up_at:
            pids = ", ".join(sorted(str(pid) for pid in writing.values()))
            raise StorageError(f"a transaction that may write {table} does not end (server process {pids})")
        await asyncio.sleep(LOOK_SECONDS)
        left = {name for name, _ in await connections.fetch(WRITERS, table)}
        writing = {name: pid for name, pid in writing.items() if name in left}
