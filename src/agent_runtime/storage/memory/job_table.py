"""Jobs by id, and beside them what claims and sweeps ask for: who is ready, in order, and how many of each scope run."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterator
from heapq import merge
from typing import NamedTuple

from agent_runtime.values.job import READY, JobRecord

Place = tuple[int, str]
"""By which jobs of a scope come in order: the negative priority, and the id, which tells the age."""


class Line(NamedTuple):
    """What jobs of a scope have in common that wait in one line."""

    queue: str
    operator: str


def in_order(job: JobRecord) -> Place:
    """Return the key by which jobs run in order: by priority, then by age."""
    return -job.priority, job.job_id


def is_ready(job: JobRecord) -> bool:
    """Whether a job waits for a worker without having to be woken."""
    return job.owner is None and job.operator is not None and job.status in READY


class JobTable(dict[str, JobRecord]):
    """Jobs by id. Assigning and deleting keep the lines, so that nobody has to look at all jobs to find the next ones."""

    def __init__(self) -> None:
        super().__init__()
        self.running: Counter[str] = Counter()
        """Jobs that have an owner, by scope."""
        self.ready: dict[str, dict[Line, list[Place]]] = {}
        """Jobs that wait for a worker, by scope and line."""

    def __setitem__(self, job_id: str, job: JobRecord) -> None:
        before = self.get(job_id)
        if before is None or not _is_counted_alike(before, job):
            if before is not None:
                self._forget(before)
            self._count(job)
        super().__setitem__(job_id, job)

    def __delitem__(self, job_id: str) -> None:
        self._forget(self[job_id])
        super().__delitem__(job_id)

    def waiting(self, scope_id: str | None = None) -> int:
        """Return how many jobs are ready, in one scope or in all."""
        scopes = self.ready.values() if scope_id is None else [self.ready.get(scope_id, {})]
        return sum(len(line) for lines in scopes for line in lines.values())

    def first(self, scope_id: str, queues: Collection[str] = ()) -> Iterator[JobRecord]:
        """Yield the ready jobs of a scope in order, all or those of some queues. Nothing may change meanwhile."""
        all_lines = self.ready.get(scope_id, {}).items()
        lines = [line for name, line in all_lines if not queues or name.queue in queues]
        for _, job_id in lines[0] if len(lines) == 1 else merge(*lines):
            yield self[job_id]

    def _count(self, job: JobRecord) -> None:
        if job.owner is not None:
            self.running[job.scope_id] += 1
        elif is_ready(job):
            insort(self.ready.setdefault(job.scope_id, {}).setdefault(_line(job), []), in_order(job))

    def _forget(self, job: JobRecord) -> None:
        if job.owner is not None:
            self.running[job.scope_id] -= 1
            if not self.running[job.scope_id]:
                del self.running[job.scope_id]
        elif is_ready(job):
            lines = self.ready[job.scope_id]
            line = lines[_line(job)]
            del line[bisect_left(line, in_order(job))]
            if not line:
                del lines[_line(job)]
            if not lines:
                del self.ready[job.scope_id]


def _line(job: JobRecord) -> Line:
    return Line(job.queue, job.operator or "")


def _is_counted_alike(one: JobRecord, other: JobRecord) -> bool:
    """Whether two states of a job are counted in the same place; what else a job is does not change."""
    return (one.owner is None) is (other.owner is None) and is_ready(one) is is_ready(other)
