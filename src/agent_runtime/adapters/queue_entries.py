"""Which jobs need an entry in the queue: the SQL, in the form that procrastinate's driver takes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

# Only what `claim` would give, and what has no entry yet. `FOR KEY SHARE` is not taken: a job that changes meanwhile
# gets an entry too many, which does nothing.
_READY: Final = """
SELECT j.job_id, j.queue, j.operator, j.priority, j.scope_id, FALSE AS is_woken FROM runtime_jobs j
WHERE j.owner IS NULL AND j.operator IS NOT NULL AND j.status IN ('queued', 'running')
"""
_WOKEN: Final = """
SELECT j.job_id, j.queue, j.operator, j.priority, j.scope_id, TRUE AS is_woken
FROM runtime_woken w JOIN runtime_jobs j ON j.job_id = w.job_id WHERE TRUE
"""
_ALL: Final = f"{_READY} UNION ALL {_WOKEN}"
_AMONG: Final = f"{_READY} AND j.job_id = ANY(%(job_ids)s) UNION ALL {_WOKEN} AND j.job_id = ANY(%(job_ids)s)"
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


_READY_JOB: Final = "a.owner IS NULL AND a.operator IS NOT NULL AND a.status IN ('queued', 'running')"
_RUNNING: Final = "running AS (SELECT scope_id, count(*) AS number FROM runtime_jobs WHERE owner IS NOT NULL GROUP BY scope_id)"
_LAST_TURN: Final = 256
"""Jobs ahead that are counted: behind so many of its own scope, a job waits long enough."""
_STEP: Final = 2**20
"""Between two turns, so that priorities fit in between. The whole fits into procrastinate's four bytes."""
_LOWEST, _HIGHEST = 1 - _STEP // 2, _STEP // 2 - 1
_LOOKED_AT_AGAIN: Final = 32
"""Jobs of each scope whose turns a sweep looks at again."""
_MOVED_AT_ONCE: Final = 2 * _LAST_TURN
"""Jobs of a scope that a more urgent one of the scope may push back: all that have a turn, and those that had one."""


def _priority(turn: str, priority: str) -> str:
    """Return the priority of an entry: by turn, and within a turn by the job's own."""
    return (
        f"(least({_LAST_TURN}, {turn}) * -{_STEP} + greatest({_LOWEST}, least({priority}, {_HIGHEST})))::int4"
    )


def _before(condition: str) -> str:
    """Count the ready jobs of the scope of a job `r` that meet a condition; its cost is bounded."""
    jobs = f"SELECT 1 FROM runtime_jobs a WHERE {_READY_JOB} AND a.scope_id = r.scope_id AND {condition}"  # noqa: S608
    return f"(SELECT count(*) FROM ({jobs} LIMIT {_LAST_TURN}) AS before)"  # noqa: S608


_TURN: Final = f"""1 + coalesce(running.number, 0)
  + {_before("a.priority > r.priority")} + {_before("a.priority = r.priority AND a.job_id < r.job_id")}
  + (row_number() OVER (PARTITION BY r.scope_id, r.is_woken ORDER BY r.priority DESC, r.job_id) - 1) * r.is_woken::int"""
"""Which job of its scope a job `r` is, those that run counted as well. Woken jobs are counted where they are woken together."""


def _in_turns(chosen: str, *, across_scopes: bool) -> str:
    """Give each of the chosen jobs the priority of its entry: the first jobs of all scopes come before the second ones."""
    if across_scopes:
        return f"""
        SELECT job_id, queue, operator, priority, scope_id, FALSE AS overtakes FROM ({chosen}) AS r
        ORDER BY priority DESC, job_id
        """  # noqa: S608 -- the conditions above
    return f"""
    WITH {_RUNNING}, turned AS (
      SELECT r.*, {_TURN} AS turn,
        EXISTS (SELECT 1 FROM runtime_jobs a WHERE {_READY_JOB} AND a.scope_id = r.scope_id AND a.priority < r.priority) AS overtakes
      FROM ({chosen}) AS r LEFT JOIN running USING (scope_id)
    )
    SELECT job_id, queue, operator, {_priority("turn", "priority")} AS priority, scope_id, overtakes
    FROM turned ORDER BY 4 DESC, job_id
    """  # noqa: S608 -- the conditions above


def _move(scopes: str, number: int) -> str:
    """Return the statement that gives the first jobs of some scopes the turns they would get now."""
    return f"""
    WITH RECURSIVE scopes (scope_id) AS ({scopes}), {_RUNNING}, heads AS (
      SELECT h.job_id, {_priority("h.turn + coalesce(running.number, 0)", "h.priority")} AS priority
      FROM scopes s CROSS JOIN LATERAL (
        SELECT first.*, row_number() OVER (ORDER BY first.priority DESC, first.job_id) AS turn FROM (
          SELECT a.job_id, a.priority FROM runtime_jobs a WHERE {_READY_JOB} AND a.scope_id = s.scope_id
          ORDER BY a.priority DESC, a.job_id LIMIT {number}
        ) AS first
      ) AS h LEFT JOIN running USING (scope_id)
    ), moved AS (
      SELECT p.id, heads.priority FROM procrastinate_jobs p JOIN heads ON p.queueing_lock = heads.job_id
      WHERE p.status = 'todo' AND p.priority <> heads.priority FOR UPDATE OF p SKIP LOCKED
    )
    UPDATE procrastinate_jobs p SET priority = moved.priority FROM moved WHERE p.id = moved.id RETURNING p.id
    """  # noqa: S608 -- the conditions above


MOVE_ALL: Final = _move(
    f"""
      (SELECT a.scope_id FROM runtime_jobs a WHERE {_READY_JOB} ORDER BY a.scope_id LIMIT 1)
      UNION ALL
      SELECT (
        SELECT a.scope_id FROM runtime_jobs a WHERE {_READY_JOB} AND a.scope_id > s.scope_id ORDER BY a.scope_id LIMIT 1
      ) FROM scopes s WHERE s.scope_id IS NOT NULL
    """,  # noqa: S608 -- the conditions above
    _LOOKED_AT_AGAIN,
)
"""For all scopes: others that came later have been served meanwhile."""
MOVE_BACK: Final = _move("SELECT unnest(%(scopes)s::text[])", _MOVED_AT_ONCE)
"""For scopes in which a job has come that is more urgent than others which wait."""


IDLE: Final = f"""
WITH RECURSIVE running AS (SELECT DISTINCT scope_id FROM runtime_jobs WHERE owner IS NOT NULL), scopes (scope_id) AS (
  (
    SELECT a.scope_id FROM runtime_jobs a WHERE {_READY_JOB} AND a.scope_id > %(after)s::text ORDER BY a.scope_id LIMIT 1
  )
  UNION ALL
  SELECT (
    SELECT a.scope_id FROM runtime_jobs a WHERE {_READY_JOB} AND a.scope_id > s.scope_id ORDER BY a.scope_id LIMIT 1
  ) FROM scopes s WHERE s.scope_id IS NOT NULL
), ready AS (
  SELECT h.job_id, s.scope_id FROM scopes s CROSS JOIN LATERAL (
    SELECT first.job_id FROM (
      SELECT a.job_id, a.operator, a.queue FROM runtime_jobs a WHERE {_READY_JOB} AND a.scope_id = s.scope_id
      ORDER BY a.priority DESC, a.job_id LIMIT {_LAST_TURN}
    ) AS first
    WHERE first.operator = ANY(%(operators)s::text[])
      AND (cardinality(%(queues)s::text[]) = 0 OR first.queue = ANY(%(queues)s::text[]))
    LIMIT 1
  ) AS h
  WHERE s.scope_id NOT IN (SELECT scope_id FROM running) AND NOT s.scope_id = ANY(%(held)s::text[]) LIMIT 1
), woken AS (
  SELECT j.job_id, j.scope_id FROM runtime_woken w JOIN runtime_jobs j ON j.job_id = w.job_id
  WHERE j.status <> 'blocked' AND j.scope_id > %(after)s::text
    AND j.scope_id NOT IN (SELECT scope_id FROM running) AND NOT j.scope_id = ANY(%(held)s::text[])
    AND j.operator = ANY(%(operators)s::text[])
    AND (cardinality(%(queues)s::text[]) = 0 OR j.queue = ANY(%(queues)s::text[]))
  ORDER BY j.scope_id LIMIT 1
)
SELECT job_id, scope_id FROM ready UNION ALL SELECT job_id, scope_id FROM woken
"""  # noqa: S608 -- the conditions above
"""A job of the first scope of which none is being executed; its cost grows with the number of scopes that run, not of jobs that wait."""


def due(*, among: bool, capped: bool, across_scopes: bool = False) -> str:
    """Return the query for due jobs without an entry, with the priority of that; of a scope with a cap, the first that have a place.

    Jobs that are asked to stop need no place. Places are counted for each queue and operator: what waits for one that
    nobody serves holds up nobody else, and the claim counts exactly.
    """
    source = _AMONG if among else _ALL
    if not capped:
        first = "priority DESC, job_id" if across_scopes else "place, job_id"
        chosen = f"""
        SELECT * FROM (
          SELECT d.*, row_number() OVER (PARTITION BY scope_id ORDER BY priority DESC, job_id) AS place FROM ({source}) AS d
          WHERE {_WITHOUT_ENTRY}
        ) AS placed ORDER BY {first} LIMIT %(limit)s
        """  # noqa: S608 -- the conditions above
        return _in_turns(chosen, across_scopes=across_scopes)
    chosen = f"""
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
    SELECT r.job_id, r.queue, r.operator, r.priority, r.scope_id, r.is_woken FROM ranked r
    LEFT JOIN running USING (scope_id)
    LEFT JOIN unnest(%(scopes)s::text[], %(caps)s::int8[]) AS c(scope_id, cap) USING (scope_id)
    WHERE r.stops OR coalesce(r.place <= coalesce(c.cap, %(cap)s::int8) - coalesce(running.number, 0), TRUE)
    ORDER BY {"r.priority DESC" if across_scopes else "r.place"}, r.job_id LIMIT %(limit)s
    """  # noqa: S608
    return _in_turns(chosen, across_scopes=across_scopes)
