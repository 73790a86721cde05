"""The slots of a queue's worker, and the one that is kept for scopes of which no job runs."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """Counts what is advanced; who comes first gets the next slot.

    Args:
        number: How many there are.
        has_spare: Whether there is one more, for those who say that they may have it.
    """

    def __init__(self, number: int, *, has_spare: bool) -> None:
        self._number = number
        self.has_spare = has_spare and number > 1
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether all but the spare one are taken."""
        return self._taken >= self._number

    @property
    def spare_is_next(self) -> bool:
        """Whether the spare one is the only one left."""
        return self.has_spare and self._taken == self._number

    async def take(self) -> None:
        """Wait for a slot."""
        if not self.is_full:
            self._taken += 1
            return
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(given)
        try:
            await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():  # it was given in the same moment
                self.leave()
            raise

    def take_spare(self) -> bool:
        """Take the slot that is left when all are taken; return whether there was one."""
        was_left = self.spare_is_next
        self._taken += was_left
        return was_left

    def leave(self) -> None:
        """Leave a slot. Whoever has the spare one stays, and has an ordinary one when another has left."""
        self._taken -= 1
        while self._waiting and not self.is_full:
            given = self._waiting.popleft()
            if not given.done():
                self._taken += 1
                given.set_result(None)
