"""Which jobs need an entry in the queue: the SQL, in the form that procrastinate's driver takes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final


def _entry_from(job_id: str) -> str:
    """Return the query for the first entry that waits, in the order of jobs, from a job on.

    Asked in this order, only one index gives it: no plan made while the table was small takes another one and reads all entries.
    """
    return f"""
    SELECT p.id, p.queueing_lock AS job_id, p.priority FROM procrastinate_jobs p
    WHERE p.status = 'todo' AND p.queueing_lock >= {job_id} ORDER BY p.queueing_lock LIMIT 1
    """  # noqa: S608 -- a column's name


# Only what `claim` would give, and what has no entry yet. `FOR KEY SHARE` is not taken: a job that changes meanwhile
# gets an entry too many, which does nothing. Each job is looked up by its id, with a fence (`OFFSET`, `LIMIT`) around
# the look: a plan made while the tables were small would rather compare all jobs with all entries.
_COLUMNS: Final = "j.job_id, j.queue, j.operator, j.priority, j.scope_id"
_WITHOUT_ENTRY: Final = f"""
SELECT d.* FROM unnest(%(job_ids)s::text[]) AS n(job_id) CROSS JOIN LATERAL (
  SELECT {_COLUMNS}, FALSE AS is_woken FROM (SELECT * FROM runtime_jobs a WHERE a.job_id = n.job_id OFFSET 0) AS j
  WHERE j.owner IS NULL AND j.operator IS NOT NULL AND j.status IN ('queued', 'running')
  UNION ALL
  SELECT {_COLUMNS}, TRUE AS is_woken FROM (SELECT job_id FROM runtime_woken w WHERE w.job_id = n.job_id LIMIT 1) AS w
  JOIN runtime_jobs j ON j.job_id = w.job_id
) AS d LEFT JOIN LATERAL ({_entry_from("d.job_id")}) AS entry ON TRUE WHERE entry.job_id IS DISTINCT FROM d.job_id
"""  # noqa: S608 -- the columns above


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
_MOVED_UP: Final = 200
"""Entries that a sweep moves up: of jobs that come next."""
_ALL: Final = 2**31
_MOVED_AT_ONCE: Final = 2 * _LAST_TURN
"""Jobs of a scope that a more urgent one of the scope may push back: all that have a turn, and those that had one."""


def _priority(turn: str, priority: str) -> str:
    """Return the priority of an entry: by turn, and within a turn by the job's own."""
    return (
        f"(least({_LAST_TURN}, {turn}) * -{_STEP} + greatest({_LOWEST}, least({priority}, {_HIGHEST})))::int4"
    )


def _heads(scopes: str, *, columns: str, limit: int) -> str:
    """Return the first ready jobs of each of some scopes; its cost is bounded by scope, however many wait."""
    return f"""
    SELECT first.* FROM {scopes} AS s(scope_id) CROSS JOIN LATERAL (
      SELECT {columns} FROM runtime_jobs a WHERE {_READY_JOB} AND a.scope_id = s.scope_id
      ORDER BY a.priority DESC, a.job_id LIMIT {limit}
    ) AS first
    """  # noqa: S608 -- the conditions above


_TURN: Final = f"""1 + coalesce(running.number, 0) + least({_LAST_TURN}, coalesce(r.ahead, 0))
  + (row_number() OVER (PARTITION BY r.scope_id, r.is_woken ORDER BY r.priority DESC, r.job_id) - 1) * r.is_woken::int"""
"""Which job of its scope a job `r` is, those that run counted as well. Woken jobs are counted where they are woken together."""


def _in_turns(chosen: str, *, across_scopes: bool) -> str:
    """Give each of the chosen jobs the priority of its entry: the first jobs of all scopes come before the second ones.

    What is ahead is read once for each scope, not for each job: a burst of one scope would cost its square.
    """
    if across_scopes:
        return f"""
        SELECT job_id, queue, operator, priority, scope_id, FALSE AS overtakes FROM ({chosen}) AS r
        ORDER BY priority DESC, job_id
        """  # noqa: S608 -- the conditions above
    ahead = _heads("scopes", columns="a.job_id, a.priority, a.scope_id", limit=_LAST_TURN)
    return f"""
    WITH {_RUNNING}, chosen AS MATERIALIZED ({chosen}),
    scopes (scope_id) AS (SELECT DISTINCT scope_id FROM chosen),
    last AS MATERIALIZED (
      SELECT s.scope_id, (
        SELECT a.priority FROM runtime_jobs a WHERE {_READY_JOB} AND a.scope_id = s.scope_id
        ORDER BY a.priority, a.job_id DESC LIMIT 1
      ) AS priority FROM scopes s
    ), lined AS (
      SELECT *, sum(is_ahead) OVER (
        PARTITION BY scope_id ORDER BY priority DESC, job_id GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) AS ahead FROM (
        SELECT job_id, queue, operator, priority, scope_id, is_woken, 0 AS is_ahead FROM chosen
        UNION ALL
        SELECT job_id, NULL, NULL, priority, scope_id, NULL, 1 FROM ({ahead}) AS heads
      ) AS line
    ), turned AS (
      SELECT r.*, {_TURN} AS turn, coalesce(last.priority < r.priority, FALSE) AS overtakes
      FROM lined r LEFT JOIN running USING (scope_id) LEFT JOIN last USING (scope_id) WHERE r.is_ahead = 0
    )
    SELECT job_id, queue, operator, {_priority("turn", "priority")} AS priority, scope_id, overtakes
    FROM turned ORDER BY 4 DESC, job_id
    """  # noqa: S608 -- the conditions above


def _move(heads: str, *, most: int) -> str:
    """Return the statement that gives entries the turns they would get now; `heads` are jobs with their turns in their scopes."""
    return f"""
    WITH {_RUNNING}, heads AS (
      SELECT h.job_id, {_priority("h.turn + coalesce(running.number, 0)", "h.priority")} AS priority
      FROM ({heads}) AS h LEFT JOIN running USING (scope_id)
    ), moved AS (
      SELECT locked.id, heads.priority FROM heads CROSS JOIN LATERAL ({_entry_from("heads.job_id")}) AS entry
      CROSS JOIN LATERAL (
        SELECT q.id, q.status FROM procrastinate_jobs q WHERE q.id = entry.id FOR UPDATE SKIP LOCKED
      ) AS locked
      WHERE entry.job_id = heads.job_id AND entry.priority <> heads.priority AND locked.status = 'todo'
      ORDER BY heads.priority DESC LIMIT {most}
    )
    UPDATE procrastinate_jobs p SET priority = moved.priority FROM moved WHERE p.id = moved.id RETURNING p.id
    """  # noqa: S608 -- the conditions above


MOVE_UP: Final = _move(
    """
    SELECT d.job_id, d.priority, d.scope_id,
      row_number() OVER (PARTITION BY d.scope_id ORDER BY d.priority DESC, d.job_id) AS turn
    FROM runtime_jobs d WHERE d.job_id = ANY(%(job_ids)s::text[])
    """,
    most=_MOVED_UP,
)
"""For the first due jobs of scopes: others that came later have been served meanwhile."""
MOVE_BACK: Final = _move(
    f"""
    SELECT first.*, row_number() OVER (PARTITION BY first.scope_id ORDER BY first.priority DESC, first.job_id) AS turn
    FROM ({_heads("unnest(%(scopes)s::text[])", columns="a.job_id, a.priority, a.scope_id", limit=_MOVED_AT_ONCE)}) AS first
    """,  # noqa: S608 -- the conditions above
    most=_ALL,
)
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


_LINES = f"FROM runtime_jobs a WHERE {_READY_JOB}"
UNHEARD: Final = f"""
WITH RECURSIVE ready (name, line, number) AS (
  SELECT o.name,
    (SELECT a.queue {_LINES} AND a.operator = o.name AND a.queue > %(after)s::text ORDER BY a.operator, a.queue LIMIT 1), 1
  FROM unnest(%(operators)s::text[]) AS o(name)
  UNION ALL
  SELECT r.name,
    (SELECT a.queue {_LINES} AND a.operator = r.name AND a.queue > r.line ORDER BY a.operator, a.queue LIMIT 1), r.number + 1
  FROM ready r WHERE r.line IS NOT NULL AND r.number < %(limit)s::int + cardinality(%(heard)s::text[])
)
SELECT queue FROM (
  SELECT line AS queue FROM ready WHERE line IS NOT NULL
  UNION
  SELECT j.queue FROM runtime_woken w JOIN runtime_jobs j ON j.job_id = w.job_id
  WHERE j.operator = ANY(%(operators)s::text[]) AND j.queue > %(after)s::text
) AS found WHERE NOT queue = ANY(%(heard)s::text[]) ORDER BY queue LIMIT %(limit)s::int
"""  # noqa: S608 -- the conditions above
"""The first queues behind one in which jobs are due that this process could run, and to which it does not listen yet: one step for each."""
NEXT_READY: Final = f"""
SELECT a.operator, a.queue, a.job_id, a.scope_id {_LINES}
  AND (a.operator, a.queue, a.job_id) > (%(operator)s::text, %(queue)s::text, %(job_id)s::text)
ORDER BY a.operator, a.queue, a.job_id LIMIT %(limit)s
"""
"""The ready jobs behind one, line by line: so that a sweep comes to all of them in time, however many wait ahead."""


def due(*, capped: bool, across_scopes: bool = False) -> str:
    """Return the query for those of some jobs that are due and have no entry, with the priority of that.

    Of a scope with a cap it gives as many as have a free slot. Jobs that are asked to stop need none. Slots are counted for each
    queue and operator: what waits for one that nobody serves holds up nobody else, and the claim counts exactly.
    """
    if not capped:
        return _in_turns(_WITHOUT_ENTRY, across_scopes=across_scopes)
    chosen = f"""
    WITH due AS (
      SELECT d.*, EXISTS (
        SELECT 1 FROM runtime_signals s
        WHERE s.job_id = d.job_id AND s.type IN ('job.cancel_requested', 'job.deadline_reached')
      ) AS stops FROM ({_WITHOUT_ENTRY}) AS d
    ), ranked AS (
      SELECT *, row_number() OVER (PARTITION BY scope_id, queue, operator, stops ORDER BY priority DESC, job_id) AS place FROM due
    ), running AS (
      SELECT scope_id, count(*) AS number FROM runtime_jobs WHERE owner IS NOT NULL GROUP BY scope_id
    )
    SELECT r.job_id, r.queue, r.operator, r.priority, r.scope_id, r.is_woken FROM ranked r
    LEFT JOIN running USING (scope_id)
    LEFT JOIN unnest(%(scopes)s::text[], %(caps)s::int8[]) AS c(scope_id, cap) USING (scope_id)
    WHERE r.stops OR coalesce(r.place <= coalesce(c.cap, %(cap)s::int8) - coalesce(running.number, 0), TRUE)
    """  # noqa: S608
    return _in_turns(chosen, across_scopes=across_scopes)
