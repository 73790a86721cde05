"""Bringing the logs up to the journals once, for whoever wants to read them and has no process that follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from agent_runtime.observability.sql.erasing import LogEraser
from agent_runtime.observability.sql.projection import JournalLogs
from agent_runtime.ports.clock import Clock, clock_of
from agent_runtime.ports.erasure import ErasedSubject
from agent_runtime.ports.feed import Cursor
from agent_runtime.ports.ids import new_id
from agent_runtime.ports.storage import Storage

HELD: Final = timedelta(seconds=60)
PATIENCE: Final = 5.0
"""Seconds for which a process that follows already is waited for."""
_PAUSE: Final = 0.05


async def update_logs(
    storage: Storage,
    logs: JournalLogs | None = None,
    *,
    told: Callable[[int], object] | None = None,
) -> int:
    """Write what the journals tell by now; return how many positions are left for another process that follows them, as a rule none.

    Args:
        storage: Whose journals.
        logs: What is to be brought up to date; by default the logs in the storage's own database.
        told: Is told now and then how many positions are left.

    Raises:
        StorageError: The journals cannot be read, or the logs cannot be written.
    """
    logs = logs or JournalLogs(storage)
    end, clock = await storage.feed_end(), clock_of(storage)
    cursor = await _taken(storage, logs.name, clock, end)
    if cursor is None:
        await logs.correct()
        return 0
    while cursor.holder is not None and cursor.position < end:
        if told is not None:
            told(end - cursor.position)
        entries = await storage.feed(after=cursor.position, upto=end)
        await logs.project(entries)
        position = entries[-1].position if entries else end
        moved = await _move(storage, cursor, position, clock, is_held=position < end)
        if not moved:  # it took so long that another one follows
            break
        cursor = replace(cursor, position=position)
    await logs.correct()
    return max(0, end - cursor.position)


class StoredLogEraser(LogEraser):
    """The eraser of the logs in a storage's own database. What the journals of the jobs tell is written first: afterwards they tell no more of it.

    Args:
        storage: Where both are.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self._storage = storage

    async def erase(self, subject: ErasedSubject) -> int:
        """Take content away, and return of how many rows."""
        if subject.job_ids:
            await JournalLogs(self._storage).tell_of(subject.job_ids)
        return await super().erase(subject)


async def _taken(storage: Storage, name: str, clock: Clock, end: int) -> Cursor | None:
    """Return the cursor once it is ours, or as it stands with another process after a while; `None` where that one is far enough."""
    loop, me = asyncio.get_running_loop(), new_id("logs")
    until = loop.time() + PATIENCE
    while True:
        found = {cursor.name: cursor for cursor in await storage.cursors()}.get(name)
        if found is not None and found.position >= end:
            return None
        now = clock.now()
        taken = await storage.take_cursor(name, holder=me, at=now, until=now + HELD)
        if taken is not None:
            return taken
        if loop.time() > until and found is not None:
            return replace(found, holder=None)
        await asyncio.sleep(_PAUSE)


async def _move(storage: Storage, cursor: Cursor, position: int, clock: Clock, *, is_held: bool) -> bool:
    now = clock.now()
    return await storage.move_cursor(
        cursor.name,
        fence=cursor.fence,
        position=position,
        at=now,
        until=now + HELD if is_held else None,
    )
