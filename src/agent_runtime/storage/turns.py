"""Due jobs in the order in which scopes take turns: the next is of the scope of which the fewest are running and ahead.

What is read for that does not grow with the queue: of a bounded number of scopes a few jobs, and more of those of which a
few do not do. A storage reads; this tells it what, and puts the jobs in order.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from agent_runtime.ports.due import DueJob
from agent_runtime.values.capacity import ScopeCaps

LEAST_SCOPES: Final = 256
"""Scopes that a sweep looks at, however few jobs it is to return."""
_BEYOND: Final = 8
"""Jobs that are read of a scope with a cap beyond its slots: the first ones may be of a queue whose slots are taken."""


class Candidate(NamedTuple):
    """A job that is due, if its scope has a slot for it."""

    job_id: str
    priority: int
    scope_id: str
    queue: str
    stops: bool = False
    """Whether it is asked to stop, and so needs no slot."""


def number_of_scopes(limit: int, running: Mapping[str, int], caps: ScopeCaps) -> int:
    """Return how many scopes a sweep looks at: enough for as many jobs as it is to return, though some have no slot."""
    without_place = len(running) + len(caps.scopes) if caps else 0
    return max(LEAST_SCOPES, limit) + without_place


class Turns:
    """What a sweep has to read, and what it finds.

    Args:
        scopes: The scopes to look at.
        running: How many jobs of each scope are being executed.
        caps: How many may be.
        limit: How many jobs are wanted.
    """

    def __init__(
        self, scopes: Sequence[str], running: Mapping[str, int], *, caps: ScopeCaps, limit: int
    ) -> None:
        self._running = running
        self._caps = caps
        self._limit = limit
        self._ready: dict[str, list[Candidate]] = {}
        self._others: dict[str, list[Candidate]] = {}
        number = max(1, 2 * limit // max(1, len(scopes)))
        self.wanted: dict[str, int] = {}
        """Scopes, and how many of their first jobs are to be read next; empty when enough is known."""
        self._ask(scopes, number)

    def add(self, others: Iterable[Candidate]) -> None:
        """Learn of due jobs that are not read by scope: woken ones, and those that are asked to stop."""
        for job in others:
            self._others.setdefault(job.scope_id, []).append(job)

    def read(self, found: Iterable[Candidate]) -> None:
        """Learn what was wanted: the first ready jobs of each scope."""
        wanted, self.wanted = self.wanted, {}
        self._ready.update({scope_id: [] for scope_id in wanted})
        for job in found:
            self._ready[job.scope_id].append(job)
        cut = [scope_id for scope_id, number in wanted.items() if len(self._ready[scope_id]) == number]
        if cut:
            self._ask(self._undecided(cut), 4 * max(wanted.values()), more_than=wanted)

    def first(self) -> list[DueJob]:
        """Return the first jobs, in order."""
        return [DueJob(job.job_id, job.priority, job.scope_id) for job in self._in_order(self._lines())]

    def _in_order(self, lines: Mapping[str, Sequence[Candidate]]) -> list[Candidate]:
        return in_turns(lines, self._running, self._limit)

    def _ask(self, scopes: Iterable[str], number: int, *, more_than: Mapping[str, int] | None = None) -> None:
        before = more_than or {}
        asked = {scope_id: min(number, self._most(scope_id)) for scope_id in scopes}
        self.wanted = {scope_id: n for scope_id, n in asked.items() if n > before.get(scope_id, 0)}

    def _most(self, scope_id: str) -> int:
        """Return how many jobs of a scope are read at most."""
        slots = self._free_slots(scope_id)
        return self._limit if slots is None else min(self._limit, slots + _BEYOND) if slots else 0

    def _free_slots(self, scope_id: str) -> int | None:
        cap = self._caps.of(scope_id)
        return None if cap is None else max(0, cap - self._running.get(scope_id, 0))

    def _undecided(self, cut: Sequence[str]) -> list[str]:
        """Return the scopes of which a job that was not read could come before the last one of the first."""
        lines = self._lines()
        first = self._in_order(lines)
        if len(first) < self._limit:
            return list(cut)
        return [one for one in cut if self._may_come_before(one, lines, first)]

    def _may_come_before(
        self, scope_id: str, lines: Mapping[str, Sequence[Candidate]], first: Sequence[Candidate]
    ) -> bool:
        """Whether a job of a scope that was not read could come before the last one of the first."""
        chosen = Counter(job.scope_id for job in first)
        last = first[-1].scope_id
        turn = self._running.get(last, 0) + chosen[last]
        return self._running.get(scope_id, 0) + len(lines.get(scope_id, ())) < turn

    def _lines(self) -> dict[str, list[Candidate]]:
        """Return the jobs that have a free slot, in order, by scope."""
        return {
            scope_id: line
            for scope_id in dict.fromkeys((*self._ready, *self._others))
            if (line := self._line(scope_id))
        }

    def _line(self, scope_id: str) -> list[Candidate]:
        line, others = self._ready.get(scope_id, []), self._others.get(scope_id, [])
        if others:
            known = {job.job_id: job for job in (*line, *others)}  # who is asked to stop is known as such
            line = sorted(known.values(), key=_by_priority)
        slots = self._free_slots(scope_id)
        return line if slots is None else with_slot(line, slots)


class ByPriority(Turns):
    """The same where priority counts across scopes: all those with ready jobs are looked at, and the most urgent jobs come first."""

    def _in_order(self, lines: Mapping[str, Sequence[Candidate]]) -> list[Candidate]:
        return sorted(chain.from_iterable(lines.values()), key=_by_priority)[: self._limit]

    def _may_come_before(
        self, scope_id: str, lines: Mapping[str, Sequence[Candidate]], first: Sequence[Candidate]
    ) -> bool:
        del lines
        return _by_priority(self._ready[scope_id][-1]) < _by_priority(first[-1])


def _by_priority(job: Candidate) -> tuple[int, str]:
    return -job.priority, job.job_id


def with_slot(line: Iterable[Candidate], slots: int) -> list[Candidate]:
    """Return the jobs of one scope that have a free slot. Each queue counts for itself: one that nobody serves holds up no other."""
    taken: Counter[str] = Counter()
    kept: list[Candidate] = []
    for job in line:
        if not job.stops:
            taken[job.queue] += 1
        if job.stops or taken[job.queue] <= slots:
            kept.append(job)
    return kept


def in_turns(
    lines: Mapping[str, Sequence[Candidate]], running: Mapping[str, int], limit: int
) -> list[Candidate]:
    """Return the first jobs of all scopes.

    Args:
        lines: The jobs of each scope, in order; none is empty.
        running: How many of each scope are being executed.
        limit: How many to return at most.
    """
    heads = [(running.get(scope_id, 0) + 1, line[0].job_id, scope_id, 0) for scope_id, line in lines.items()]
    heapq.heapify(heads)
    first: list[Candidate] = []
    while heads and len(first) < limit:
        turn, _, scope_id, place = heads[0]
        line = lines[scope_id]
        first.append(line[place])
        if place + 1 < len(line):
            heapq.heapreplace(heads, (turn + 1, line[place + 1].job_id, scope_id, place + 1))
        else:
            heapq.heappop(heads)
    return first


class Rotation:
    """Where a sweep goes on among the scopes, when there are more than it looks at."""

    def __init__(self) -> None:
        self._after = ""

    @property
    def after(self) -> str:
        """The scope after which the next sweep begins."""
        return self._after

    def chosen(self, from_here: Sequence[str], from_the_start: Sequence[str], number: int) -> list[str]:
        """Return which scopes are looked at, and go on behind them the next time.

        Args:
            from_here: The first ones behind `after`.
            from_the_start: The first ones of all, where those do not do.
            number: How many at most.
        """
        scopes = list(dict.fromkeys((*from_here, *from_the_start)))[:number]
        self._after = scopes[-1] if len(scopes) == number else ""
        return scopes
