"""What is due: jobs that wait for a worker, and timers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from agent_runtime.ports.commit import Timer
from agent_runtime.values.ability import Ability
from agent_runtime.values.capacity import NO_CAPS, ScopeCaps


class DueJob(NamedTuple):
    """A job that could be executed now."""

    job_id: str
    priority: int
    scope_id: str


class DueWork(Protocol):
    """Finds what is due."""

    async def due_jobs(
        self,
        *,
        limit: int = 1000,
        caps: ScopeCaps = NO_CAPS,
        among: Sequence[str] | None = None,
        ability: Ability | None = None,
        across_scopes: bool = False,
    ) -> Sequence[DueJob]:
        """Return unowned jobs that `claim` would give: within a scope by priority, the oldest first.

        Scopes take turns: the next is the one of which the fewest jobs are running and ahead, so that no number of jobs and
        no priority of one scope keeps another's first job from being among the next.

        Args:
            limit: How many at most.
            caps: Of a scope with a bound only the first ones of each queue are returned, as many as have a free slot.
            among: Only these.
            ability: Only what it covers.
            across_scopes: Whether priority and age count across scopes instead.
        """
        ...

    async def next_jobs(
        self, scope_id: str, *, cap: int, queues: Sequence[str] = (), ability: Ability | None = None
    ) -> Sequence[tuple[str, int]]:
        """Return the first due jobs of one scope, as many as have a free slot under `cap`.

        Its cost does not grow with the number of jobs that wait behind them.

        Args:
            scope_id: The scope.
            cap: Its bound.
            queues: Only jobs of these; none for all.
            ability: Only what it covers.
        """
        ...

    async def blocked_jobs(
        self,
        ability: Ability,
        *,
        at: datetime,
        started_at: datetime,
        after: str = "",
        limit: int = 500,
    ) -> Sequence[str]:
        """Return blocked jobs, by id from the one after `after`, that `ability` covers and that may be tried again.

        One that has killed its processes, under code without a version, is tried again only by a process that has
        started since: those that live have the same code.
        """
        ...

    async def unlisted_jobs(self, seconds: float, *, at: datetime, limit: int = 500) -> Sequence[str]:
        """Return jobs that nobody can run, told by one look at jobs and workers together.

        These are due jobs whose queue a worker has served for `seconds`, while no worker that serves it has listed their
        operator for as long, and they have not changed for as long; and jobs that are asked to stop, whose operator no
        worker at all has listed for as long. Where several processes execute, the time is the server's, not `at`.
        """
        ...

    async def jobs_with_signals(self, owner: str) -> Sequence[str]:
        """Return the jobs of `owner` for which signals, or messages that they wait for, are there."""
        ...

    async def due_timers(self, now: datetime, *, limit: int = 500) -> Sequence[Timer]:
        """Return timers that have fallen due, oldest first."""
        ...

    async def get_timer(self, job_id: str, key: str) -> Timer | None:
        """Return a timer that has not been cleared, or `None`."""
        ...

    async def timers_named(
        self, key: str, *, limit: int = 10_000, after: tuple[datetime, str] | None = None
    ) -> Sequence[Timer]:
        """Return the timers of a key, of all jobs, those that fall due first; `after` a moment and a job, where a page ended."""
        ...

    async def next_timer(self) -> datetime | None:
        """Return when the next timer falls due."""
        ...
