"""Which operators and queues of ready jobs nobody lists: in both dialects, by a skip scan."""

from __future__ import annotations


def unlisted_lines(ready: str) -> str:
    """Return the members of a `WITH RECURSIVE` that end with `unlisted (name, line)`: operators and queues.

    Of a line of ready jobs only the first is looked at, by the index on operator, queue and job: what this costs grows with the
    number of lines, not with that of the jobs.

    Args:
        ready: The jobs `j` that are ready, from `FROM` to the end of its `WHERE`. Two members are there already: `listed (queue,
            operator)` is what workers list, with an empty queue for all, and `served (line)` the queues that somebody serves.
    """
    return f"""waiting (name) AS (
  SELECT (SELECT j.operator {ready} ORDER BY j.operator LIMIT 1)
  UNION ALL
  SELECT (SELECT j.operator {ready} AND j.operator > w.name ORDER BY j.operator LIMIT 1) FROM waiting w WHERE w.name IS NOT NULL
), unknown (name) AS (
  SELECT name FROM waiting w
  WHERE name IS NOT NULL AND NOT EXISTS (SELECT 1 FROM listed l WHERE l.operator = w.name AND l.queue = '')
), every (name, line) AS (
  SELECT name, (SELECT j.queue {ready} AND j.operator = u.name ORDER BY j.operator, j.queue LIMIT 1)
  FROM unknown u WHERE EXISTS (SELECT 1 FROM served WHERE line = '')
  UNION ALL
  SELECT name, (
    SELECT j.queue {ready} AND j.operator = e.name AND j.queue > e.line ORDER BY j.operator, j.queue LIMIT 1
  ) FROM every e WHERE e.line IS NOT NULL
), unlisted (name, line) AS (
  SELECT name, line FROM every WHERE line IS NOT NULL
  UNION
  SELECT u.name, s.line FROM unknown u CROSS JOIN served s WHERE s.line <> ''
  EXCEPT
  SELECT l.operator, l.queue FROM listed l
)"""  # noqa: S608 -- from statements of ours
