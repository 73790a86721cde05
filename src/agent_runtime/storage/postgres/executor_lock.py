"""The place of the one process that executes a database's jobs without a shared queue: an advisory lock.

The lock belongs to a connection and goes with it, so it dies with its process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_runtime.storage.postgres.connections import CONNECT_TIMEOUT, Connections, is_closed
from agent_runtime.storage.postgres.errors import DRIVER_ERRORS, mapped

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

LOCK: Final = 0x61677274
"""The number of the lock: "agrt"."""


class ExecutorLock:
    """An advisory lock on the database, held by a connection of its own."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._connection: PoolConnectionProxy[asyncpg.Record] | None = None

    def is_held(self) -> bool:
        """Whether it is ours now; it is lost with its connection."""
        return self._connection is not None and not is_closed(self._connection)

    async def acquire(self) -> bool:
        """Take the lock if nobody holds it; return whether it is ours."""
        if self.is_held():
            return True
        await self.release()
        with mapped():
            connection = await self._connections.acquire()
            try:
                is_ours = await connection.fetchval(
                    "SELECT pg_try_advisory_lock($1)", LOCK, timeout=CONNECT_TIMEOUT
                )
            except BaseException as error:
                await self._connections.give_back(connection, failure=error)
                raise
            if not is_ours:
                await self._connections.give_back(connection)
                return False
        self._connection = connection
        return True

    async def release(self) -> None:
        """Give the lock up."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if not is_closed(connection):
                await connection.execute("SELECT pg_advisory_unlock_all()", timeout=CONNECT_TIMEOUT)
        except BaseException as error:  # the lock goes with its connection
            await self._connections.discard(connection)
            if not isinstance(error, DRIVER_ERRORS):
                raise
        else:
            await self._connections.give_back(connection)
