"""What erasing does to rows, the same for both databases but for their parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from agent_runtime.audit.chain import Salts, content_digest, data_digest
from agent_runtime.ports.audit import Note
from agent_runtime.ports.keys import REVOKED
from agent_runtime.ports.schedules import REMOVED
from agent_runtime.values.standing_budget import EACH

EMPTIED: Final = frozenset(
    f"runtime_{name}"
    for name in (
        *(
            "jobs",
            "events",
            "signals",
            "timers",
            "receivers",
            "inboxes",
            "waits",
            "messages",
            "actions",
            "action_tokens",
        ),
        *("ledger", "budgets", "budget_counters", "api_keys", "schedules"),
        *("agents", "agent_memory", "agent_subscriptions", "agent_messages", "agent_events"),
    )
)
"""The tables out of which a storage erases content and names."""
KEPT: Final = {
    "runtime_audit": "ids, hashes, and who has erased what, or made and ended which API key",
    "runtime_agent_scopes": "numbers",
    "runtime_fires": "times and ids",
    "runtime_cursors": "names of projections and processes",
    "runtime_operators": "names of code",
    "runtime_policies": "rules, which are nobody's",
    "runtime_workers": "names of processes",
}
"""The tables that stay as they are, and why."""
ENDED: Final = "status IN ('succeeded', 'failed', 'cancelled', 'timed_out')"
MARK: Final = f"""
UPDATE runtime_jobs SET erased_at = coalesce(erased_at, {{at}})
WHERE job_id {{among}} AND scope_id = {{scope}} AND {ENDED} RETURNING job_id
"""  # noqa: S608 -- names of our own
_OWN_INBOX: Final = "SELECT scope_id, chain_id FROM runtime_jobs WHERE job_id {among}"
BESIDE: Final = (
    "DELETE FROM runtime_action_tokens WHERE action_id IN (SELECT action_id FROM runtime_actions WHERE job_id {among})",
    *(
        f"DELETE FROM runtime_{table} WHERE job_id {{among}}"  # noqa: S608 -- names of our own
        for table in ("actions", "signals", "receivers", "timers", "waits")
    ),
    "DELETE FROM runtime_messages WHERE claimed_by {among}",
    f"UPDATE runtime_inboxes SET unclaimed = 0 WHERE (scope_id, identity) IN ({_OWN_INBOX})",  # noqa: S608
    f"DELETE FROM runtime_messages WHERE (scope_id, identity) IN ({_OWN_INBOX})",  # noqa: S608
)
"""What goes with the mark. Of mail, what the jobs have received, and what waits in the inboxes that are theirs alone."""
SIZES: Final = """
SELECT seq, coalesce({length}(content), 0) FROM runtime_events WHERE job_id = {job} AND data_digest IS NULL
ORDER BY seq LIMIT {limit}
"""
ENTRIES: Final = """
SELECT id, seq, operation_id, data, content, content_digest FROM runtime_events
WHERE job_id = {job} AND data_digest IS NULL AND seq <= {upto} ORDER BY seq
"""
ERASE_ENTRY: Final = """
UPDATE runtime_events SET operation_id = NULL, data = '{{}}', content = NULL, data_digest = {data}, content_digest = {content}
WHERE id = {id}
"""
SALTS: Final = "SELECT audit_salt FROM runtime_jobs WHERE job_id = {job} AND erased_at IS NOT NULL"
_INBOX_LEFT: Final = """unclaimed = 0 AND NOT EXISTS (
  SELECT 1 FROM runtime_messages m WHERE m.scope_id = runtime_inboxes.scope_id AND m.identity = runtime_inboxes.identity
) AND NOT EXISTS (
  SELECT 1 FROM runtime_receivers r WHERE r.scope_id = runtime_inboxes.scope_id AND r.identity = runtime_inboxes.identity
)"""
INBOXES_OF_JOBS: Final = f"""
DELETE FROM runtime_inboxes WHERE (scope_id, identity) IN (
  SELECT scope_id, coalesce(identity, chain_id) FROM runtime_jobs WHERE job_id {{among}}
) AND {_INBOX_LEFT}
"""  # noqa: S608 -- names of our own
_NAMES: Final = ("principal_id", "session_id", "run_id")
_UNDER: Final = ", ".join(f"{name} = CASE WHEN {name} IS NOT NULL THEN {{pseudonym}} END" for name in _NAMES)
EMPTY_JOBS: Final = f"""
UPDATE runtime_jobs SET {_UNDER}, identity = CASE WHEN identity IS NOT NULL THEN {{pseudonym}} END,
  idempotency_key = NULL, request_hash = NULL, parent_operation_id = NULL, versions = NULL, failed_versions = NULL,
  metadata = '{{{{}}}}', tags = '{{{{}}}}', result_ref = NULL, error = NULL, audit_salt = {{nothing}},
  content_pruned_at = coalesce(content_pruned_at, erased_at)
WHERE job_id {{among}} AND erased_at IS NOT NULL
"""  # noqa: S608
LEDGER_OF_JOBS: Final = "SELECT id, metadata FROM runtime_ledger WHERE job_id {among}"
LEDGER_OF_NAME: Final = (
    "SELECT id, metadata FROM runtime_ledger WHERE scope_id = {scope} AND {name} = {value}"
)
UNDER_PSEUDONYM: Final = f"UPDATE runtime_ledger SET {_UNDER}, metadata = {{metadata}} WHERE id = {{id}}"  # noqa: S608
_KEPT: Final = ("corrects", "was")
"""Of a ledger entry's metadata, what sums need."""
COUNTERS_LIKE: Final = (
    "SELECT DISTINCT budget_id FROM runtime_budget_counters WHERE budget_id LIKE 'budget:%'"
)
BUDGETS: Final = "SELECT budget_id FROM runtime_budgets"
RENAME_COUNTERS: Final = "UPDATE runtime_budget_counters SET budget_id = {new} WHERE budget_id = {old}"
DROP_BUDGET: Final = "DELETE FROM runtime_budgets WHERE budget_id = {id}"
MAIL_OF_PERSON: Final = (
    "DELETE FROM runtime_messages WHERE scope_id = {scope} AND identity = {value}",
    "UPDATE runtime_inboxes SET unclaimed = 0 WHERE scope_id = {scope} AND identity = {value}",
    f"DELETE FROM runtime_inboxes WHERE scope_id = {{scope}} AND identity = {{value}} AND {_INBOX_LEFT}",  # noqa: S608
)
REVOKE_KEYS: Final = """
UPDATE runtime_api_keys SET revoked_at = {at}
WHERE scope_id = {scope} AND principal_id = {value} AND revoked_at IS NULL RETURNING key_id
"""
NAMES_OF_KEYS: Final = (
    """
UPDATE runtime_api_keys SET name = {pseudonym}, principal_id = {pseudonym},
  created_by = CASE WHEN created_by = {value} THEN {pseudonym} ELSE created_by END
WHERE scope_id = {scope} AND principal_id = {value}
""",
    "UPDATE runtime_api_keys SET created_by = {pseudonym} WHERE scope_id = {scope} AND created_by = {value}",
)
"""The name of a key may say whose it is."""
SCHEDULES_OF: Final = (
    "SELECT schedule_id FROM runtime_schedules WHERE scope_id = {scope} AND principal_id = {value} ORDER BY 1"
)
NAMES_OF_SCHEDULES: Final = (
    "UPDATE runtime_schedules SET created_by = {pseudonym} WHERE scope_id = {scope} AND created_by = {value}"
)


def revoked_by_erasure(key_ids: Sequence[str], pseudonym: str) -> list[Note]:
    """Return what the trail of a scope is told of the API keys of somebody who was erased."""
    return [Note(REVOKED, {"key_id": key_id, "by": None, "pseudonym": pseudonym}) for key_id in key_ids]


def removed_by_erasure(schedule_id: str, pseudonym: str) -> Note:
    """Return what the trail of a scope is told of a schedule on behalf of somebody who was erased."""
    return Note(REMOVED, {"schedule_id": schedule_id, "by": None, "pseudonym": pseudonym})


def digests(
    salts: Salts,
    seq: int,
    operation_id: str | None,
    data: Mapping[str, Any],
    content: bytes | None,
    known: bytes | None,
) -> tuple[bytes, bytes | None]:
    """Return what stands in the place of an entry's data and content; `known` is the digest of content that was pruned."""
    made = known if content is None else content_digest(salts.content, seq, content)
    return data_digest(salts.data, seq, operation_id, data), made


def kept_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stays of a ledger entry's metadata."""
    return {name: metadata[name] for name in _KEPT if name in metadata}


def is_about(
    budget_id: str, scope_id: str, principal_id: str | None, session_id: str | None
) -> list[Any] | None:
    """Return the parts of a budget's or a counter's name when it names a person or a session of a scope."""
    try:
        parts = orjson.loads(budget_id.removeprefix("budget:"))
        _, scope, principal, session, _ = parts
    except ValueError:
        return None
    if not _is_of(scope, scope_id):
        return None
    is_theirs = _is_of(principal, principal_id) or _is_of(session, session_id)
    return list(parts) if is_theirs else None


def _is_of(part: Any, id_: str | None) -> bool:
    """Whether a part of a name means somebody, and nobody else: each person's budget is not that of who is called like the sign for each."""
    return id_ is not None and (part == [id_] or (part == id_ and part != EACH))


def renamed(parts: list[Any], principal_id: str | None, session_id: str | None, pseudonym: str) -> str:
    """Return the name of counters with the pseudonym in the place of a person or a session."""
    name, scope, principal, session, model = parts
    if _is_of(principal, principal_id):
        principal = [pseudonym] if isinstance(principal, list) else pseudonym
    if _is_of(session, session_id):
        session = [pseudonym] if isinstance(session, list) else pseudonym
    return f"budget:{orjson.dumps([name, scope, principal, session, model]).decode()}"
