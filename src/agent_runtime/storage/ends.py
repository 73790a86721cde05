"""Where journals end, as far as a process knows: with it, one statement extends a journal and its chain."""

from __future__ import annotations

from typing import Final, NamedTuple


class End(NamedTuple):
    """Where a job's journal ends: the place and the link of its last entry, and the salts of the next."""

    last_seq: int
    head: bytes
    salts: bytes


class Ends:
    """Where the journals end of the jobs that this process has written last.

    It is what this process believes: whoever extends a journal compares the head, and takes the longer way when it is another one.
    So a transaction that was undone, or somebody else's commit, does no harm.
    """

    MOST: Final = 10_000

    def __init__(self) -> None:
        self._ends: dict[str, End] = {}

    def of(self, job_id: str | None) -> End | None:
        """Return where a job's journal ends, `None` when that is not known."""
        return self._ends.get(job_id or "")

    def keep(self, job_id: str, end: End) -> None:
        """Remember where a journal ends. Too many are forgotten, those first that were not written for the longest time."""
        self._ends.pop(job_id, None)
        self._ends[job_id] = end
        if len(self._ends) > self.MOST:
            del self._ends[next(iter(self._ends))]

    def forget(self, job_id: str | None) -> None:
        """Forget where a journal ends."""
        self._ends.pop(job_id or "", None)
