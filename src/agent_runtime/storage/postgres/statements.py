"""The SQL of the write path, each statement for a whole batch: arrays in, one row per element.

Parameters are always bound, never pasted; only column names of our own are formatted in. Rows are locked in sorted
order – counters, jobs, inboxes, actions, timers – so that batches of two processes wait for each other and do not deadlock.
"""

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
    MESSAGE,
    POLICY,
    RECEIVER,
    TIMER,
    TOKEN,
    WAIT,
    WORKER,
    Columns,
)
from agent_runtime.storage.rows.audit import GONE
from agent_runtime.storage.spent import spent_since
from agent_runtime.storage.unlisted import unlisted_lines
from agent_runtime.values.budget import DIMENSIONS

_NUMBERS: Final = {
    **dict.fromkeys(
        ("priority", "depth", "deaths", "lone_deaths", "open_claim", "quorum", "set_number", "position"),
        "int4",
    ),
    "progress": "float8",
    **dict.fromkeys(("uncertain", "is_failure", "ends_with_failure"), "bool"),
    **dict.fromkeys(("content", "link", "audit_head", "audit_salt", "head"), "bytea"),
    **dict.fromkeys(
        ("fence", "last_seq", "seq", "number", "cost_units", "duration_ms", "revision", "count"), "int8"
    ),
    **dict.fromkeys((name for name in LEDGER if name.endswith("_tokens")), "int8"),
}
SIGNAL: Final[Columns] = {
    "signal_id": "plain",
    "job_id": "plain",
    "type": "plain",
    "operation_id": "plain",
    "data": "json",
    "content": "plain",
    "is_failure": "plain",
}
EVENT_ROW: Final[Columns] = {
    "job_id": "plain",
    "seq": "plain",
    "commit_id": "plain",
    "type": "plain",
    "at": "time",
    "operation_id": "plain",
    "data": "json",
    "content": "plain",
    "link": "plain",
}
AUDIT: Final[Columns] = {"audit_head": "plain", "audit_salt": "plain"}
"""What audits a job, besides what the job is."""


def _type(name: str, columns: Columns) -> str:
    """Return the type in which a column's values are sent; JSON goes as text and is read by the server."""
    if columns is MESSAGE and name == "position":
        return "int8"
    return "timestamptz" if columns[name] == "time" else _NUMBERS.get(name, "text")


def insert(table: str, columns: Columns, conflict: str = "", *, first: int = 1) -> str:
    """Return an INSERT of arrays, in their order; the parameters start with number `first`."""
    names = ", ".join(f'"{name}"' for name in columns)
    arrays = ", ".join(f"${n}::{_type(name, columns)}[]" for n, name in enumerate(columns, first))
    values = ", ".join(f'v."{name}"{"::jsonb" if kind == "json" else ""}' for name, kind in columns.items())
    return (
        f"INSERT INTO {table} ({names}) SELECT {values} "  # noqa: S608 -- names of our own
        f"FROM unnest({arrays}) WITH ORDINALITY AS v({names}, place) ORDER BY v.place {conflict}"
    )


BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"

# -- looking and locking -------------------------------------------------------------------------------------------

_LOCKED = {
    *(
        "job_id",
        "scope_id",
        "fence",
        "owner",
        "operator",
        "status",
        "last_seq",
        "progress",
        "deaths",
        "lone_deaths",
        "open_claim",
        "failed_versions",
        "retry_at",
    ),
    *("error", "error_code", "result_ref", "started_at", "completed_at", "updated_at", "successor_id"),
}
LOCKED_JOB: Final[Columns] = {**{name: JOB[name] for name in JOB if name in _LOCKED}, **AUDIT}
LOCK_JOBS: Final = f"""
SELECT {", ".join(LOCKED_JOB)} FROM runtime_jobs WHERE job_id = ANY($1::text[]) AND depth <= coalesce($2, depth)
ORDER BY depth, job_id FOR NO KEY UPDATE
"""  # noqa: S608
CHILDREN: Final = """
SELECT parent_job_id, job_id FROM runtime_jobs
WHERE parent_job_id = ANY($1::text[]) AND on_parent_end = 'cancel' AND status NOT IN ('succeeded', 'failed', 'cancelled', 'timed_out')
"""
JOBS_BY_KEY: Final = """
SELECT j.scope_id, j.idempotency_key, j.job_id, j.request_hash
FROM unnest($1::text[], $2::text[]) AS k(scope_id, idempotency_key)
JOIN runtime_jobs j ON j.scope_id = k.scope_id AND j.idempotency_key = k.idempotency_key AND j.successor_id IS NULL
"""
SIGNALS: Final = """
SELECT job_id, id, type, operation_id, data, content FROM runtime_signals WHERE job_id = ANY($1::text[]) ORDER BY id
"""
WOKEN_AMONG: Final = """
SELECT n.job_id FROM unnest($1::text[]) AS n(job_id)
CROSS JOIN LATERAL (SELECT w.job_id FROM runtime_woken w WHERE w.job_id = n.job_id LIMIT 1) AS woken
"""
LOCK_ACTIONS: Final = """
SELECT action_id, status, jsonb_array_length(votes) FROM runtime_actions
WHERE action_id = ANY($1::text[]) ORDER BY action_id FOR NO KEY UPDATE
"""
LOCK_TIMERS: Final = """
SELECT t.job_id, t.key FROM runtime_timers t
WHERE (t.job_id, t.key) IN (SELECT * FROM unnest($1::text[], $2::text[])) ORDER BY t.job_id, t.key FOR UPDATE
"""
KNOWN_ENTRIES: Final = """
SELECT scope_id, event_id FROM runtime_ledger
WHERE (scope_id, event_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""
LOCK_INBOXES: Final = """
SELECT scope_id, identity, last_position, unclaimed FROM runtime_inboxes
WHERE (scope_id, identity) IN (SELECT * FROM unnest($1::text[], $2::text[])) ORDER BY scope_id, identity FOR NO KEY UPDATE
"""
NEW_INBOXES: Final = """
INSERT INTO runtime_inboxes (scope_id, identity, last_position, unclaimed)
SELECT v.scope_id, v.identity, 0, 0 FROM unnest($1::text[], $2::text[]) AS v(scope_id, identity) ORDER BY 1, 2
ON CONFLICT DO NOTHING
"""
MESSAGE_HOLDERS: Final = """
SELECT message_id, scope_id, identity, claimed_by FROM runtime_messages WHERE message_id = ANY($1::text[])
"""
KNOWN_MESSAGES: Final = """
SELECT scope_id, identity, dedupe_key, message_id FROM runtime_messages
WHERE (scope_id, identity, dedupe_key) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))
"""
RECEIVERS_OF: Final = """
SELECT v.scope_id, v.identity, w.job_id, w.operation_id FROM unnest($1::text[], $2::text[]) AS v(scope_id, identity)
CROSS JOIN LATERAL (
  SELECT r.job_id, r.operation_id, r.id FROM runtime_receivers r JOIN runtime_jobs j ON j.job_id = r.job_id
  WHERE r.scope_id = v.scope_id AND r.identity = v.identity AND (
    j.owner IS NOT NULL
    OR EXISTS (SELECT 1 FROM runtime_waits u WHERE u.job_id = r.job_id AND u.operation_id = r.operation_id)
  ) ORDER BY r.id LIMIT $3
) AS w ORDER BY w.id
"""
COMMITTED: Final = "SELECT commit_id, seq FROM runtime_events WHERE commit_id = ANY($1::text[])"

# Advisory locks are taken in the order of the array: a function in the list of a plain scan is called row by row.
LOCK_NAMES: Final = "SELECT pg_advisory_xact_lock(number) FROM unnest($1::int8[]) AS v(number)"
SCOPES_OF_JOBS: Final = "SELECT job_id, scope_id, queue FROM runtime_jobs WHERE job_id = ANY($1::text[])"
_STOPS = """EXISTS (
    SELECT 1 FROM runtime_signals s
    WHERE s.job_id = j.job_id AND s.type IN ('job.cancel_requested', 'job.deadline_reached')
  )"""
_UNABLE = "jsonb_exists_any(coalesce(j.failed_versions, '[]')::jsonb, {versions}::text[])"


def able(first: int) -> str:
    """Return the condition that an `Ability`, given as operators and versions from parameter `first` on, covers job `j`."""
    operators, versions = f"${first}::text[]", f"${first + 1}"
    unable = _UNABLE.format(versions=versions)
    return f"AND ({operators} IS NULL OR (j.operator = ANY({operators}) AND (NOT {unable} OR {_STOPS})))"


READY: Final = "owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running')"
RUNNING_IN: Final = """
SELECT scope_id, count(*) FROM runtime_jobs WHERE owner IS NOT NULL AND scope_id = ANY($1::text[]) GROUP BY scope_id
"""
WAITING_IN: Final = f"""
SELECT v.scope_id, count(w.one) FROM unnest($1::text[]) AS v(scope_id)
LEFT JOIN LATERAL (
  SELECT 1 AS one FROM runtime_jobs j WHERE j.scope_id = v.scope_id AND {READY} LIMIT $2
) AS w ON TRUE GROUP BY v.scope_id
"""  # noqa: S608
WAITING: Final = f"SELECT count(*) FROM (SELECT 1 FROM runtime_jobs WHERE {READY} LIMIT $1) AS waiting"  # noqa: S608

SPENT_SINCE: Final = spent_since("$1", "l.metadata ->> 'corrects'", "$2", "$3")
LEDGER_POSITIONS: Final = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM runtime_ledger"
STOP_COUNTING: Final = "LOCK TABLE runtime_budget_counters IN EXCLUSIVE MODE"
"""Waits for those who have locked counters, and lets others only read them until the end of the transaction."""
NEW_COUNTERS: Final = """
INSERT INTO runtime_budget_counters (budget_id, "window")
SELECT * FROM unnest($1::text[], $2::text[]) AS v(budget_id, "window") ORDER BY 1, 2
ON CONFLICT DO NOTHING RETURNING budget_id, "window"
"""
_COUNTED = [f"{state}_{name}" for state in ("settled", "reserved") for name in DIMENSIONS]
_COUNTERS = ", ".join(_COUNTED)
LOCK_COUNTERS: Final = f"""
SELECT budget_id, "window", {_COUNTERS} FROM runtime_budget_counters
WHERE (budget_id, "window") IN (SELECT * FROM unnest($1::text[], $2::text[]))
ORDER BY budget_id, "window" FOR NO KEY UPDATE
"""  # noqa: S608
COUNTERS: Final = f"""
SELECT budget_id, "window", {_COUNTERS} FROM runtime_budget_counters
WHERE (budget_id, "window") IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""  # noqa: S608

# -- writing -------------------------------------------------------------------------------------------------------

_CHANGED = {
    name: LOCKED_JOB[name]
    for name in LOCKED_JOB
    if name not in ("job_id", "scope_id", "operator", "fence", "successor_id", "audit_salt")
}
CHANGED_JOB: Final[Columns] = {"job_id": "plain", "fence": "plain", **_CHANGED}
"""What an update of a locked job is given, after the fence it was locked with."""
_FIRST_EVENT_PARAMETER = len(CHANGED_JOB) + 2
# The fence is part of the condition although the row is locked: a stale writer must find no way at all.
WRITE: Final = f"""
WITH changed AS (
  UPDATE runtime_jobs AS j SET fence = v.fence, {", ".join(f"{name} = v.{name}" for name in _CHANGED)}
  FROM unnest(
    $1::int8[], {", ".join(f"${n}::{_type(name, CHANGED_JOB)}[]" for n, name in enumerate(CHANGED_JOB, 2))}
  ) AS v(fence_before, {", ".join(CHANGED_JOB)})
  WHERE j.job_id = v.job_id AND j.fence = v.fence_before
  RETURNING 1
), written AS (
  {insert("runtime_events", EVENT_ROW, first=_FIRST_EVENT_PARAMETER)}
)
SELECT count(*), pg_current_xact_id()::text FROM changed
"""  # noqa: S608
_APPENDED: Final[Columns] = {
    name: EVENT_ROW[name]
    for name in ("job_id", "commit_id", "type", "operation_id", "data", "content", "link")
}
APPENDED: Final = (*_APPENDED, "commit", "place")
"""What is given of each event: its columns, the number of its commit, and its place in that."""
_JOURNALS: Final = 7
"""What is given of each journal: job, fence, number of entries, time, progress, and where its chain ends before and after."""
_BILLED_FIRST: Final = _JOURNALS + 1 + len(APPENDED)


def _append(*more: str) -> str:
    """Return the statement that extends journals, and does `more` for those that it extends.

    Jobs come sorted, and are locked in this order. Where a job has another fence by now, or another head, nothing is
    returned and written.
    """
    columns = ", ".join(_APPENDED)
    values = ", ".join(
        f"e.{name}::jsonb" if kind == "json" else f"e.{name}" for name, kind in _APPENDED.items()
    )
    arrays = [f"${n}::{_type(name, EVENT_ROW)}[]" for n, name in enumerate(_APPENDED, _JOURNALS + 1)]
    arrays += [f"${n}::int8[]" for n in range(_JOURNALS + 1 + len(arrays), _BILLED_FIRST)]
    return f"""
WITH extended AS (
  UPDATE runtime_jobs AS j SET
    last_seq = j.last_seq + g.events, updated_at = g.at, progress = coalesce(g.progress, j.progress), audit_head = g.head
  FROM unnest($1::text[], $2::int8[], $3::int8[], $4::timestamptz[], $5::float8[], $6::bytea[], $7::bytea[])
    WITH ORDINALITY AS g(job_id, fence, events, at, progress, head_before, head, commit)
  WHERE j.job_id = g.job_id AND j.fence = g.fence AND j.audit_head = g.head_before
  RETURNING g.commit, g.at, j.last_seq - g.events AS seq_before
), written AS (
  INSERT INTO runtime_events (seq, at, {columns})
  SELECT x.seq_before + e.place, x.at, {values}
  FROM unnest({", ".join(arrays)}) AS e({", ".join(APPENDED)}) JOIN extended AS x ON x.commit = e.commit
  ORDER BY e.commit, e.place
){"".join(more)}
SELECT commit, seq_before + 1 FROM extended
"""  # noqa: S608


def _bill() -> str:
    """Return the part of the statement that also writes ledger entries."""
    columns = ", ".join(f'"{name}"' for name in LEDGER)
    values = ", ".join(f'l."{name}"{"::jsonb" if kind == "json" else ""}' for name, kind in LEDGER.items())
    arrays = [f"${n}::{_type(name, LEDGER)}[]" for n, name in enumerate(LEDGER, _BILLED_FIRST)]
    return f""", billed AS (
  INSERT INTO runtime_ledger ({columns}) SELECT {values}
  FROM unnest({", ".join(arrays)}, ${_BILLED_FIRST + len(arrays)}::int8[])
    WITH ORDINALITY AS l({columns}, commit, place)
  JOIN extended AS x ON x.commit = l.commit
  ORDER BY l.place ON CONFLICT (event_id, scope_id) DO NOTHING
)"""  # noqa: S608


APPEND: Final = _append()
APPEND_AND_BILL: Final = _append(_bill())
IS_AT_WORK: Final = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state <> 'idle')"
TRANSACTION_ID: Final = "SELECT pg_current_xact_id()::text"
TRANSACTION_STATUS: Final = "SELECT pg_xact_status($1::text::xid8)"

# Before its successor is inserted: an idempotency key belongs to the one job of a chain that has none.
SUCCEED: Final = """
UPDATE runtime_jobs AS j SET successor_id = v.successor_id
FROM unnest($1::text[], $2::text[]) AS v(job_id, successor_id) WHERE j.job_id = v.job_id
"""
INSERT_JOBS: Final = insert("runtime_jobs", {**JOB, **AUDIT})
INSERT_SIGNALS: Final = insert("runtime_signals", SIGNAL, "ON CONFLICT (job_id, signal_id) DO NOTHING")
FORGET_WAITS: Final = "DELETE FROM runtime_waits WHERE job_id = ANY($1::text[])"
INSERT_WAITS: Final = insert("runtime_waits", WAIT)
DELETE_SIGNALS: Final = "DELETE FROM runtime_signals WHERE id = ANY($1::int8[])"

COUNT_MESSAGES: Final = """
UPDATE runtime_inboxes AS i SET last_position = v.last_position, unclaimed = v.unclaimed
FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[]) AS v(scope_id, identity, last_position, unclaimed)
WHERE i.scope_id = v.scope_id AND i.identity = v.identity
"""
INSERT_MESSAGES: Final = insert("runtime_messages", MESSAGE)
CHANGE_MESSAGES: Final = """
UPDATE runtime_messages AS m SET claimed_by = v.claimed_by, claimed_at = v.claimed_at, content = v.content
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bytea[]) AS v(message_id, claimed_by, claimed_at, content)
WHERE m.message_id = v.message_id
"""
INSERT_RECEIVERS: Final = insert(
    "runtime_receivers", RECEIVER, "ON CONFLICT (job_id, operation_id) DO NOTHING"
)
DROP_RECEIVERS: Final = """
DELETE FROM runtime_receivers WHERE (job_id, operation_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""
MESSAGES: Final = f"SELECT {', '.join(MESSAGE)} FROM runtime_messages"  # noqa: S608
NEXT_MESSAGE: Final = f"""
{MESSAGES} WHERE scope_id = $1 AND identity = $2 AND claimed_by IS NULL ORDER BY priority DESC, position LIMIT 1
"""
LIST_MESSAGES: Final = f"""
{MESSAGES} WHERE scope_id = $1 AND identity = $2 AND claimed_by IS NULL AND position > $3 ORDER BY position LIMIT $4
"""
COUNT_UNCLAIMED: Final = "SELECT unclaimed FROM runtime_inboxes WHERE scope_id = $1 AND identity = $2"

INSERT_ACTIONS: Final = insert("runtime_actions", ACTION)
INSERT_TOKENS: Final = insert("runtime_action_tokens", TOKEN)
ACTION_BY_HASH: Final = "SELECT action_id, approver FROM runtime_action_tokens WHERE token_hash = $1"
CHANGE_ACTIONS: Final = """
UPDATE runtime_actions AS a SET
  status = v.status, resolution = coalesce(v.resolution::jsonb, a.resolution),
  resolved_by = coalesce(v.resolved_by, a.resolved_by), resolved_at = v.resolved_at,
  votes = coalesce(v.votes::jsonb, a.votes), job_id = coalesce(v.job_id, a.job_id)
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[])
  AS v(action_id, status, resolution, resolved_by, resolved_at, votes, job_id)
WHERE a.action_id = v.action_id AND a.status = 'pending'
"""
TAKE_LEAVE: Final = """
WITH signals AS (
  DELETE FROM runtime_signals WHERE job_id = ANY($1::text[])
), timers AS (
  DELETE FROM runtime_timers WHERE job_id = ANY($4::text[]) AND (data -> 'outlives') IS DISTINCT FROM 'true'::jsonb
)
UPDATE runtime_actions AS a SET status = 'cancelled', resolved_at = v.at
FROM unnest($2::text[], $3::timestamptz[]) AS v(job_id, at)
WHERE a.job_id = v.job_id AND a.status = 'pending' AND a.type <> 'reconcile'
"""
"""What ends with jobs: their signals, their open questions, their timers."""

SET_TIMERS: Final = insert(
    "runtime_timers",
    TIMER,
    "ON CONFLICT (job_id, key) DO UPDATE SET due_at = excluded.due_at, type = excluded.type, "
    "operation_id = excluded.operation_id, data = excluded.data",
)
CLEAR_TIMERS: Final = """
DELETE FROM runtime_timers WHERE (job_id, key) IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""

_CHARGED = ", ".join(f"{name} = c.{name} + v.{name}" for name in _COUNTED)
CHARGE: Final = f"""
UPDATE runtime_budget_counters AS c SET {_CHARGED}
FROM unnest($1::text[], $2::text[], {", ".join(f"${n}::int8[]" for n in range(3, 3 + len(_COUNTED)))})
  AS v(budget_id, "window", {_COUNTERS})
WHERE c.budget_id = v.budget_id AND c."window" = v."window"
"""  # noqa: S608
# All but those that the batch holds, which it has forgotten by itself where they were to be.
FORGET_COUNTERS: Final = f"""
DELETE FROM runtime_budget_counters WHERE ctid IN (
  SELECT c.ctid FROM runtime_budget_counters c
  JOIN unnest($1::text[], $2::text[], $3::text[]) AS v(budget_id, since, before) ON c.budget_id = v.budget_id
  WHERE c."window" COLLATE "C" >= v.since AND c."window" COLLATE "C" < v.before
    AND {" AND ".join(f"c.reserved_{name} = 0" for name in DIMENSIONS)}
    AND (c.budget_id, c."window") NOT IN (SELECT * FROM unnest($4::text[], $5::text[]))
  FOR UPDATE OF c SKIP LOCKED
)
"""  # noqa: S608
DELETE_COUNTERS: Final = """
DELETE FROM runtime_budget_counters WHERE (budget_id, "window") IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""
INSERT_LEDGER: Final = insert("runtime_ledger", LEDGER, "ON CONFLICT (event_id, scope_id) DO NOTHING")
PUT_BUDGETS: Final = insert(
    "runtime_budgets",
    BUDGET,
    "ON CONFLICT (budget_id) DO UPDATE SET scope_id = excluded.scope_id, limits = excluded.limits, "
    "updated_at = excluded.updated_at",
)
DROP_BUDGETS: Final = "DELETE FROM runtime_budgets WHERE budget_id = ANY($1::text[])"
KEEP_POLICIES: Final = insert("runtime_policies", POLICY, "ON CONFLICT DO NOTHING")

# -- workers -------------------------------------------------------------------------------------------------------

# `xmax = 0` tells an inserted row from an updated one. `seen_at` is the server's clock: workers' clocks may disagree.
PUT_WORKER: Final = (
    insert("runtime_workers", WORKER)
    + "ON CONFLICT (worker_id) DO UPDATE SET queues = excluded.queues, operators = excluded.operators, "
    "started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at, info = excluded.info, "
    "seen_at = clock_timestamp() RETURNING xmax = 0, clock_timestamp()"
)
LIST_OPERATORS: Final = """
INSERT INTO runtime_operators (queue, operator, listed_at)
SELECT q, o, clock_timestamp() FROM unnest($1::text[]) AS q, unnest($2::text[]) AS o ORDER BY q, o
ON CONFLICT (queue, operator) DO UPDATE SET listed_at = excluded.listed_at
WHERE runtime_operators.listed_at < excluded.listed_at - $3::interval
"""
"""Renewed only when it has become old: many workers list the same operators."""
DELETE_WORKER: Final = "DELETE FROM runtime_workers WHERE worker_id = $1"
DELETE_STALE_WORKERS: Final = """
DELETE FROM runtime_workers
WHERE seen_at < clock_timestamp() - greatest($1::interval, CASE jsonb_typeof(info -> 'timeout')
    WHEN 'number' THEN make_interval(secs => (info ->> 'timeout')::float8) END)
RETURNING worker_id
"""
"""Who trusts its own heartbeat for longer than the one who looks is not dead yet."""
DELETE_LOCAL_WORKERS: Final = """
DELETE FROM runtime_workers WHERE info ->> 'dispatch' = 'local'
"""


def _ended_jobs(condition: str, other: str = "") -> str:
    """Return the start of a statement: the jobs $2 at most, with $3 events together, that ended before $1.

    Args:
        condition: On them.
        other: Says which jobs' references to them count.
    """
    return f"""
    WITH candidates AS (
      SELECT j.job_id, j.last_seq, j.completed_at FROM runtime_jobs j WHERE j.completed_at < $1 {condition}
        AND NOT EXISTS (SELECT 1 FROM runtime_actions a WHERE a.job_id = j.job_id AND a.status = 'pending')
        AND NOT EXISTS (SELECT 1 FROM runtime_jobs r WHERE {REFERS} {other}) AND {FOLLOWED}
      ORDER BY j.completed_at, j.job_id LIMIT $2 FOR UPDATE SKIP LOCKED
    ), ended AS (
      SELECT job_id FROM (
        SELECT job_id, sum(last_seq) OVER (ORDER BY completed_at, job_id) - last_seq AS events_before FROM candidates
      ) AS c WHERE events_before < $3
    )
    """  # noqa: S608 -- the two conditions below


PRUNE: Final = f"""
{_ended_jobs("")}, audit AS (
  {GONE.format(at="clock_timestamp()", among="IN (SELECT job_id FROM ended)")}
), events AS (
  DELETE FROM runtime_events WHERE job_id IN (SELECT job_id FROM ended)
), signals AS (
  DELETE FROM runtime_signals WHERE job_id IN (SELECT job_id FROM ended)
), receivers AS (
  DELETE FROM runtime_receivers WHERE job_id IN (SELECT job_id FROM ended)
), timers AS (
  DELETE FROM runtime_timers WHERE job_id IN (SELECT job_id FROM ended)
), tokens AS (
  DELETE FROM runtime_action_tokens
  WHERE action_id IN (SELECT action_id FROM runtime_actions WHERE job_id IN (SELECT job_id FROM ended))
), actions AS (
  DELETE FROM runtime_actions WHERE job_id IN (SELECT job_id FROM ended)
), runs AS (
  SELECT 'run:' || replace(jsonb_build_array(j.scope_id, j.chain_id)::text, '", "', '","') AS budget_id
  FROM runtime_jobs j WHERE j.job_id IN (SELECT job_id FROM ended) AND NOT EXISTS (
    SELECT 1 FROM runtime_jobs o WHERE o.job_id = j.chain_id AND o.job_id NOT IN (SELECT job_id FROM ended)
  ) AND NOT EXISTS (
    SELECT 1 FROM runtime_jobs o
    WHERE o.chain_id = j.chain_id AND o.predecessor_id IS NOT NULL AND o.job_id NOT IN (SELECT job_id FROM ended)
  )
), counters AS (
  DELETE FROM runtime_budget_counters WHERE budget_id IN (SELECT budget_id FROM runs)
)
DELETE FROM runtime_jobs WHERE job_id IN (SELECT job_id FROM ended) RETURNING job_id
"""  # noqa: S608
PRUNE_CONTENT: Final = f"""
{
    _ended_jobs(
        "AND j.completed_at IS NOT NULL AND j.content_pruned_at IS NULL", "AND r.content_pruned_at IS NULL"
    )
}, events AS (
  UPDATE runtime_events e SET content = NULL,
    content_digest = sha256(substring(j.audit_salt FROM {SALT_BYTES + 1}) || int8send(e.seq) || e.content)
  FROM runtime_jobs j WHERE j.job_id = e.job_id AND e.job_id IN (SELECT job_id FROM ended) AND e.content IS NOT NULL
)
UPDATE runtime_jobs SET content_pruned_at = clock_timestamp(), audit_salt = substring(audit_salt FROM 1 FOR {
    SALT_BYTES
})
WHERE job_id IN (SELECT job_id FROM ended) RETURNING job_id
"""  # noqa: S608
OWNED_JOBS: Final = "SELECT job_id, fence FROM runtime_jobs WHERE owner = $1"
FREE_JOB: Final = """
UPDATE runtime_jobs SET owner = NULL, open_claim = 0
WHERE job_id = $1 AND fence = $2 AND owner IS NOT NULL RETURNING job_id
"""
FREE_JOBS: Final = """
UPDATE runtime_jobs SET owner = NULL, open_claim = CASE WHEN $2 THEN open_claim ELSE 0 END WHERE owner = $1
"""
FREE_ABANDONED_JOBS: Final = """
UPDATE runtime_jobs SET owner = NULL WHERE job_id IN (
  SELECT j.job_id FROM runtime_jobs j
  WHERE j.owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM runtime_workers w WHERE w.worker_id = j.owner)
  ORDER BY j.job_id FOR NO KEY UPDATE SKIP LOCKED
) RETURNING job_id
"""

# -- reading -------------------------------------------------------------------------------------------------------

CLAIMED_JOBS: Final = f"SELECT {', '.join(JOB)} FROM runtime_jobs WHERE job_id = ANY($1::text[])"  # noqa: S608
CLAIMED_EVENTS: Final = f"""
SELECT job_id, {", ".join(EVENT)} FROM runtime_events WHERE job_id = ANY($1::text[]) ORDER BY job_id, seq
"""  # noqa: S608
_WOKEN = "runtime_woken w JOIN runtime_jobs j ON j.job_id = w.job_id"


def due_jobs(*, capped: bool, across_scopes: bool) -> str:
    """Return the query for those of some jobs that are due.

    $1 is the limit, $2 and $3 say what can be run; then come the ids, the scopes with caps, these, the default cap.
    """
    chosen = f"{able(2)} AND j.job_id = ANY($4::text[])"
    turn = "row_number() OVER (PARTITION BY j.scope_id ORDER BY j.priority DESC, j.job_id) AS turn"
    columns = f"j.job_id, j.priority, j.scope_id, j.queue, {'0 AS turn' if across_scopes else turn}"
    due = f"""
      SELECT {columns} FROM runtime_jobs j WHERE {READY} {chosen}
      UNION ALL
      SELECT {columns} FROM {_WOKEN} WHERE TRUE {chosen}
    """  # noqa: S608 -- the conditions above
    order = "d.priority DESC, d.job_id" if across_scopes else "d.turn + coalesce(running.number, 0), d.job_id"
    running = "running AS (SELECT scope_id, count(*) AS number FROM runtime_jobs WHERE owner IS NOT NULL GROUP BY scope_id)"
    if not capped:
        return f"""
        WITH due AS ({due}), {running}
        SELECT d.job_id, d.priority, d.scope_id FROM due d LEFT JOIN running USING (scope_id) ORDER BY {order} LIMIT $1
        """  # noqa: S608
    return f"""
    WITH due AS (
      SELECT j.*, EXISTS (
        SELECT 1 FROM runtime_signals s
        WHERE s.job_id = j.job_id AND s.type IN ('job.cancel_requested', 'job.deadline_reached')
      ) AS stops FROM ({due}) AS j
    ), ranked AS (
      SELECT *, row_number() OVER (PARTITION BY scope_id, queue, stops ORDER BY priority DESC, job_id) AS place FROM due
    ), {running}
    SELECT d.job_id, d.priority, d.scope_id FROM ranked d
    LEFT JOIN running USING (scope_id)
    LEFT JOIN unnest($5::text[], $6::int8[]) AS c(scope_id, cap) USING (scope_id)
    WHERE d.stops OR coalesce(d.place <= coalesce(c.cap, $7::int8) - coalesce(running.number, 0), TRUE)
    ORDER BY {order} LIMIT $1
    """  # noqa: S608


RUNNING: Final = "SELECT scope_id, count(*) FROM runtime_jobs WHERE owner IS NOT NULL GROUP BY scope_id"
READY_SCOPES: Final = f"""
WITH RECURSIVE scopes (scope_id) AS (
  (SELECT scope_id FROM runtime_jobs WHERE {READY} AND scope_id > $1 ORDER BY scope_id LIMIT 1)
  UNION ALL
  SELECT (
    SELECT j.scope_id FROM runtime_jobs j WHERE {READY} AND j.scope_id > s.scope_id ORDER BY j.scope_id LIMIT 1
  ) FROM scopes s WHERE s.scope_id IS NOT NULL
)
SELECT scope_id FROM scopes WHERE scope_id IS NOT NULL LIMIT $2
"""  # noqa: S608
"""The first scopes behind one that have ready jobs; its cost grows with their number, not with that of the jobs."""
FIRST_READY: Final = f"""
SELECT f.* FROM unnest($1::text[], $2::int8[]) AS v(scope_id, number) CROSS JOIN LATERAL (
  SELECT j.job_id, j.priority, j.scope_id, j.queue FROM runtime_jobs j WHERE {READY} AND j.scope_id = v.scope_id {able(3)}
  ORDER BY j.priority DESC, j.job_id LIMIT v.number
) AS f
"""  # noqa: S608
_CANDIDATE = f"j.job_id, j.priority, j.scope_id, j.queue, {_STOPS}"
WOKEN: Final = f"SELECT {_CANDIDATE} FROM {_WOKEN} WHERE TRUE {able(1)}"  # noqa: S608
STOPPING: Final = f"""
WITH asked AS MATERIALIZED (
  SELECT DISTINCT job_id FROM runtime_signals WHERE type IN ('job.cancel_requested', 'job.deadline_reached')
)
SELECT {_CANDIDATE} FROM asked JOIN runtime_jobs j USING (job_id) WHERE {READY} {able(1)}
"""  # noqa: S608
"""Ready jobs that are asked to stop. Signals wait for a moment only, so that few are there."""


NEXT_JOBS: Final = f"""
WITH free AS (
  SELECT greatest(0, $2::int8 - (SELECT count(*) FROM runtime_jobs WHERE owner IS NOT NULL AND scope_id = $1)) AS places
)
SELECT job_id, priority FROM (
  (
    SELECT job_id, priority FROM runtime_jobs j
    WHERE {READY} AND scope_id = $1 AND (cardinality($3::text[]) = 0 OR queue = ANY($3::text[])) {able(4)}
    ORDER BY priority DESC, job_id LIMIT (SELECT places FROM free)
  )
  UNION
  SELECT j.job_id, j.priority FROM {_WOKEN} WHERE j.scope_id = $1 AND (cardinality($3::text[]) = 0 OR j.queue = ANY($3::text[])) {able(4)}
) AS next ORDER BY priority DESC, job_id LIMIT (SELECT places FROM free)
"""  # noqa: S608
STOPPED_JOBS: Final = """
SELECT job_id FROM runtime_jobs
WHERE job_id = ANY($1::text[]) AND status IN ('succeeded', 'failed', 'cancelled', 'timed_out', 'blocked')
"""
LAST_EVENTS: Final = f"""
SELECT j.job_id, j.scope_id, {", ".join(f"e.{name}" for name in EVENT)}
FROM runtime_jobs j JOIN runtime_events e ON e.job_id = j.job_id AND e.seq = j.last_seq
WHERE j.job_id = ANY($1::text[])
"""  # noqa: S608 -- names from `rows`
BLOCKED_JOBS: Final = f"""
SELECT j.job_id FROM runtime_jobs j
WHERE j.status = 'blocked' AND j.owner IS NULL AND j.job_id > $1
  AND (
    j.retry_at IS NULL
    OR (j.retry_at <= $5 AND (j.error_code IS DISTINCT FROM 'CRASH_LOOP' OR j.updated_at < $6))
  ) {able(3)}
  AND NOT EXISTS (SELECT 1 FROM runtime_signals s WHERE s.job_id = j.job_id)
ORDER BY j.job_id LIMIT $2
"""  # noqa: S608
_LINES = f"FROM runtime_jobs j WHERE {READY}"
_LISTED = """bound AS MATERIALIZED (SELECT clock_timestamp() - $1::interval AS since),
listed AS MATERIALIZED (SELECT o.queue, o.operator FROM runtime_operators o, bound WHERE o.listed_at > bound.since),
served (line) AS MATERIALIZED (
  SELECT '' FROM runtime_workers w, bound WHERE w.registered_at <= bound.since AND jsonb_array_length(w.queues) = 0
  UNION
  SELECT jsonb_array_elements_text(w.queues) FROM runtime_workers w, bound WHERE w.registered_at <= bound.since
)"""
UNLISTED_LINES: Final = f"""
WITH RECURSIVE {_LISTED}, {unlisted_lines(_LINES)} SELECT name, line FROM unlisted
"""  # noqa: S608
"""Operators and queues of ready jobs that somebody serves and nobody lists: its cost grows with their number, not with that of the jobs."""
UNLISTED_JOBS: Final = f"""
WITH {_LISTED}
SELECT j.job_id FROM runtime_signals s JOIN runtime_jobs j ON j.job_id = s.job_id
WHERE s.type IN ('job.cancel_requested', 'job.deadline_reached') AND {READY}
  AND NOT EXISTS (SELECT 1 FROM listed l WHERE l.operator = j.operator)
UNION
SELECT j.job_id FROM {_WOKEN} CROSS JOIN bound WHERE CASE WHEN {_STOPS}
  THEN NOT EXISTS (SELECT 1 FROM listed l WHERE l.operator = j.operator)
  ELSE j.status <> 'blocked' AND j.updated_at <= bound.since AND EXISTS (SELECT 1 FROM served WHERE line IN ('', j.queue))
    AND NOT EXISTS (SELECT 1 FROM listed l WHERE l.operator = j.operator AND l.queue IN ('', j.queue))
  END
UNION
SELECT f.job_id FROM bound CROSS JOIN unnest($3::text[], $4::text[]) AS u(name, line) CROSS JOIN LATERAL (
  SELECT j.job_id {_LINES} AND j.operator = u.name AND j.queue = u.line AND j.updated_at <= bound.since AND NOT {_STOPS}
  ORDER BY j.job_id LIMIT $2
) AS f WHERE NOT EXISTS (SELECT 1 FROM listed l WHERE l.operator = u.name AND l.queue IN ('', u.line))
LIMIT $2
"""  # noqa: S608
"""Of the jobs that are ready only those of some lines; besides, woken ones, and those that are asked to stop."""

JOBS_WITH_SIGNALS: Final = """
SELECT s.job_id FROM runtime_signals s JOIN runtime_jobs j ON j.job_id = s.job_id WHERE j.owner = $1
UNION
SELECT r.job_id FROM runtime_receivers r JOIN runtime_jobs j ON j.job_id = r.job_id
JOIN runtime_inboxes i ON i.scope_id = r.scope_id AND i.identity = r.identity
WHERE j.owner = $1 AND i.unclaimed > 0
"""
