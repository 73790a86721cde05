"""The feed: the entries of all jobs in one line, which projections follow, each with a cursor of its own.

Whoever reads by number alone misses what commits late. So a feed has an end, up to which it is settled: nothing that is being
written can come to stand before it. Entries of one job stand in the order of its journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, Protocol

from agent_runtime.values.event import RuntimeEvent

FEED_ENTRIES: Final = 1000
FEED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of private content, and of data that is long, which are read at once, or one entry's."""


class FeedEntry(NamedTuple):
    """An entry of some job's journal, and where it stands among those of all jobs."""

    position: int
    event: RuntimeEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Up to where a projection has dealt with the feed, and who does so now."""

    name: str
    position: int = 0
    """Everything up to it was dealt with."""
    fence: int = 0
    """Grows whenever somebody takes the cursor; whoever had it before moves it no more."""
    holder: str | None = None
    """Who follows the feed under this name, until `held_until` at least."""
    held_until: datetime | None = None
    updated_at: datetime


class Feed(Protocol):
    """Reads the entries of all jobs, and keeps up to where each projection has done so."""

    async def feed_end(self) -> int:
        """Return the position up to which the feed is settled, 0 when nothing was ever written.

        Raises:
            StorageError: A transaction that may write entries does not end.
        """
        ...

    async def feed(
        self,
        *,
        after: int,
        upto: int,
        limit: int = FEED_ENTRIES,
        max_bytes: int = FEED_BYTES,
        with_content: bool = True,
    ) -> Sequence[FeedEntry]:
        """Return entries in their order.

        Args:
            after: From the one behind this position on.
            upto: A position up to which the feed is settled.
            limit: How many at most.
            max_bytes: How much private content, and long data, they may have together; the first is given in any case.
            with_content: Whether their private content is wanted; otherwise it is not read, and does not count.
        """
        ...

    async def cursors(self) -> Sequence[Cursor]:
        """Return all cursors, by name."""
        ...

    async def take_cursor(
        self, name: str, *, holder: str, at: datetime, until: datetime, begin: int = 0
    ) -> Cursor | None:
        """Become the one who follows the feed under a name, and return the cursor; `None` while another one is.

        Args:
            name: The projection's.
            holder: Who wants to. One who has it takes it anew, with a new fence.
            at: When.
            until: How long nobody else can take it.
            begin: Where a cursor that is not there yet begins.
        """
        ...

    async def move_cursor(
        self, name: str, *, fence: int, position: int, at: datetime, until: datetime | None
    ) -> bool:
        """Keep up to where everything was dealt with, and go on holding the cursor; return whether it is still ours.

        Args:
            name: The projection's.
            fence: The one the cursor was taken with.
            position: Up to where; never back.
            at: When.
            until: How long nobody else can take it; `None` gives it up.
        """
        ...

    async def drop_cursor(self, name: str) -> bool:
        """Forget a cursor, which begins anew when it is taken the next time; return whether there was one.

        What it held back from being pruned is held back no longer.
        """
        ...


class Projection(Protocol):
    """Something that is kept up with the journals of all jobs: tables, a search index, a broker, a monitor.

    Give it to a kernel (`projections=`). It is handed every entry of every job at least once, in the order of the feed, by one
    process at a time; what a process was in the middle of when it died is handed to the next one again. So it does the same
    thing twice without harm: it knows an entry by its position, or by job and `seq`.

    An asynchronous method `prepare`, if it has one, is called before the first entries, and again when it has failed. A method
    `belongs_to`, if it has one, is told the storage whose journals it will be handed when a kernel is made with it.
    """

    @property
    def name(self) -> str:
        """Under which its cursor is kept; another name begins anew."""
        ...

    @property
    def begin(self) -> Literal["first", "now"]:
        """Whether it begins with the first entry that is there, or with those that are written from now on."""
        ...

    async def project(self, entries: Sequence[FeedEntry]) -> None:
        """Deal with entries; when it returns they count as dealt with.

        One that raises is given the same entries again after a while, for as long as it raises. Jobs do not notice.
        """
        ...
