"""The tables, declared once. SQLite's `schema.sql` and the migrations are checked against this module by tests.

Times are whole microseconds since 1970 on SQLite and TIMESTAMPTZ on Postgres; `data`-like columns are JSON text and
JSONB; `content` is bytes on both. Money is whole 10⁻¹⁰ dollars.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from agent_runtime.observability.sql.tables import metadata as log_tables
from agent_runtime.storage.agent_tables import metadata as agent_tables
from agent_runtime.storage.columns import Json, Serial, Time, required

metadata = MetaData()

jobs = Table(
    "runtime_jobs",
    metadata,
    Column("job_id", Text, primary_key=True),
    required("origin", Text),
    required("seed", Text),
    required("chain_id", Text),
    Column("predecessor_id", Text),
    Column("successor_id", Text),
    required("scope_id", Text),
    Column("principal_id", Text),
    Column("session_id", Text),
    Column("run_id", Text),
    Column("identity", Text),
    Column("parent_job_id", Text),
    Column("parent_operation_id", Text),
    required("on_parent_end", Text),
    Column("idempotency_key", Text),
    Column("request_hash", Text),
    Column("operator", Text),
    required("queue", Text),
    required("priority", Integer),
    required("depth", Integer),
    required("status", Text),
    required("created_at", Time),
    required("updated_at", Time),
    Column("started_at", Time),
    Column("completed_at", Time),
    Column("deadline", Time),
    required("progress", Float),
    Column("budgets", Json),
    Column("inherited_budgets", Json),
    Column("policy_ref", Json),
    Column("retry", Json),
    Column("versions", Json),
    required("metadata", Json),
    required("tags", Json),
    Column("result_ref", Text),
    Column("error", Text),
    Column("error_code", Text),
    required("fence", BigInteger),
    Column("owner", Text),
    required("last_seq", BigInteger),
    required("deaths", Integer),
    required("lone_deaths", Integer),
    required("open_claim", Integer),
    Column("failed_versions", Text),
    Column("retry_at", Time),
    Column("content_pruned_at", Time),
    Column("erased_at", Time),
    required("audit_head", LargeBinary),
    required("audit_salt", LargeBinary),
    Index("runtime_jobs_by_scope", "scope_id", "job_id"),
    Index(
        "runtime_jobs_key",
        "scope_id",
        "idempotency_key",
        unique=True,
        sqlite_where=text("idempotency_key IS NOT NULL AND successor_id IS NULL"),
        postgresql_where=text("idempotency_key IS NOT NULL AND successor_id IS NULL"),
    ),
    Index(
        "runtime_jobs_chain",
        "chain_id",
        "successor_id",
        sqlite_where=text("predecessor_id IS NOT NULL"),
        postgresql_where=text("predecessor_id IS NOT NULL"),
    ),
    Index(
        "runtime_jobs_children",
        "parent_job_id",
        sqlite_where=text("parent_job_id IS NOT NULL"),
        postgresql_where=text("parent_job_id IS NOT NULL"),
    ),
    Index(
        "runtime_jobs_ready",
        "scope_id",
        text("priority DESC"),
        "job_id",
        sqlite_where=text("owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running')"),
        postgresql_where=text("owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running')"),
    ),
    Index(
        "runtime_jobs_lines",
        "operator",
        "queue",
        "job_id",
        sqlite_where=text("owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running')"),
        postgresql_where=text("owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running')"),
    ),
    Index(
        "runtime_jobs_blocked",
        "job_id",
        sqlite_where=text("status = 'blocked'"),
        postgresql_where=text("status = 'blocked'"),
    ),
    Index(
        "runtime_jobs_ended",
        "completed_at",
        sqlite_where=text("completed_at IS NOT NULL"),
        postgresql_where=text("completed_at IS NOT NULL"),
    ),
    Index(
        "runtime_jobs_with_content",
        "completed_at",
        sqlite_where=text("completed_at IS NOT NULL AND content_pruned_at IS NULL"),
        postgresql_where=text("completed_at IS NOT NULL AND content_pruned_at IS NULL"),
    ),
    Index(
        "runtime_jobs_owned",
        "owner",
        "scope_id",
        sqlite_where=text("owner IS NOT NULL"),
        postgresql_where=text("owner IS NOT NULL"),
    ),
)

events = Table(
    "runtime_events",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    required("job_id", Text),
    required("seq", BigInteger),
    Column("commit_id", Text),
    required("type", Text),
    required("at", Time),
    Column("operation_id", Text),
    required("data", Json),
    Column("content", LargeBinary),
    Column("link", LargeBinary),
    Column("data_digest", LargeBinary),
    Column("content_digest", LargeBinary),
    UniqueConstraint("job_id", "seq", name="runtime_events_place"),
    Index(
        "runtime_events_commit",
        "commit_id",
        unique=True,
        sqlite_where=text("commit_id IS NOT NULL"),
        postgresql_where=text("commit_id IS NOT NULL"),
    ),
)

audit = Table(
    "runtime_audit",
    metadata,
    required("scope_id", Text),
    required("number", BigInteger),
    required("at", Time),
    required("kind", Text),
    Column("job_id", Text),
    Column("seq", BigInteger),
    Column("head", LargeBinary),
    required("data", Json),
    required("link", LargeBinary),
    Column("gone_at", Time),
    PrimaryKeyConstraint("scope_id", "number", name="runtime_audit_key"),
    Index(
        "runtime_audit_of_job",
        "job_id",
        unique=True,
        sqlite_where=text("job_id IS NOT NULL"),
        postgresql_where=text("job_id IS NOT NULL"),
    ),
)

cursors = Table(
    "runtime_cursors",
    metadata,
    Column("name", Text, primary_key=True),
    required("position", BigInteger),
    required("fence", BigInteger),
    Column("holder", Text),
    Column("held_until", Time),
    required("updated_at", Time),
)

signals = Table(
    "runtime_signals",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    required("signal_id", Text),
    required("job_id", Text),
    required("type", Text),
    Column("operation_id", Text),
    required("data", Json),
    Column("content", LargeBinary),
    required("is_failure", Boolean),
    UniqueConstraint("job_id", "signal_id", name="runtime_signals_once"),
    Index("runtime_signals_answers", "job_id", "operation_id"),
    Index(
        "runtime_signals_failed",
        "job_id",
        "operation_id",
        sqlite_where=text("is_failure"),
        postgresql_where=text("is_failure"),
    ),
)

waits = Table(
    "runtime_waits",
    metadata,
    required("job_id", Text),
    required("set_number", Integer),
    required("position", Integer),
    required("operation_id", Text),
    required("ends_with_failure", Boolean),
    PrimaryKeyConstraint("job_id", "set_number", "position", name="runtime_waits_key"),
)

inboxes = Table(
    "runtime_inboxes",
    metadata,
    required("scope_id", Text),
    required("identity", Text),
    required("last_position", BigInteger),
    required("unclaimed", BigInteger),
    PrimaryKeyConstraint("scope_id", "identity", name="runtime_inboxes_key"),
    Index(
        "runtime_inboxes_with_mail",
        "scope_id",
        "identity",
        sqlite_where=text("unclaimed > 0"),
        postgresql_where=text("unclaimed > 0"),
    ),
)

messages = Table(
    "runtime_messages",
    metadata,
    Column("message_id", Text, primary_key=True),
    required("scope_id", Text),
    required("identity", Text),
    required("position", BigInteger),
    required("priority", Integer),
    Column("dedupe_key", Text),
    required("sent_at", Time),
    Column("claimed_by", Text),
    Column("claimed_at", Time),
    Column("content", LargeBinary),
    UniqueConstraint("scope_id", "identity", "position", name="runtime_messages_place"),
    Index(
        "runtime_messages_once",
        "scope_id",
        "identity",
        "dedupe_key",
        unique=True,
        sqlite_where=text("dedupe_key IS NOT NULL"),
        postgresql_where=text("dedupe_key IS NOT NULL"),
    ),
    Index(
        "runtime_messages_next",
        "scope_id",
        "identity",
        text("priority DESC"),
        "position",
        sqlite_where=text("claimed_by IS NULL"),
        postgresql_where=text("claimed_by IS NULL"),
    ),
    Index(
        "runtime_messages_claimed",
        "claimed_at",
        sqlite_where=text("claimed_at IS NOT NULL"),
        postgresql_where=text("claimed_at IS NOT NULL"),
    ),
)

receivers = Table(
    "runtime_receivers",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    required("job_id", Text),
    required("operation_id", Text),
    required("scope_id", Text),
    required("identity", Text),
    UniqueConstraint("job_id", "operation_id", name="runtime_receivers_once"),
    Index("runtime_receivers_of_inbox", "scope_id", "identity", "id"),
)

WOKEN: Final = """
CREATE VIEW runtime_woken AS
SELECT j.job_id FROM runtime_jobs j
WHERE j.owner IS NULL AND j.operator IS NOT NULL AND j.status IN ('waiting_action', 'sleeping', 'waiting', 'blocked')
  AND EXISTS (SELECT 1 FROM runtime_signals s WHERE s.job_id = j.job_id)
  AND (
    (SELECT 1 FROM runtime_waits w WHERE w.job_id = j.job_id LIMIT 1) IS NULL
    OR (SELECT 1 FROM runtime_signals s WHERE s.job_id = j.job_id AND s.operation_id IS NULL LIMIT 1) IS NOT NULL
    OR (
      SELECT 1 FROM runtime_signals s JOIN runtime_waits w ON w.job_id = s.job_id AND w.operation_id = s.operation_id
      WHERE s.job_id = j.job_id AND s.is_failure AND w.ends_with_failure LIMIT 1
    ) IS NOT NULL
    OR (
      SELECT 1 FROM runtime_waits f WHERE f.job_id = j.job_id AND f.position = 0 AND NOT EXISTS (
        SELECT 1 FROM runtime_waits w WHERE w.job_id = f.job_id AND w.set_number = f.set_number AND NOT EXISTS (
          SELECT 1 FROM runtime_signals s WHERE s.job_id = w.job_id AND s.operation_id = w.operation_id
        )
      ) LIMIT 1
    ) IS NOT NULL
  )
UNION ALL
SELECT j.job_id FROM runtime_receivers m
JOIN runtime_inboxes n ON n.scope_id = m.scope_id AND n.identity = m.identity JOIN runtime_jobs j ON j.job_id = m.job_id
WHERE n.unclaimed > 0
  AND j.owner IS NULL AND j.operator IS NOT NULL AND j.status IN ('waiting_action', 'sleeping', 'waiting')
  AND EXISTS (
    SELECT 1 FROM runtime_waits f
    WHERE f.job_id = m.job_id AND f.operation_id = m.operation_id AND n.unclaimed > 0 AND NOT EXISTS (
      SELECT 1 FROM runtime_waits w WHERE w.job_id = f.job_id AND w.set_number = f.set_number AND NOT EXISTS (
        SELECT 1 FROM runtime_signals s WHERE s.job_id = w.job_id AND s.operation_id = w.operation_id
      ) AND NOT EXISTS (
        SELECT 1 FROM runtime_receivers r JOIN runtime_inboxes i ON i.scope_id = r.scope_id AND i.identity = r.identity
        WHERE r.job_id = w.job_id AND r.operation_id = w.operation_id AND i.unclaimed > 0
      )
    )
  )
""".strip()
"""The suspended jobs for which signals or messages are there that satisfy one of their sets of waits, or signals that answer
no operation. `n.unclaimed` stands in the inner query too, so that SQLite looks at it before it looks at the waits. What is said with
`LIMIT 1` Postgres looks up for each job; an `EXISTS` it may answer by reading all waits at once, with a plan made while there were few."""

timers = Table(
    "runtime_timers",
    metadata,
    required("job_id", Text),
    required("key", Text),
    required("due_at", Time),
    required("type", Text),
    Column("operation_id", Text),
    required("data", Json),
    PrimaryKeyConstraint("job_id", "key", name="runtime_timers_key"),
    Index("runtime_timers_due", "due_at"),
    Index(
        "runtime_timers_of_budgets",
        "due_at",
        sqlite_where=text("key = 'budget'"),
        postgresql_where=text("key = 'budget'"),
    ),
)

actions = Table(
    "runtime_actions",
    metadata,
    Column("action_id", Text, primary_key=True),
    required("type", Text),
    Column("job_id", Text),
    required("scope_id", Text),
    Column("operation_id", Text),
    Column("argument_hash", Text),
    required("payload", Json),
    required("status", Text),
    required("created_at", Time),
    Column("expires_at", Time),
    Column("resolved_at", Time),
    Column("resolved_by", Text),
    Column("resolution", Json),
    Column("default_resolution", Json),
    Column("approvers", Json),
    required("quorum", Integer),
    required("votes", Json),
    Column("argument_schema", Json),
    required("metadata", Json),
    Column("token_hash", Text),
    Index("runtime_actions_by_scope", "scope_id", "action_id"),
    Index("runtime_actions_of_job", "job_id", "status"),
    Index(
        "runtime_actions_pending",
        "action_id",
        sqlite_where=text("status = 'pending'"),
        postgresql_where=text("status = 'pending'"),
    ),
)

action_tokens = Table(
    "runtime_action_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    required("action_id", Text),
    Column("approver", Text),
    Index("runtime_action_tokens_of_action", "action_id"),
)

ledger = Table(
    "runtime_ledger",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    required("event_id", Text),
    required("type", Text),
    Column("job_id", Text),
    required("scope_id", Text),
    Column("principal_id", Text),
    Column("session_id", Text),
    Column("run_id", Text),
    Column("agent", Text),
    Column("provider", Text),
    Column("model", Text),
    Column("tool_name", Text),
    required("input_tokens", BigInteger),
    required("output_tokens", BigInteger),
    required("cached_tokens", BigInteger),
    required("cache_write_tokens", BigInteger),
    required("reasoning_tokens", BigInteger),
    Column("cost_units", BigInteger),
    Column("price_source", Text),
    required("status", Text),
    required("uncertain", Boolean),
    Column("duration_ms", BigInteger),
    required("timestamp", Time),
    required("metadata", Json),
    UniqueConstraint("event_id", "scope_id", name="runtime_ledger_once"),
    Index("runtime_ledger_of_job", "job_id"),
    Index("runtime_ledger_by_scope", "scope_id", "timestamp"),
    Index(
        "runtime_ledger_corrections",
        "timestamp",
        sqlite_where=text("status = 'adjusted'"),
        postgresql_where=text("status = 'adjusted'"),
    ),
)

budget_counters = Table(
    "runtime_budget_counters",
    metadata,
    required("budget_id", Text),
    required("window", Text),
    *(
        required(f"{state}_{dimension}", BigInteger, "0")
        for state in ("settled", "reserved")
        for dimension in ("tokens", "cost", "requests", "tool_calls", "turns")
    ),
    PrimaryKeyConstraint("budget_id", "window", name="runtime_budget_counters_key"),
)

budgets = Table(
    "runtime_budgets",
    metadata,
    Column("budget_id", Text, primary_key=True),
    Column("scope_id", Text),
    required("limits", Json),
    required("updated_at", Time),
)

policies = Table(
    "runtime_policies",
    metadata,
    required("name", Text),
    required("version", Text),
    required("document", Json),
    required("created_at", Time),
    PrimaryKeyConstraint("name", "version", name="runtime_policies_key"),
)

api_keys = Table(
    "runtime_api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    required("name", Text),
    required("role", Text),
    Column("scope_id", Text),
    Column("principal_id", Text),
    required("created_at", Time),
    Column("created_by", Text),
    Column("expires_at", Time),
    Column("revoked_at", Time),
    Column("last_used_at", Time),
    Column("replaced_by", Text),
    required("secret_hash", Text),
    Index("runtime_api_keys_by_scope", "scope_id", "key_id"),
)

schedules = Table(
    "runtime_schedules",
    metadata,
    required("scope_id", Text),
    required("schedule_id", Text),
    required("revision", BigInteger),
    required("timing", Json),
    required("rules", Json),
    Column("principal_id", Text),
    Column("check_name", Text),
    required("content", LargeBinary),
    Column("next_due", Time),
    Column("look_at", Time),
    Column("holder", Text),
    Column("last_id", Text),
    Column("paused_at", Time),
    required("created_at", Time),
    Column("created_by", Text),
    required("updated_at", Time),
    PrimaryKeyConstraint("scope_id", "schedule_id", name="runtime_schedules_key"),
    Index(
        "runtime_schedules_due",
        "look_at",
        sqlite_where=text("look_at IS NOT NULL"),
        postgresql_where=text("look_at IS NOT NULL"),
    ),
)

fires = Table(
    "runtime_fires",
    metadata,
    required("scope_id", Text),
    required("schedule_id", Text),
    required("due_at", Time),
    required("last_due_at", Time),
    required("count", BigInteger),
    required("outcome", Text),
    Column("reason", Text),
    Column("decided_at", Time),
    Column("started_id", Text),
    PrimaryKeyConstraint("scope_id", "schedule_id", "due_at", name="runtime_fires_key"),
    Index(
        "runtime_fires_open",
        "scope_id",
        "schedule_id",
        "due_at",
        sqlite_where=text("outcome IN ('pending', 'firing')"),
        postgresql_where=text("outcome IN ('pending', 'firing')"),
    ),
    Index("runtime_fires_decided", "decided_at"),
)

operators = Table(
    "runtime_operators",
    metadata,
    required("queue", Text),
    required("operator", Text),
    required("listed_at", Time),
    PrimaryKeyConstraint("queue", "operator", name="runtime_operators_key"),
)

workers = Table(
    "runtime_workers",
    metadata,
    Column("worker_id", Text, primary_key=True),
    required("queues", Json),
    required("operators", Json),
    required("started_at", Time),
    required("heartbeat_at", Time),
    required("info", Json),
)


for of_agents in agent_tables.sorted_tables:
    of_agents.to_metadata(metadata)
for logs in log_tables.sorted_tables:  # which may stand in an application's own database as well
    logs.to_metadata(metadata)


def sqlite_script() -> str:
    """Return the SQL that makes all tables in a new SQLite file: the text of `sqlite/schema.sql`."""
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.schema import CreateIndex, CreateTable, DDLElement

    from agent_runtime.storage.migrations import VERSION_TABLE

    dialect = sqlite.dialect()
    statements = [
        f"CREATE TABLE {VERSION_TABLE} (\n\tversion_num VARCHAR(32) NOT NULL, \n\tCONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)\n)"
    ]
    for table in metadata.sorted_tables:
        may_exist = table.name in log_tables.tables  # an application has made them for itself before
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        made: list[DDLElement] = [CreateTable(table, if_not_exists=may_exist)]
        made += [CreateIndex(index, if_not_exists=may_exist) for index in indexes]
        statements += [str(one.compile(dialect=dialect)).strip() for one in made]
    return "".join(f"{statement};\n" for statement in [*statements, WOKEN])
