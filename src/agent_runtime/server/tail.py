"""The feed of all jobs for readers of the service: looked at once for all of them, and only while somebody reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple

from agent_runtime.errors import StorageError
from agent_runtime.ports.commit import Commit
from agent_runtime.ports.feed import FeedEntry
from agent_runtime.ports.journal import RemoteChange
from agent_runtime.ports.storage import Storage
from agent_runtime.storage.cursors import bytes_of
from agent_runtime.values.event import RuntimeEvent
from llm_client.background import BackgroundLoop, Backoff
from llm_client.logs import logger_of
from llm_client.turns import aside

logger = logger_of(__name__)

KEPT: Final = 5_000
"""Entries that readers find without the storage being asked."""
KEPT_SECONDS: Final = 30.0
"""How long they are kept: what is erased is not told from here for longer."""
MAX_CATCH_UP: Final = 20_000
"""Entries behind these that a reader who comes back is given; one who was away for longer is told that something is missing."""
KEPT_BYTES: Final = 16 * 1024 * 1024
"""What they may have together, where they say much."""
PAGE: Final = 1_000
PAGE_BYTES: Final = 2 * 1024 * 1024
"""Of what is read at once, unless one entry alone has more."""
LOOK_SECONDS: Final = 1.0
"""How often it is looked for what nobody has told of."""
RETRY_SECONDS: Final = 1.0


class _Kept(NamedTuple):
    """An entry that readers find here."""

    entry: FeedEntry
    size: int
    read_at: float


class FeedTail:
    """What was written last, whichever process wrote it.

    Args:
        storage: Whose feed.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._kept: deque[_Kept] = deque()
        self._bytes = 0
        """Of what is long in them."""
        self._begin = 0
        """Everything after this position is kept, as far as it was looked at."""
        self._end = 0
        """Up to where that is."""
        self._readers = 0
        self._joining = asyncio.Lock()
        self._news = asyncio.Event()
        self._looking = BackgroundLoop(
            self._look,
            name="reading the feed for readers of the service",
            logger=logger,
            failures=(StorageError,),
            backoff=Backoff(RETRY_SECONDS, RETRY_SECONDS),
        )

    async def follow(self, after: int | None) -> AsyncGenerator[FeedEntry | None, None]:
        """Yield entries in their order, without their content, and without an end; `None` where some are missing.

        Args:
            after: The position of the last entry that the reader knows; `None` for what is written from now on.
        """
        await self._join()
        try:
            position = self._end if after is None else after
            if position > self._end:  # the database is older than it was
                position = self._end
                yield None
            while True:
                news = self._news
                if position < self._begin:
                    if self._begin - position > MAX_CATCH_UP:
                        position = self._end - MAX_CATCH_UP
                        yield None
                        continue
                    upto = self._begin
                    page = await self._storage.feed(
                        after=position, upto=upto, limit=PAGE, max_bytes=PAGE_BYTES, with_content=False
                    )
                    for entry in page:
                        position = entry.position
                        yield entry
                    if not page:  # what stood there was pruned or erased
                        position = upto
                    continue
                for entry in self._since(position):
                    position = entry.position
                    yield entry
                if position < self._begin or news.is_set():
                    continue
                await news.wait()
        finally:
            await self._leave()

    def _since(self, position: int) -> Sequence[FeedEntry]:
        """Return what is kept behind a position; the newest are looked at first, since most readers have nearly all."""
        found: list[FeedEntry] = []
        for kept in reversed(self._kept):
            if kept.entry.position <= position:
                break
            found.append(kept.entry)
        return found[::-1]

    def _forget_first(self) -> None:
        """Forget the oldest entry that is kept: who wants it reads it from the storage."""
        first = self._kept.popleft()
        self._begin = first.entry.position
        self._bytes -= first.size

    async def _join(self) -> None:
        """Count a reader; the first one has the feed looked at."""
        async with self._joining:
            if not self._readers:
                self._begin = self._end = await self._storage.feed_end()
                self._kept.clear()
                self._bytes = 0
                self._storage.listen(self)
                self._looking.start(after=0)
            self._readers += 1

    async def _leave(self) -> None:
        self._readers -= 1
        if not self._readers:  # whoever joins now begins anew
            self._storage.unlisten(self)
            await self._looking.stop()

    async def _look(self) -> float:
        now = asyncio.get_running_loop().time()
        while self._kept and now - self._kept[0].read_at > KEPT_SECONDS:
            self._forget_first()
        end = await self._storage.feed_end()
        if end <= self._end:
            return LOOK_SECONDS
        page = await self._storage.feed(
            after=self._end, upto=end, limit=PAGE, max_bytes=PAGE_BYTES, with_content=False
        )
        for entry, size in zip(page, await aside(lambda: [bytes_of(one.event) for one in page]), strict=True):
            self._kept.append(_Kept(entry, size, now))
            self._bytes += size
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            self._forget_first()
        self._end = page[-1].position if page else end
        news, self._news = self._news, asyncio.Event()
        news.set()
        return 0.0 if self._end < end else LOOK_SECONDS

    def committed(self, commit: Commit, first_seq: int) -> None:
        """Look soon."""
        self._looking.wake()

    def signals_drained(self, job_id: str, events: Sequence[RuntimeEvent]) -> None:
        """Look soon."""
        self._looking.wake()

    def mailed(self, job_ids: Sequence[str]) -> None:
        """Nothing was written into a journal yet."""

    def agents_changed(self, changes: Sequence[tuple[str, str]]) -> None:
        """Nothing was written into a journal."""

    def on_remote_change(self, changes: Sequence[RemoteChange] | None = None) -> None:
        """Look soon."""
        self._looking.wake()
