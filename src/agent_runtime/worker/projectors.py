"""Following the feed: projections are handed what has been written, one process at a time for each, and cursors keep how far."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from agent_runtime.errors import ConfigurationError, ExportFailed, StorageError
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.feed import Cursor, FeedEntry, Projection
from agent_runtime.ports.storage import Storage
from agent_runtime.values.checks import can_be_id
from llm_client.background import CLEAN_UP_SECONDS, BackgroundLoop, Backoff, begin, leave, stopped
from llm_client.exits import contained
from llm_client.logs import logger_of

logger = logger_of(__name__)

RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 60.0
RENEWALS: Final = 3
"""How often a cursor is renewed in the time for which it is held."""


class Projectors:
    """Keeps projections up with the feed.

    Args:
        projectors: One for each.

    Raises:
        ConfigurationError: Two projections have one name, or a name cannot be one.
    """

    def __init__(self, projectors: Iterable[Projector]) -> None:
        self._projectors = list(projectors)
        names = [one.name for one in self._projectors]
        for name in names:
            if not can_be_id(name):
                raise ConfigurationError(f"a projection cannot be called {name!r}")
            if names.count(name) > 1:
                raise ConfigurationError(
                    f"there are two projections called {name!r}; each has a cursor of its own"
                )

    def start(self) -> None:
        """Begin."""
        for projector in self._projectors:
            projector.start()

    async def stop(self) -> None:
        """Hand out nothing more, and give the cursors up."""
        await stopped(*(projector.stop for projector in self._projectors))


class Projector:
    """Keeps one projection up with the feed.

    Args:
        projection: What is kept up.
        storage: Whose feed.
        clock: What time it is.
        holder: This process's name.
        interval: Seconds between two looks at a feed that has nothing new.
        held_for: Seconds for which a cursor is held after a sign of life.
    """

    def __init__(
        self,
        projection: Projection,
        storage: Storage,
        clock: Clock,
        *,
        holder: str,
        interval: float,
        held_for: float,
    ) -> None:
        self.name = projection.name
        self._projection = projection
        self._storage = storage
        self._clock = clock
        self._holder = holder
        self._interval = interval
        self._held_for = held_for
        told: Callable[[Storage], object] | None = getattr(projection, "belongs_to", None)
        if told is not None:
            told(storage)
        self._prepare: Callable[[], Awaitable[object]] | None = getattr(projection, "prepare", None)
        """What is still to be done before the first entries."""
        self._cursor: Cursor | None = None
        self._held_since = 0.0
        """When the cursor was last asked for, by the loop's clock."""
        self._loop = BackgroundLoop(
            self._follow,
            name=f"projecting {self.name}",
            logger=logger,
            failures=(StorageError, ExportFailed),
            backoff=Backoff(RETRY_SECONDS, LONGEST_RETRY_SECONDS),
        )

    def start(self) -> None:
        """Begin."""
        self._loop.start(after=0)

    async def stop(self) -> None:
        """Hand out nothing more, and give the cursor up so that another process goes on at once."""
        await self._loop.stop()
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            try:
                await self._move(cursor, cursor.position, is_held=False)
            except StorageError as error:
                logger.warning("the cursor of %s could not be given up: %s", self.name, error)

    async def _follow(self) -> float:
        """Hand out what is next; return after how many seconds to look again."""
        cursor = self._cursor = self._cursor or await self._take()
        if cursor is None:
            return self._held_for / RENEWALS
        end = await self._storage.feed_end()
        entries = await self._storage.feed(after=cursor.position, upto=end) if end > cursor.position else ()
        if not self._is_held:  # this process has stood still: another one may be further by now
            self._cursor = None
            return 0
        if entries:
            if await self._project(cursor, entries):
                await self._keep(cursor, entries[-1].position)
            return 0
        if self._is_to_be_renewed:
            await self._keep(cursor, max(end, cursor.position))  # there may be gaps up to the end
        return self._interval

    async def _project(self, cursor: Cursor, entries: Sequence[FeedEntry]) -> bool:
        """Hand entries out; return whether they were dealt with while the cursor was ours."""
        task = begin(contained(self._projection.project(entries)), name=f"projecting {self.name}")
        try:
            while not task.done():
                await asyncio.wait((task,), timeout=self._held_for / RENEWALS)
                if not task.done() and not await self._keep(cursor, cursor.position):
                    return False
            task.result()
        finally:
            leave(task, again=CLEAN_UP_SECONDS)
        return True

    async def _take(self) -> Cursor | None:
        """Become the one who follows, unless another process does."""
        if self._prepare is not None:
            await self._prepare()
            self._prepare = None  # who waits for the cursor asks for it every few seconds
        begin_at = 0 if self._projection.begin == "first" else await self._storage.feed_end()
        asked_at = asyncio.get_running_loop().time()
        now = self._clock.now()
        until = now + timedelta(seconds=self._held_for)
        cursor = await self._storage.take_cursor(
            self.name, holder=self._holder, at=now, until=until, begin=begin_at
        )
        self._held_since = asked_at
        return cursor

    async def _keep(self, cursor: Cursor, position: int) -> bool:
        """Store how far everything was dealt with, and hold the cursor; return whether it is still ours."""
        asked_at = asyncio.get_running_loop().time()
        # Known before it is stored: who is stopped meanwhile gives up a cursor that may stand there already.
        self._cursor = replace(cursor, position=position)
        if await self._move(cursor, position, is_held=True):
            self._held_since = asked_at
            return True
        self._cursor = None
        return False

    async def _move(self, cursor: Cursor, position: int, *, is_held: bool) -> bool:
        now = self._clock.now()
        until = now + timedelta(seconds=self._held_for) if is_held else None
        return await self._storage.move_cursor(
            self.name, fence=cursor.fence, position=position, at=now, until=until
        )

    @property
    def _is_held(self) -> bool:
        """Whether no other process can have taken the cursor yet."""
        return asyncio.get_running_loop().time() < self._held_since + self._held_for

    @property
    def _is_to_be_renewed(self) -> bool:
        return asyncio.get_running_loop().time() >= self._held_since + self._held_for / RENEWALS
