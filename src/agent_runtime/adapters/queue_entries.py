"""Which jobs need an entry in the queue: the SQL, in the form that procrastinate's driver takes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

# Only what `claim` would give, and what has no entry yet. `FOR KEY SHARE` is not taken: a job that changes meanwhile
# gets an entry too many, which does nothing.
_READY: Final = """
SELECT j.job_id, j.queue, j.operator, j.priority, j.scope_id FROM runtime_jobs j
WHERE j.owner IS NULL AND j.operator IS NOT NULL AND j.status IN ('queued', 'running')
"""
_WOKEN: Final = """
SELECT j.job_id, j.queue, j.operator, j.priority, j.scope_id
FROM runtime_woken w JOIN runtime_jobs j ON j.job_id = w.job_id WHERE TRUE
"""
_ALL: Final = f"{_READY} UNION {_WOKEN}"
_AMONG: Final = f"{_READY} AND j.job_id = ANY(%(job_ids)s) UNION {_WOKEN} AND j.job_id = ANY(%(job_ids)s)"
_WITHOUT_ENTRY: Final = """
NOT EXISTS (SELECT 1 FROM procrastinate_jobs p WHERE p.queueing_lock = d.job_id AND p.status = 'todo')
"""


UNHEARD: Final = f"""
SELECT DISTINCT d.queue FROM ({_ALL}) AS d WHERE d.operator = ANY(%(operators)s) AND NOT d.queue = ANY(%(heard)s)
"""  # noqa: S608 -- the conditions above
"""Queues of due jobs that this process could run and does not listen to yet."""

_READABLE: Final = 20


def entry_queue(queue: str, operator: str) -> str:
    """Return the name under which entries for jobs of a queue and an operator are carried.

    Only workers that list the operator listen to it, so that no worker takes an entry away from those who could use it.
    Names of channels are short in Postgres: what people call queues and operators may not be.
    """
    told = f"{len(queue)}:{queue}{operator}".encode(errors="surrogatepass")
    digest = hashlib.blake2b(told, digest_size=8).hexdigest()
    return f"{re.sub('[^A-Za-z0-9_]', '_', operator)[:_READABLE]}-{digest}"


def entry_queues(queues: Iterable[str], operators: Iterable[str]) -> list[str]:
    """Return the names for all of these queues and operators, sorted."""
    names = tuple(operators)
    return sorted(entry_queue(queue, operator) for queue in queues for operator in names)


def due(*, among: bool, capped: bool) -> str:
    """Return the query for due jobs without an entry; of a scope with a cap, the first that have a place.

    Jobs that are asked to stop need no place. Places are counted for each queue and operator: what waits for one that
    nobody serves holds up nobody else, and the claim counts exactly.
    """
    source = _AMONG if among else _ALL
    if not capped:
        return f"""
        SELECT d.job_id, d.queue, d.operator, d.priority FROM ({source}) AS d WHERE {_WITHOUT_ENTRY}
        ORDER BY d.priority DESC, d.job_id LIMIT %(limit)s
        """  # noqa: S608 -- the conditions above
    return f"""
    WITH due AS (
      SELECT d.*, EXISTS (
        SELECT 1 FROM runtime_signals s
        WHERE s.job_id = d.job_id AND s.type IN ('job.cancel_requested', 'job.deadline_reached')
      ) AS stops FROM ({source}) AS d WHERE {_WITHOUT_ENTRY}
    ), ranked AS (
      SELECT *, row_number() OVER (PARTITION BY scope_id, queue, operator, stops ORDER BY priority DESC, job_id) AS place FROM due
    ), running AS (
      SELECT scope_id, count(*) AS number FROM runtime_jobs WHERE owner IS NOT NULL GROUP BY scope_id
    )
    SELECT r.job_id, r.queue, r.operator, r.priority FROM ranked r
    LEFT JOIN running USING (scope_id)
    LEFT JOIN unnest(%(scopes)s::text[], %(caps)s::int8[]) AS c(scope_id, cap) USING (scope_id)
    WHERE r.stops OR coalesce(r.place <= coalesce(c.cap, %(cap)s::int8) - coalesce(running.number, 0), TRUE)
    ORDER BY r.priority DESC, r.job_id LIMIT %(limit)s
    """  # noqa: S608
