"""Which queues a worker of the shared queue listens to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Final

DEFAULT_QUEUE: Final = "default"
MAX_QUEUES: Final = 200
"""Queues that a worker without any of its own listens to at once. Each has a line, and a channel of the server's, for each operator that is listed."""
TAKEN_UP: Final = MAX_QUEUES - 1
"""Of those, how many may be new at a time; one is the queue that jobs are in by default."""


class HeardQueues:
    """Those that a worker was told to serve; without any, those that jobs are found in.

    Who submits a job names its queue, and names never end. So of the queues that are found only the last are kept. One that is forgotten is
    found again while jobs are due in it; where more queues than are kept have such jobs, they take turns.

    Args:
        named: Queues to serve; none for all.
    """

    def __init__(self, named: Collection[str]) -> None:
        self.serves_all = not named
        """Whether it listens to whatever is found."""
        self.after = ""
        """Behind which name it is looked for others."""
        self._names: dict[str, None] = dict.fromkeys(named or (DEFAULT_QUEUE,))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def take_up(self, found: Sequence[str]) -> None:
        """Listen to these as well, at most `TAKEN_UP`, and to the earliest no longer where they are too many."""
        self._names |= dict.fromkeys(found)
        self.after = found[-1] if len(found) == TAKEN_UP else ""
        too_many = max(len(self._names) - MAX_QUEUES, 0)
        for name in list(islice((name for name in self._names if name != DEFAULT_QUEUE), too_many)):
            del self._names[name]
