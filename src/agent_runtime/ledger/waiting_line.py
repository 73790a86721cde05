"""Calls that wait for what others have reserved: for each counter one line, first come first served.

Only the first of a line looks at the counters; the others wait for it. So a hundred waiting calls ask the storage as
often as one does, and a small call does not overtake a large one again and again.

What this process gives back is heard of at once. What other processes give back is found by looking, seldom: order
among processes is not kept.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from typing import Final

from agent_runtime.ledger.reservations import Key

FIRST_LOOK: Final = 0.25
"""Seconds after which the first of a line looks whether other processes have given something back."""
SLOWEST_LOOK: Final = 1.0


class Ticket:
    """One call's turn.

    Args:
        number: Its place among all that have come.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.line: Key | None = None
        """The counter it waits for."""
        self.called = asyncio.Event()
        self.pause = FIRST_LOOK


class WaitingLine:
    """The lines of one process."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._lines: dict[Key, list[Ticket]] = {}

    def __len__(self) -> int:
        """Return how many calls wait."""
        return sum(len(line) for line in self._lines.values())

    def ticket(self) -> Ticket:
        """Return a turn for a call that has come now. It waits nowhere yet."""
        return Ticket(next(self._numbers))

    def before(self, ticket: Ticket, keys: Sequence[Key]) -> Key | None:
        """Return a counter for which somebody waits who came earlier, if there is one among these."""
        for key in keys:
            line = self._lines.get(key)
            if line and line[0].number < ticket.number:
                return key
        return None

    async def wait(self, ticket: Ticket, key: Key, seconds: float) -> None:
        """Wait in the line of a counter until it is worth looking again, at most so many seconds."""
        self._enter(ticket, key)
        ticket.called.clear()
        if self._lines[key][0] is ticket:
            seconds, ticket.pause = min(seconds, ticket.pause), min(2 * ticket.pause, SLOWEST_LOOK)
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await ticket.called.wait()
        except TimeoutError:
            return

    def leave(self, ticket: Ticket) -> None:
        """Wait no more; the next one is called."""
        key, ticket.line = ticket.line, None
        if key is None:
            return
        line = self._lines[key]
        line.remove(ticket)
        if line:
            line[0].called.set()
        else:
            del self._lines[key]

    def call_everybody(self) -> None:
        """Let the first of every line look: limits have changed."""
        self.given_back(list(self._lines))

    def given_back(self, keys: Iterable[Key]) -> None:
        """Call the first of each line: there may be room."""
        for key in keys:
            line = self._lines.get(key)
            if line:
                line[0].pause = FIRST_LOOK
                line[0].called.set()

    def _enter(self, ticket: Ticket, key: Key) -> None:
        if ticket.line == key:
            return
        self.leave(ticket)
        line = self._lines.setdefault(key, [])
        line.append(ticket)
        line.sort(key=lambda each: each.number)
        ticket.line = key
