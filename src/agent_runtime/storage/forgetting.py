"""What is forgotten: jobs to which no other refers, ledger entries, answered questions and policies of no job, API keys that have ended, times of schedules, messages and histories of agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent_runtime.ports.retention import Forgettable

REFERS: Final = (
    "r.job_id IN (j.parent_job_id, j.successor_id) AND (j.successor_id IS NULL OR r.origin = j.origin)"
)
"""Whether job `r` may ask for what `j` gave: its parent, or, for all that `j` has recorded, what retries it."""
LEDGER: Final = """
SELECT l.id FROM runtime_ledger l WHERE l.timestamp < {before} AND NOT EXISTS (
  SELECT 1 FROM runtime_ledger t
  WHERE t.event_id = l.event_id || '~truth' AND t.scope_id = l.scope_id AND t.timestamp >= {before}
) ORDER BY l.id LIMIT {limit}
"""
"""An entry stays as long as its correction."""
_ACTIONS: Final = """
SELECT action_id FROM runtime_actions
WHERE job_id IS NULL AND status <> 'pending' AND coalesce(resolved_at, expires_at, created_at) < {before}
ORDER BY action_id LIMIT {limit}
"""
_POLICIES: Final = """
DELETE FROM runtime_policies WHERE created_at < {before} AND (name, version) IN (
  SELECT name, version FROM runtime_policies p WHERE p.created_at < {before} AND NOT EXISTS (
    SELECT 1 FROM runtime_jobs j WHERE {name} = p.name AND {version} = p.version
  ) LIMIT {limit}
)
"""

_MESSAGES: Final = """
SELECT m.message_id FROM runtime_messages m WHERE m.claimed_at < {before} AND NOT EXISTS (
  SELECT 1 FROM runtime_jobs j WHERE j.job_id = m.claimed_by AND j.status <> 'succeeded'
) ORDER BY m.claimed_at LIMIT {limit}
"""
"""A job that has not succeeded may be retried, and then gives back what it has received."""
_KEYS: Final = """
DELETE FROM runtime_api_keys WHERE key_id IN (
  SELECT key_id FROM runtime_api_keys WHERE revoked_at < {before} OR expires_at < {before} LIMIT {limit}
)
"""
_FIRES: Final = """
DELETE FROM runtime_fires WHERE (scope_id, schedule_id, due_at) IN (
  SELECT scope_id, schedule_id, due_at FROM runtime_fires
  WHERE decided_at < {before} AND outcome NOT IN ('pending', 'firing') ORDER BY decided_at LIMIT {limit}
)
"""
_AGENT_MESSAGES: Final = """
DELETE FROM runtime_agent_messages WHERE (scope_id, message_id) IN (
  SELECT scope_id, message_id FROM runtime_agent_messages WHERE ended_at < {before} ORDER BY ended_at LIMIT {limit}
)
"""
_AGENT_EVENTS: Final = """
DELETE FROM runtime_agent_events WHERE (scope_id, seq) IN (
  SELECT scope_id, seq FROM runtime_agent_events
  WHERE at < {before} AND NOT (type = 'event' AND delivered IS NULL) ORDER BY at, scope_id, seq LIMIT {limit}
)
"""
"""A broadcast stays as long as it may have to be brought to somebody."""
_INBOXES: Final = """
DELETE FROM runtime_inboxes WHERE unclaimed = 0 AND NOT EXISTS (
  SELECT 1 FROM runtime_messages m WHERE m.scope_id = runtime_inboxes.scope_id AND m.identity = runtime_inboxes.identity
) AND NOT EXISTS (
  SELECT 1 FROM runtime_receivers r WHERE r.scope_id = runtime_inboxes.scope_id AND r.identity = runtime_inboxes.identity
) AND {any}
"""
_ONE_STATEMENT: Final[Mapping[Forgettable, str]] = {
    "keys": _KEYS, "fires": _FIRES, "agent_messages": _AGENT_MESSAGES, "agent_events": _AGENT_EVENTS,
}  # fmt: skip


def forget(what: Forgettable, *, dollar: bool) -> list[str]:
    """Return the statements, the last of which deletes what is counted; their parameters are the moment and the limit.

    Args:
        what: What is forgotten.
        dollar: Whether it is Postgres.
    """
    places = {"before": "$1", "limit": "$2"} if dollar else {"before": ":before", "limit": ":limit"}
    if what == "policies":
        of_job = "j.policy_ref ->> '{}'" if dollar else "json_extract(j.policy_ref, '$.{}')"
        named = {name: of_job.format(name) for name in ("name", "version")}
        return [_POLICIES.format(**places, **named)]
    if what in _ONE_STATEMENT:
        return [_ONE_STATEMENT[what].format(**places)]
    if what == "messages":
        chosen = _MESSAGES.format(**places)
        used = "$1::timestamptz IS NOT NULL AND $2::int8 > 0" if dollar else "1"
        deleted = f"DELETE FROM runtime_messages WHERE message_id IN ({chosen})"  # noqa: S608
        return [_INBOXES.format(any=used), deleted]
    if what == "ledger":
        return [f"DELETE FROM runtime_ledger WHERE id IN ({LEDGER.format(**places)})"]  # noqa: S608
    chosen = _ACTIONS.format(**places)
    return [
        f"DELETE FROM {table} WHERE action_id IN ({chosen})"  # noqa: S608
        for table in ("runtime_action_tokens", "runtime_actions")
    ]
