"""The SQL of the write path. Parameters are always bound, never pasted; only column names of our own are formatted in."""

from __future__ import annotations

from typing import Final

from agent_runtime.audit.chain import SALT_BYTES
from agent_runtime.storage.cursors import FOLLOWED
from agent_runtime.storage.forgetting import REFERS
from agent_runtime.storage.rows import (
    ACTION,
    BUDGET,
    EVENT,
    JOB,
    LEDGER,
    POLICY,
    TIMER,
    TOKEN,
    WAIT,
    WORKER,
    Columns,
)
from agent_runtime.storage.rows import audit as audit_rows
from agent_runtime.storage.spent import spent_since
from agent_runtime.storage.unlisted import unlisted_lines
from agent_runtime.values.budget import DIMENSIONS


def insert(table: str, columns: Columns, *, verb: str = "INSERT") -> str:
    """Return the statement that inserts a row."""
    marks = ", ".join("?" * len(columns))
    return f"{verb} INTO {table} ({', '.join(columns)}) VALUES ({marks})"


# The fence check and the new place in the journal are one statement: a plain SELECT would let a stale writer through.
TOUCH: Final = """
UPDATE runtime_jobs SET last_seq = last_seq + ?, updated_at = ?
WHERE job_id = ? AND fence = ? RETURNING last_seq, audit_head, audit_salt
"""
CHANGE_JOB: Final = """
UPDATE runtime_jobs SET
  last_seq = last_seq + ?, updated_at = ?, status = ?, progress = coalesce(?, progress),
  error = ?, error_code = ?, result_ref = coalesce(?, result_ref),
  started_at = coalesce(started_at, ?), completed_at = coalesce(?, completed_at),
  owner = CASE WHEN ? THEN NULL ELSE owner END,
  failed_versions = coalesce(?, failed_versions), retry_at = coalesce(?, retry_at),
  deaths = coalesce(?, deaths), lone_deaths = coalesce(?, lone_deaths), open_claim = coalesce(?, open_claim)
WHERE job_id = ? AND fence = ? RETURNING last_seq, audit_head, audit_salt
"""
EXTEND: Final = """
UPDATE runtime_jobs SET last_seq = ?, audit_head = ?, updated_at = ? WHERE job_id = ? AND fence = ? AND audit_head = ?
"""
"""What `TOUCH` and `MOVE_HEAD` do, for who knows where the journal ends."""
MOVE_HEAD: Final = "UPDATE runtime_jobs SET audit_head = ? WHERE job_id = ?"
SET_PROGRESS: Final = "UPDATE runtime_jobs SET progress = ? WHERE job_id = ?"
JOB_STATE: Final = "SELECT fence, status FROM runtime_jobs WHERE job_id = ?"
SEEN_JOB: Final = """
SELECT fence, status, owner, successor_id, deaths, lone_deaths, open_claim FROM runtime_jobs WHERE job_id = ?
"""
IS_ERASED: Final = "SELECT length(audit_salt) = 0 FROM runtime_jobs WHERE job_id = ?"
HAS_SIGNALS: Final = "SELECT EXISTS (SELECT 1 FROM runtime_signals WHERE job_id = ?)"
INSERT_JOB: Final = insert("runtime_jobs", {**JOB, "audit_head": "plain", "audit_salt": "plain"})
JOB_BY_KEY: Final = """
SELECT job_id, request_hash FROM runtime_jobs WHERE scope_id = ? AND idempotency_key = ? AND successor_id IS NULL
"""
SUCCEED: Final = "UPDATE runtime_jobs SET successor_id = ? WHERE job_id = ?"
INSERT_EVENT: Final = """
INSERT INTO runtime_events (job_id, seq, commit_id, type, at, operation_id, data, content, link)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
COMMITTED_SEQ: Final = "SELECT seq FROM runtime_events WHERE commit_id = ?"

_READY = "owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running')"
_STOP_WAITS = """EXISTS (
  SELECT 1 FROM runtime_signals s
  WHERE s.job_id = j.job_id AND s.type IN ('job.cancel_requested', 'job.deadline_reached')
)"""
SCOPE_AND_STOP: Final = f"SELECT scope_id, queue, {_STOP_WAITS} FROM runtime_jobs j WHERE job_id = ?"  # noqa: S608
WAITING_IN_SCOPE: Final = f"""
SELECT count(*) FROM (
  SELECT 1 FROM runtime_jobs INDEXED BY runtime_jobs_ready WHERE {_READY} AND scope_id = ? LIMIT ?
)
"""  # noqa: S608
WAITING: Final = f"""
SELECT count(*) FROM (SELECT 1 FROM runtime_jobs INDEXED BY runtime_jobs_ready WHERE {_READY} LIMIT ?)
"""  # noqa: S608
UNBLOCK: Final = "UPDATE runtime_jobs SET failed_versions = NULL, retry_at = NULL WHERE job_id = ?"
SET_COUNTED: Final = "UPDATE runtime_jobs SET deaths = ?, lone_deaths = ?, open_claim = ? WHERE job_id = ?"
CLAIMABLE: Final = """
SELECT operator, failed_versions, deaths, lone_deaths, open_claim, EXISTS (
  SELECT 1 FROM runtime_signals s WHERE s.job_id = runtime_jobs.job_id AND s.type = 'job.retry_requested'
), EXISTS (
  SELECT 1 FROM runtime_signals s
  WHERE s.job_id = runtime_jobs.job_id AND s.type IN ('job.cancel_requested', 'job.deadline_reached')
) FROM runtime_jobs
WHERE job_id = ? AND owner IS NULL AND operator IS NOT NULL
  AND (
    status IN ('queued', 'running')
    OR (
      status IN ('waiting_action', 'sleeping', 'waiting', 'blocked')
      AND EXISTS (SELECT 1 FROM runtime_woken w WHERE w.job_id = runtime_jobs.job_id)
    )
  )
"""
CLAIM: Final = f"""
UPDATE runtime_jobs SET
  last_seq = last_seq + 1, fence = fence + 1, owner = :owner, status = 'running',
  updated_at = max(updated_at, :at),
  started_at = coalesce(started_at, :at), deaths = :deaths, lone_deaths = :lone_deaths, open_claim = :open_claim
WHERE job_id = :job_id
RETURNING {", ".join(JOB)}, audit_head, audit_salt
"""  # noqa: S608 -- names from `rows`
_WOKEN = "runtime_woken w JOIN runtime_jobs j ON j.job_id = w.job_id"


_ABLE = f"""AND (:operators IS NULL OR (
    j.operator IN (SELECT value FROM json_each(:operators)) AND (
      NOT EXISTS (SELECT 1 FROM json_each(j.failed_versions) f JOIN json_each(:versions) v ON v.value = f.value)
      OR {_STOP_WAITS}
    )
  ))"""  # noqa: S608
"""What an `Ability` covers, for a job `j`."""


def due_jobs(*, capped: bool, across_scopes: bool) -> str:
    """Return the query for those of some jobs that are due; its parameters are `caps` and `ids` as JSON, the default `cap` and `limit`."""
    chosen = "AND j.job_id IN (SELECT value FROM json_each(:ids))"
    turn = "row_number() OVER (PARTITION BY j.scope_id ORDER BY j.priority DESC, j.job_id) AS turn"
    columns = f"j.job_id, j.priority, j.scope_id, j.queue, {'0 AS turn' if across_scopes else turn}"
    due = f"""
      SELECT {columns} FROM runtime_jobs j WHERE {_READY} {chosen} {_ABLE}
      UNION ALL
      SELECT {columns} FROM {_WOKEN} WHERE TRUE {chosen} {_ABLE}
    """  # noqa: S608 -- the conditions above
    order = "d.priority DESC, d.job_id" if across_scopes else "d.turn + coalesce(running.number, 0), d.job_id"
    running = """running AS (
      SELECT scope_id, count(*) AS number FROM runtime_jobs INDEXED BY runtime_jobs_owned WHERE owner IS NOT NULL
      GROUP BY scope_id
    )"""
    if not capped:
        return f"""
        WITH due AS ({due}), {running}
        SELECT d.job_id, d.priority, d.scope_id FROM due d LEFT JOIN running ON running.scope_id = d.scope_id
        ORDER BY {order} LIMIT :limit
        """  # noqa: S608
    return f"""
    WITH due AS (SELECT *, {_STOP_WAITS} AS stops FROM ({due}) AS j), ranked AS (
      SELECT *, row_number() OVER (PARTITION BY scope_id, queue, stops ORDER BY priority DESC, job_id) AS place FROM due
    ), {running}
    SELECT d.job_id, d.priority, d.scope_id FROM ranked d
    LEFT JOIN running ON running.scope_id = d.scope_id LEFT JOIN json_each(:caps) c ON c.key = d.scope_id
    WHERE d.stops OR coalesce(d.place <= coalesce(c.value, :cap) - coalesce(running.number, 0), TRUE)
    ORDER BY {order} LIMIT :limit
    """  # noqa: S608


RUNNING: Final = """
SELECT scope_id, count(*) FROM runtime_jobs INDEXED BY runtime_jobs_owned WHERE owner IS NOT NULL GROUP BY scope_id
"""
_NEXT_SCOPE = f"SELECT j.scope_id FROM runtime_jobs j INDEXED BY runtime_jobs_ready WHERE {_READY}"  # noqa: S608
READY_SCOPES: Final = f"""
WITH RECURSIVE scopes (scope_id) AS (
  SELECT * FROM ({_NEXT_SCOPE} AND j.scope_id > :after ORDER BY j.scope_id LIMIT 1)
  UNION ALL
  SELECT ({_NEXT_SCOPE} AND j.scope_id > scopes.scope_id ORDER BY j.scope_id LIMIT 1) FROM scopes
  WHERE scopes.scope_id IS NOT NULL LIMIT :number
)
SELECT scope_id FROM scopes WHERE scope_id IS NOT NULL
"""  # noqa: S608
"""The first scopes behind one that have ready jobs; its cost grows with their number, not with that of the jobs."""
FIRST_READY: Final = f"""
SELECT j.job_id, j.priority, j.scope_id, j.queue FROM runtime_jobs j INDEXED BY runtime_jobs_ready
WHERE {_READY} AND j.scope_id = :scope {_ABLE} ORDER BY j.priority DESC, j.job_id LIMIT :number
"""  # noqa: S608
_CANDIDATE = f"j.job_id, j.priority, j.scope_id, j.queue, {_STOP_WAITS}"
# Without the condition on signals and receivers, which is always met, the planner would search the view among all jobs.
WOKEN: Final = f"""
SELECT {_CANDIDATE} FROM {_WOKEN}
WHERE w.job_id IN (SELECT job_id FROM runtime_signals UNION SELECT job_id FROM runtime_receivers) {_ABLE}
"""  # noqa: S608
STOPPING: Final = f"""
SELECT {_CANDIDATE} FROM runtime_signals s CROSS JOIN runtime_jobs j ON j.job_id = s.job_id
WHERE s.type IN ('job.cancel_requested', 'job.deadline_reached') AND {_READY} {_ABLE}
"""  # noqa: S608
"""Ready jobs that are asked to stop. Signals wait for a moment only, so that few are there."""


# The planner would rather search all jobs of the scope, ended ones too.
_FREE = """max(0, :cap - (
  SELECT count(*) FROM runtime_jobs INDEXED BY runtime_jobs_owned WHERE owner IS NOT NULL AND scope_id = :scope
))"""
_OF_QUEUES = "AND (:queues = '[]' OR queue IN (SELECT value FROM json_each(:queues)))"
NEXT_JOBS: Final = f"""
SELECT job_id, priority FROM (
  SELECT * FROM (
    SELECT job_id, priority FROM runtime_jobs j INDEXED BY runtime_jobs_ready
    WHERE {_READY} AND scope_id = :scope {_OF_QUEUES} {_ABLE} ORDER BY priority DESC, job_id LIMIT {_FREE}
  )
  UNION
  SELECT j.job_id, j.priority FROM {_WOKEN} WHERE j.scope_id = :scope {_OF_QUEUES} {_ABLE}
) ORDER BY priority DESC, job_id LIMIT {_FREE}
"""  # noqa: S608

STOPPED_JOBS: Final = """
SELECT j.job_id FROM json_each(?) AS v CROSS JOIN runtime_jobs j ON j.job_id = v.value
WHERE j.status IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'blocked')
"""
LAST_EVENTS: Final = f"""
SELECT j.job_id, j.scope_id, {", ".join(f"e.{name}" for name in EVENT)}
FROM json_each(?) AS v CROSS JOIN runtime_jobs j ON j.job_id = v.value
JOIN runtime_events e ON e.job_id = j.job_id AND e.seq = j.last_seq
"""  # noqa: S608 -- names from `rows`
BLOCKED_JOBS: Final = f"""
SELECT j.job_id FROM runtime_jobs j INDEXED BY runtime_jobs_blocked
WHERE j.status = 'blocked' AND j.owner IS NULL AND j.job_id > :after AND (
    j.retry_at IS NULL
    OR (j.retry_at <= :at AND (j.error_code IS NOT 'CRASH_LOOP' OR j.updated_at < :started_at))
  ) {_ABLE}
  AND NOT EXISTS (SELECT 1 FROM runtime_signals s WHERE s.job_id = j.job_id)
ORDER BY j.job_id LIMIT :limit
"""  # noqa: S608
_LINES = f"FROM runtime_jobs j INDEXED BY runtime_jobs_lines WHERE {_READY}"
UNLISTED_JOBS: Final = f"""
WITH RECURSIVE listed AS (SELECT queue, operator FROM runtime_operators WHERE listed_at > :since),
served (line) AS (
  SELECT '' FROM runtime_workers w WHERE w.started_at <= :since AND w.queues = '[]'
  UNION
  SELECT q.value FROM runtime_workers w JOIN json_each(w.queues) q WHERE w.started_at <= :since
), {unlisted_lines(_LINES)}
SELECT j.job_id FROM runtime_signals s CROSS JOIN runtime_jobs j ON j.job_id = s.job_id
WHERE s.type IN ('job.cancel_requested', 'job.deadline_reached') AND {_READY}
  AND NOT EXISTS (SELECT 1 FROM listed l WHERE l.operator = j.operator)
UNION
SELECT j.job_id FROM {_WOKEN}
WHERE w.job_id IN (SELECT job_id FROM runtime_signals UNION SELECT job_id FROM runtime_receivers) AND CASE WHEN {_STOP_WAITS}
  THEN NOT EXISTS (SELECT 1 FROM listed l WHERE l.operator = j.operator)
  ELSE j.status <> 'blocked' AND j.updated_at <= :since AND EXISTS (SELECT 1 FROM served WHERE line IN ('', j.queue))
    AND NOT EXISTS (SELECT 1 FROM listed l WHERE l.operator = j.operator AND l.queue IN ('', j.queue))
  END
UNION
SELECT job_id FROM (
  SELECT j.job_id FROM unlisted u CROSS JOIN runtime_jobs j INDEXED BY runtime_jobs_lines
  WHERE {_READY} AND j.operator = u.name AND j.queue = u.line AND j.updated_at <= :since AND NOT {_STOP_WAITS} LIMIT :limit
)
LIMIT :limit
"""  # noqa: S608
"""Of jobs that are ready, only lines are looked at that nobody lists: what waits for those who live costs nothing."""

# One that was sent before does nothing.
SEND: Final = """
INSERT OR IGNORE INTO runtime_signals (signal_id, job_id, type, operation_id, data, content, is_failure)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
IS_STOPPING: Final = """
SELECT EXISTS (
  SELECT 1 FROM runtime_signals WHERE job_id = ? AND type IN ('job.cancel_requested', 'job.deadline_reached')
)
"""
FAMILY: Final = """
SELECT job_id FROM runtime_jobs
WHERE parent_job_id = ? AND on_parent_end = 'cancel' AND status NOT IN ('succeeded', 'failed', 'cancelled', 'timed_out')
"""
FORGET_WAITS: Final = "DELETE FROM runtime_waits WHERE job_id = ?"
WAIT_FOR: Final = insert("runtime_waits", WAIT)
JOBS_WITH_SIGNALS: Final = """
SELECT j.job_id FROM runtime_jobs j WHERE j.owner = ? AND (
  EXISTS (SELECT 1 FROM runtime_signals s WHERE s.job_id = j.job_id) OR EXISTS (
    SELECT 1 FROM runtime_receivers r JOIN runtime_inboxes i ON i.scope_id = r.scope_id AND i.identity = r.identity
    WHERE r.job_id = j.job_id AND i.unclaimed > 0
  )
)
"""
WAITING_SIGNALS: Final = (
    "SELECT id, type, operation_id, data, content FROM runtime_signals WHERE job_id = ? ORDER BY id"
)
DELETE_SIGNALS: Final = "DELETE FROM runtime_signals WHERE job_id = ? AND id <= ?"
ADD_SEQ: Final = """
UPDATE runtime_jobs SET last_seq = last_seq + ? WHERE job_id = ? AND fence = ? RETURNING last_seq, scope_id, audit_head, audit_salt
"""

INSERT_ACTION: Final = insert("runtime_actions", ACTION)
INSERT_TOKEN: Final = insert("runtime_action_tokens", TOKEN)
ACTION_BY_HASH: Final = "SELECT action_id, approver FROM runtime_action_tokens WHERE token_hash = ?"
CHANGE_ACTION: Final = """
UPDATE runtime_actions SET
  status = ?, resolution = coalesce(?, resolution), resolved_by = coalesce(?, resolved_by), resolved_at = ?,
  votes = coalesce(?, votes), job_id = coalesce(?, job_id)
WHERE action_id = ? AND status = 'pending'
"""
SEEN_ACTION: Final = "SELECT status, json_array_length(votes) FROM runtime_actions WHERE action_id = ?"
WITHDRAW_ACTION: Final = """
UPDATE runtime_actions SET status = 'cancelled', resolved_at = ? WHERE action_id = ? AND status = 'pending'
"""
CANCEL_ACTIONS: Final = """
UPDATE runtime_actions SET status = 'cancelled', resolved_at = ?
WHERE job_id = ? AND status = 'pending' AND type <> 'reconcile'
"""

SET_TIMER: Final = insert("runtime_timers", TIMER, verb="REPLACE")
HAS_TIMER: Final = "SELECT EXISTS (SELECT 1 FROM runtime_timers WHERE job_id = ? AND key = ?)"
CLEAR_TIMER: Final = "DELETE FROM runtime_timers WHERE job_id = ? AND key = ?"
CLEAR_TIMERS_OF: Final = (
    "DELETE FROM runtime_timers WHERE job_id = ? AND json_extract(data, '$.outlives') IS NOT 1"
)

NEW_COUNTERS: Final = 'INSERT OR IGNORE INTO runtime_budget_counters (budget_id, "window") VALUES (?, ?)'
_SETTLED = ", ".join(f"settled_{name}" for name in DIMENSIONS)
_RESERVED = ", ".join(f"reserved_{name}" for name in DIMENSIONS)
COUNTERS: Final = (
    f'SELECT {_SETTLED}, {_RESERVED} FROM runtime_budget_counters WHERE budget_id = ? AND "window" = ?'  # noqa: S608
)
_ADDED = ", ".join(
    f"{state}_{name} = {state}_{name} + ?" for state in ("settled", "reserved") for name in DIMENSIONS
)
CHARGE: Final = f'UPDATE runtime_budget_counters SET {_ADDED} WHERE budget_id = ? AND "window" = ?'  # noqa: S608
SPENT_SINCE: Final = spent_since(":since", "json_extract(l.metadata, '$.corrects')", ":after", ":upto")
FORGET_COUNTERS: Final = f"""
DELETE FROM runtime_budget_counters WHERE budget_id = ? AND "window" >= ? AND "window" < ?
  AND {" AND ".join(f"reserved_{name} = 0" for name in DIMENSIONS)}
"""  # noqa: S608
HAS_ENTRY: Final = "SELECT EXISTS (SELECT 1 FROM runtime_ledger WHERE scope_id = ? AND event_id = ?)"
INSERT_LEDGER: Final = insert("runtime_ledger", LEDGER, verb="INSERT OR IGNORE")
PUT_BUDGET: Final = insert("runtime_budgets", BUDGET, verb="REPLACE")
DROP_BUDGET: Final = "DELETE FROM runtime_budgets WHERE budget_id = ?"
KEEP_POLICY: Final = insert("runtime_policies", POLICY, verb="INSERT OR IGNORE")
PUT_WORKER: Final = insert("runtime_workers", WORKER, verb="REPLACE")
LIST_OPERATOR: Final = "REPLACE INTO runtime_operators (queue, operator, listed_at) VALUES (?, ?, ?)"
FORGET_OPERATORS: Final = "DELETE FROM runtime_operators"
HAS_WORKER: Final = "SELECT EXISTS (SELECT 1 FROM runtime_workers WHERE worker_id = ?)"
DELETE_WORKER: Final = "DELETE FROM runtime_workers WHERE worker_id = ?"
FREE_JOBS: Final = """
UPDATE runtime_jobs SET owner = NULL, open_claim = CASE WHEN ? THEN open_claim ELSE 0 END WHERE owner = ?
"""


def _ended_jobs(condition: str, other: str = "") -> str:
    """Return the statement for the jobs that ended before a moment; `other` says which jobs' references count."""
    return f"""
    SELECT job_id FROM (
      SELECT j.job_id, sum(j.last_seq) OVER (ORDER BY j.completed_at, j.job_id) - j.last_seq AS events_before
      FROM (
        SELECT job_id, last_seq, completed_at FROM runtime_jobs j WHERE completed_at < :before {condition}
          AND NOT EXISTS (SELECT 1 FROM runtime_actions a WHERE a.job_id = j.job_id AND a.status = 'pending')
          AND NOT EXISTS (SELECT 1 FROM runtime_jobs r WHERE {REFERS} {other}) AND {FOLLOWED}
        ORDER BY completed_at, job_id LIMIT :limit
      ) AS j
    ) WHERE events_before < :events
    """  # noqa: S608 -- the two conditions below


ENDED_JOBS: Final = _ended_jobs("")
ENDED_JOBS_WITH_CONTENT: Final = _ended_jobs(
    "AND completed_at IS NOT NULL AND content_pruned_at IS NULL", "AND r.content_pruned_at IS NULL"
)
DELETE_CONTENT: Final = f"""
UPDATE runtime_events SET content = NULL, content_digest = content_digest(
  (SELECT substr(j.audit_salt, {SALT_BYTES + 1}) FROM runtime_jobs j WHERE j.job_id = runtime_events.job_id), seq, content
) WHERE job_id = ? AND content IS NOT NULL
"""  # noqa: S608
"""Without its salt, the digest of what was deleted tells nobody what it was."""
_NOW = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
MARK_WITHOUT_CONTENT: Final = f"""
UPDATE runtime_jobs SET content_pruned_at = {_NOW}, audit_salt = substr(audit_salt, 1, {SALT_BYTES}) WHERE job_id = ?
"""  # noqa: S608
MARK_GONE: Final = audit_rows.GONE.format(at=_NOW, among="= ?")
_NO_OTHER_LINK = """NOT EXISTS (
  SELECT 1 FROM runtime_jobs o WHERE o.job_id = j.chain_id AND o.job_id <> j.job_id
) AND NOT EXISTS (
  SELECT 1 FROM runtime_jobs o WHERE o.chain_id = j.chain_id AND o.predecessor_id IS NOT NULL AND o.job_id <> j.job_id
)"""
DELETE_JOB: Final = (
    f"""DELETE FROM runtime_budget_counters WHERE budget_id = (
  SELECT 'run:' || json_array(j.scope_id, j.chain_id) FROM runtime_jobs j WHERE j.job_id = ? AND {_NO_OTHER_LINK}
)""",  # noqa: S608
    "DELETE FROM runtime_action_tokens WHERE action_id IN (SELECT action_id FROM runtime_actions WHERE job_id = ?)",
    *(
        f"DELETE FROM {table} WHERE job_id = ?"  # noqa: S608 -- names of our own
        for table in (
            "runtime_events",
            "runtime_signals",
            "runtime_receivers",
            "runtime_timers",
            "runtime_actions",
            "runtime_jobs",
        )
    ),
)
LAST_POSITION: Final = "SELECT coalesce(max(id), 0) FROM runtime_events"
KEEP_POSITION: Final = (
    "DELETE FROM runtime_events WHERE job_id = '' AND id < (SELECT max(id) FROM runtime_events)",
    """INSERT INTO runtime_events (id, job_id, seq, type, at, data)
    SELECT :last, '', :last, 'feed.position', 0, '{}' WHERE :last > (SELECT coalesce(max(id), 0) FROM runtime_events)""",
)
"""SQLite gives the number of a deleted last row again, which who follows the feed would take for read. So a row of no job keeps it;
`AUTOINCREMENT` would do the same at the price of one more page in each transaction that writes."""
FREE_JOB: Final = """
UPDATE runtime_jobs SET owner = NULL, open_claim = 0 WHERE job_id = ? AND fence = ? AND owner IS NOT NULL
"""
FREE_ALL_JOBS: Final = "UPDATE runtime_jobs SET owner = NULL WHERE owner IS NOT NULL AND owner <> ?"
FORGET_OTHER_WORKERS: Final = "DELETE FROM runtime_workers WHERE worker_id <> ?"
