"""The entries of all jobs in one line, and who follows it how far."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from operator import itemgetter

from agent_runtime.ports.feed import FEED_BYTES, FEED_ENTRIES, Cursor, FeedEntry
from agent_runtime.storage.cursors import bytes_of, last_of_page
from agent_runtime.storage.memory.state import State


class Feed:
    """Reads the feed and keeps cursors."""

    _state: State

    async def feed_end(self) -> int:
        """Return the last position."""
        return self._state.positions

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
        state = self._state
        first = bisect_right(state.feed, after, key=itemgetter(0))
        places = [place for place in islice(state.feed, first, first + limit) if place[0] <= upto]
        found = [FeedEntry(at, state.journals[job_id][seq - 1]) for at, job_id, seq in places]
        sizes = ((at, bytes_of(event, with_content=with_content)) for at, event in found)
        last = last_of_page(sizes, max_bytes)
        page = [] if last is None else [entry for entry in found if entry.position <= last]
        return page if with_content else [FeedEntry(at, replace(event, content=None)) for at, event in page]

    async def cursors(self) -> Sequence[Cursor]:
        """Return all cursors, by name."""
        return [cursor for _, cursor in sorted(self._state.cursors.items())]

    async def take_cursor(
        self, name: str, *, holder: str, at: datetime, until: datetime, begin: int = 0
    ) -> Cursor | None:
        """Become the one who follows the feed under a name."""
        known = self._state.cursors.get(name) or Cursor(name=name, position=begin, updated_at=at)
        if known.holder not in (None, holder) and known.held_until is not None and known.held_until > at:
            return None
        taken = replace(known, fence=known.fence + 1, holder=holder, held_until=until, updated_at=at)
        self._state.cursors[name] = taken
        return taken

    async def move_cursor(
        self, name: str, *, fence: int, position: int, at: datetime, until: datetime | None
    ) -> bool:
        """Keep up to where everything was dealt with."""
        known = self._state.cursors.get(name)
        if known is None or known.fence != fence or known.holder is None or known.position > position:
            return False
        holder = None if until is None else known.holder
        self._state.cursors[name] = replace(
            known, position=position, holder=holder, held_until=until, updated_at=at
        )
        return True

    async def drop_cursor(self, name: str) -> bool:
        """Forget a cursor."""
        return self._state.cursors.pop(name, None) is not None
