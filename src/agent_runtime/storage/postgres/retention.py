"""Deleting what is old."""

from __future__ import annotations

from datetime import datetime

from agent_runtime.ports.retention import Forgettable
from agent_runtime.storage.forgetting import forget
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections


class Retention:
    """Deletes what is old."""

    _connections: Connections

    async def prune(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete jobs that ended before a moment."""
        return len(await self._connections.fetch(sql.PRUNE, before, limit, max_events))

    async def forget(self, what: Forgettable, *, before: datetime, limit: int = 1000) -> int:
        """Delete what nobody has used since a moment."""
        count = 0
        for statement in forget(what, dollar=True):
            count = len(await self._connections.fetch(f"{statement} RETURNING 1", before, limit))
        return count

    async def prune_content(self, *, before: datetime, limit: int = 500, max_events: int = 5000) -> int:
        """Delete the content of jobs that ended before a moment."""
        return len(await self._connections.fetch(sql.PRUNE_CONTENT, before, limit, max_events))
