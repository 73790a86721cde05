"""Due jobs in the order in which scopes take turns: the next is of the scope of which the fewest are running and ahead."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import TypeVar

from agent_runtime.ports.journal import DueJob
from agent_runtime.values.job import JobRecord

J = TypeVar("J", DueJob, JobRecord)


def in_turns(due: Iterable[J], running: Mapping[str, int], limit: int) -> list[J]:
    """Return the first ones of jobs that are in order within their scopes.

    Args:
        due: The jobs.
        running: How many of each scope are being executed.
        limit: How many to return at most.
    """
    lines: dict[str, list[J]] = {}
    for job in due:
        lines.setdefault(job.scope_id, []).append(job)
    heads = [(running.get(scope_id, 0) + 1, line[0].job_id, scope_id, 0) for scope_id, line in lines.items()]
    heapq.heapify(heads)
    first: list[J] = []
    while heads and len(first) < limit:
        turn, _, scope_id, place = heads[0]
        line = lines[scope_id]
        first.append(line[place])
        if place + 1 < len(line):
            heapq.heapreplace(heads, (turn + 1, line[place + 1].job_id, scope_id, place + 1))
        else:
            heapq.heappop(heads)
    return first
