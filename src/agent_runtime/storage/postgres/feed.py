"""The entries of all jobs in one line, and who follows it how far."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from agent_runtime.ports.feed import FEED_BYTES, FEED_ENTRIES, Cursor, FeedEntry
from agent_runtime.storage import cursors
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.locks import writers_gone
from agent_runtime.storage.postgres.values import decode, event_records, from_text, to_text
from agent_runtime.storage.rows import CURSOR

_TAKE: Final = cursors.TAKE.format(name="$1", position="$2", holder="$3", until="$4", at="$5")
_MOVE: Final = cursors.MOVE.format(
    name="$1", fence="$2", position="$3", at="$4", until="$5::timestamptz", is_held="$5 IS NOT NULL"
)
_DROP: Final = cursors.DROP.format(name="$1")
_PLACES: Final = {"after": "$1", "upto": "$2", "limit": "$3"}
_READ: Final = {
    True: (cursors.SIZES.format(bytes=cursors.BYTES_ON_POSTGRES, **_PLACES), cursors.PAGE.format(**_PLACES)),
    False: (
        cursors.SIZES.format(bytes=cursors.DATA_ON_POSTGRES, **_PLACES),
        cursors.PUBLIC_PAGE.format(**_PLACES),
    ),
}
"""How much entries have, and the entries: with their content, and without."""


class Feed:
    """Reads the feed and keeps cursors."""

    _connections: Connections

    async def feed_end(self) -> int:
        """Return the last position that can be seen, once nothing can come to stand before it."""
        ((end,),) = await self._connections.fetch("SELECT coalesce(max(id), 0) FROM runtime_events")
        await writers_gone(self._connections, "runtime_events")
        return int(end)

    async def feed(
        self,
        *,
        after: int,
        upto: int,
        limit: int = FEED_ENTRIES,
        max_bytes: int = FEED_BYTES,
        with_content: bool = True,
    ) -> Sequence[FeedEntry]:
        """Return entries in their order."""
        measure, read = _READ[with_content]
        sizes = await self._connections.fetch(measure, after, upto, limit)
        last = cursors.last_of_page(((row[0], row[1]) for row in sizes), max_bytes)
        found = [] if last is None else await self._connections.fetch(read, after, last)
        rows = [tuple(row) for row in found]
        events = await event_records([(from_text(row[1]), from_text(row[2]), row[3:]) for row in rows])
        return [FeedEntry(row[0], event) for row, event in zip(rows, events, strict=True)]

    async def cursors(self) -> Sequence[Cursor]:
        """Return all cursors, by name."""
        found = await self._connections.fetch(cursors.ALL)
        return [cursors.cursor_record(decode(CURSOR, tuple(row))) for row in found]

    async def take_cursor(
        self, name: str, *, holder: str, at: datetime, until: datetime, begin: int = 0
    ) -> Cursor | None:
        """Become the one who follows the feed under a name."""
        row = (to_text(name), begin, to_text(holder), until, at)
        taken = await self._connections.fetch(_TAKE, *row)
        return cursors.cursor_record(decode(CURSOR, tuple(taken[0]))) if taken else None

    async def move_cursor(
        self, name: str, *, fence: int, position: int, at: datetime, until: datetime | None
    ) -> bool:
        """Keep up to where everything was dealt with."""
        return bool(await self._connections.fetch(_MOVE, to_text(name), fence, position, at, until))

    async def drop_cursor(self, name: str) -> bool:
        """Forget a cursor."""
        return bool(await self._connections.fetch(_DROP, to_text(name)))
