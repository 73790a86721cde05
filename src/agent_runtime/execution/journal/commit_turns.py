"""Who may write a run's journal now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager


class CommitTurns:
    """Lets commits of one run pass each other, but for two kinds.

    * While a commit carries entries that were held back, nobody else writes: it may yet be refused or come late, and the
      others may depend on what it carries.
    * The final commit, which gives the job up, comes after all others, and nothing follows it. The same fence covers
      everything a run writes. Without this, a task that the operator has left behind could write beneath the end of the
      job, or into a job that has been given up.

    Args:
        check_open: Raises when the run is over, which it may be after any wait.
    """

    def __init__(self, check_open: Callable[[], None]) -> None:
        self._check_open = check_open
        self._in_flight = 0
        self._quiet: asyncio.Future[None] | None = None
        """Done when nothing is in flight any more."""
        self._final: asyncio.Future[None] | None = None
        """Done when the final commit has been made, or was not made after all."""
        self._carrying: asyncio.Future[None] | None = None
        """Done when the commit has ended that carries what had been held."""

    @property
    def is_carrying(self) -> bool:
        """Whether a commit is on its way that carries what had been held."""
        return self._carrying is not None

    async def enter(self) -> None:
        """Begin a commit that is not the final one; `leave` ends it."""
        self._check_open()
        while self._final is not None:
            await asyncio.shield(self._final)
            self._check_open()
        self._in_flight += 1

    def leave(self) -> None:
        """End a commit."""
        self._in_flight -= 1
        if not self._in_flight and self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)

    @asynccontextmanager
    async def final(self) -> AsyncIterator[None]:
        """Let what is being written be written, and nobody else write in the body."""
        self._check_open()
        loop = asyncio.get_running_loop()
        self._final = held = loop.create_future()
        try:
            while self._in_flight:
                self._quiet = loop.create_future()
                await self._quiet
            self._check_open()
            yield
        finally:
            self._final = None
            held.set_result(None)

    async def carried(self) -> None:
        """Return when no commit is on its way that carries what had been held."""
        while self._carrying is not None:
            await asyncio.shield(self._carrying)
            self._check_open()

    @contextmanager
    def carrying(self) -> Iterator[None]:
        """Let nobody else write in the body, which has waited for `carried`."""
        self._carrying = held = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            self._carrying = None
            held.set_result(None)
