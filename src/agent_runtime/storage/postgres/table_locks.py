"""Changing tables that others use: only for moments, or not at all.

A change of a table waits for everybody who has read it and whose transaction is still open: a dump, a forgotten psql.
Whoever comes to the table meanwhile, if only to read, queues behind the change. So it waits for moments only, lets the
others pass, and tries again; and when that does not help it says who is in the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from agent_runtime.errors import StorageError
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.errors import mapped
from llm_client.logs import logger_of

if TYPE_CHECKING:
    from agent_runtime.storage.postgres.connections import Connection

logger = logger_of(__name__)
T = TypeVar("T")

LOCK_MS: Final = 1500
"""How long a change waits for a table, and everybody else behind it."""
PAUSES: Final = (0.5, 1.0, 2.0)
"""Seconds between the tries, in which others get their turn."""
_ONE_AT_A_TIME: Final = 0x61676D67
"""Number of the advisory lock that lets one process migrate at a time: "agmg"."""
_IN_THE_WAY: Final = r"""
SELECT a.pid, coalesce(nullif(a.application_name, ''), 'without a name') AS application,
  extract(epoch FROM clock_timestamp() - min(a.xact_start))::float8 AS seconds
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND c.relname ~ '^(runtime|procrastinate)_' AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 3
"""


async def change_tables(connections: Connections, change: Callable[[Connection], Awaitable[T]]) -> T:
    """Change tables in one transaction, one process at a time.

    Raises:
        StorageError: Somebody's transaction keeps the tables; it says whose. Nothing was changed.
    """

    async def attempt(connection: Connection) -> T:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _ONE_AT_A_TIME)
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
            return await change(connection)

    with mapped():
        for pause in (*PAUSES, None):
            try:
                return await connections.run(attempt, patient=True)
            except asyncpg.LockNotAvailableError:
                blockers = await connections.fetch(_IN_THE_WAY)
                if pause is None:
                    raise StorageError(_sentence(blockers)) from None
                logger.warning("%s; trying again", _sentence(blockers))
                await asyncio.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _sentence(blockers: Any) -> str:
    who = ", ".join(
        f"process {row['pid']} ({row['application']}), whose transaction is {row['seconds']:.0f} s old"
        for row in blockers
    )
    return (
        f"the tables cannot be changed while others use them, and nothing was changed: {who or 'somebody'} is in the way; "
        "let it end, or end it with pg_terminate_backend"
    )
