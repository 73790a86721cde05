"""The entries of all jobs in one line, and who follows it how far."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from agent_runtime.ports.feed import FEED_BYTES, FEED_ENTRIES, Cursor, FeedEntry
from agent_runtime.storage import cursors
from agent_runtime.storage.rows import CURSOR
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.reader import Reader
from agent_runtime.storage.sqlite.values import decode, event_record, from_time
from agent_runtime.storage.sqlite.writer import Writer

_PARAMETERS: Final = {
    name: f":{name}" for name in ("name", "position", "fence", "holder", "until", "at", "is_held")
}
_TAKE: Final = cursors.TAKE.format(**_PARAMETERS)
_MOVE: Final = cursors.MOVE.format(**_PARAMETERS)
_DROP: Final = cursors.DROP.format(**_PARAMETERS)
_PLACES: Final = {"after": "?", "upto": "?", "limit": "?"}
_READ: Final = {
    True: (cursors.SIZES.format(bytes=cursors.BYTES_ON_SQLITE, **_PLACES), cursors.PAGE.format(**_PLACES)),
    False: (
        cursors.SIZES.format(bytes=cursors.DATA_ON_SQLITE, **_PLACES),
        cursors.PUBLIC_PAGE.format(**_PLACES),
    ),
}
"""How much entries have, and the entries: with their content, and without."""


class Feed:
    """Reads the feed and keeps cursors."""

    _reader: Reader
    _writer: Writer

    async def feed_end(self) -> int:
        """Return the last position: one transaction writes at a time, so nothing comes late."""
        ((end,),) = await self._reader.rows(sql.LAST_POSITION)
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
        sizes, page = _READ[with_content]

        def read(db: sqlite3.Connection) -> list[FeedEntry]:
            last = cursors.last_of_page(db.execute(sizes, (after, upto, limit)), max_bytes)
            found = [] if last is None else db.execute(page, (after, last))
            return [
                FeedEntry(position, event_record(job_id, scope_id, row))
                for position, job_id, scope_id, *row in found
            ]

        return await self._reader.run(read)

    async def cursors(self) -> Sequence[Cursor]:
        """Return all cursors, by name."""
        return [cursors.cursor_record(decode(CURSOR, row)) for row in await self._reader.rows(cursors.ALL)]

    async def take_cursor(
        self, name: str, *, holder: str, at: datetime, until: datetime, begin: int = 0
    ) -> Cursor | None:
        """Become the one who follows the feed under a name."""
        row = {
            "name": name,
            "position": begin,
            "holder": holder,
            "until": from_time(until),
            "at": from_time(at),
        }
        taken = await self._writer.run(lambda db: db.execute(_TAKE, row).fetchone())
        return None if taken is None else cursors.cursor_record(decode(CURSOR, taken))

    async def move_cursor(
        self, name: str, *, fence: int, position: int, at: datetime, until: datetime | None
    ) -> bool:
        """Keep up to where everything was dealt with."""
        row = {
            "name": name,
            "fence": fence,
            "position": position,
            "at": from_time(at),
            "until": None if until is None else from_time(until),
            "is_held": until is not None,
        }
        return await self._writer.run(lambda db: db.execute(_MOVE, row).fetchone()) is not None

    async def drop_cursor(self, name: str) -> bool:
        """Forget a cursor."""
        return await self._writer.run(lambda db: db.execute(_DROP, {"name": name}).fetchone()) is not None
