"""The tables of the first release: what `storage.schema` declares, and what only Postgres has."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

from agent_runtime.storage.migrations.agents import create_agents
from agent_runtime.storage.migrations.columns import Json, Time, partial_index

revision = "0004"
down_revision = None
branch_labels = None
depends_on = None

LogTime = sa.DateTime(timezone=True)
LogJson = sa.JSON()
Id = sa.Text().with_variant(UUID(as_uuid=False), "postgresql")
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# The suspended jobs for which signals or messages are there that satisfy one of their sets of waits, or signals that answer
# no operation.
WOKEN = """
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


def _whose() -> list[sa.Column[Any]]:
    scope = sa.Column("scope_id", sa.Text, nullable=False, server_default=sa.text("'default'"))
    return [scope, sa.Column("principal_id", sa.Text), sa.Column("session_id", sa.Text)]


def _money(name: str) -> list[sa.Column[Any]]:
    dollars = sa.Computed(f"{name}_units / 10000000000.0", persisted=True)
    return [sa.Column(f"{name}_units", sa.BigInteger), sa.Column(name, sa.Numeric(20, 10), dollars)]


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "runtime_actions",
        sa.Column("action_id", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("operation_id", sa.Text),
        sa.Column("argument_hash", sa.Text),
        sa.Column("payload", Json, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("expires_at", Time),
        sa.Column("resolved_at", Time),
        sa.Column("resolved_by", sa.Text),
        sa.Column("resolution", Json),
        sa.Column("default_resolution", Json),
        sa.Column("approvers", Json),
        sa.Column("quorum", sa.Integer, nullable=False),
        sa.Column("votes", Json, nullable=False),
        sa.Column("argument_schema", Json),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("token_hash", sa.Text),
    )
    op.create_index("runtime_actions_by_scope", "runtime_actions", ["scope_id", "action_id"])
    op.create_index("runtime_actions_of_job", "runtime_actions", ["job_id", "status"])
    partial_index("runtime_actions_pending", "runtime_actions", ["action_id"], "status = 'pending'")
    op.create_table(
        "runtime_action_tokens",
        sa.Column("token_hash", sa.Text, primary_key=True),
        sa.Column("action_id", sa.Text, nullable=False),
        sa.Column("approver", sa.Text),
    )
    op.create_index("runtime_action_tokens_of_action", "runtime_action_tokens", ["action_id"])
    op.create_table(
        "runtime_budget_counters",
        sa.Column("budget_id", sa.Text, nullable=False),
        sa.Column("window", sa.Text, nullable=False),
        sa.Column("settled_tokens", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("settled_cost", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("settled_requests", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("settled_tool_calls", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("settled_turns", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("reserved_tokens", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("reserved_cost", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("reserved_requests", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("reserved_tool_calls", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("reserved_turns", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("budget_id", "window", name="runtime_budget_counters_key"),
    )
    op.create_table(
        "runtime_budgets",
        sa.Column("budget_id", sa.Text, primary_key=True),
        sa.Column("scope_id", sa.Text),
        sa.Column("limits", Json, nullable=False),
        sa.Column("updated_at", Time, nullable=False),
    )
    op.create_table(
        "runtime_events",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("commit_id", sa.Text),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("at", Time, nullable=False),
        sa.Column("operation_id", sa.Text),
        sa.Column("data", Json, nullable=False),
        sa.Column("content", sa.LargeBinary),
        sa.Column("link", sa.LargeBinary),
        sa.Column("data_digest", sa.LargeBinary),
        sa.Column("content_digest", sa.LargeBinary),
        sa.UniqueConstraint("job_id", "seq", name="runtime_events_place"),
    )
    partial_index(
        "runtime_events_commit", "runtime_events", ["commit_id"], "commit_id IS NOT NULL", unique=True
    )
    op.create_table(
        "runtime_audit",
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("at", Time, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("seq", sa.BigInteger),
        sa.Column("head", sa.LargeBinary),
        sa.Column("data", Json, nullable=False),
        sa.Column("link", sa.LargeBinary, nullable=False),
        sa.Column("gone_at", Time),
        sa.PrimaryKeyConstraint("scope_id", "number", name="runtime_audit_key"),
    )
    partial_index("runtime_audit_of_job", "runtime_audit", ["job_id"], "job_id IS NOT NULL", unique=True)
    op.create_table(
        "runtime_cursors",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text),
        sa.Column("held_until", Time),
        sa.Column("updated_at", Time, nullable=False),
    )
    op.create_table(
        "runtime_jobs",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("seed", sa.Text, nullable=False),
        sa.Column("chain_id", sa.Text, nullable=False),
        sa.Column("predecessor_id", sa.Text),
        sa.Column("successor_id", sa.Text),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("principal_id", sa.Text),
        sa.Column("session_id", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("identity", sa.Text),
        sa.Column("parent_job_id", sa.Text),
        sa.Column("parent_operation_id", sa.Text),
        sa.Column("on_parent_end", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("request_hash", sa.Text),
        sa.Column("operator", sa.Text),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("depth", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("updated_at", Time, nullable=False),
        sa.Column("started_at", Time),
        sa.Column("completed_at", Time),
        sa.Column("deadline", Time),
        sa.Column("progress", sa.Float, nullable=False),
        sa.Column("budgets", Json),
        sa.Column("inherited_budgets", Json),
        sa.Column("policy_ref", Json),
        sa.Column("retry", Json),
        sa.Column("versions", Json),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("result_ref", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("deaths", sa.Integer, nullable=False),
        sa.Column("lone_deaths", sa.Integer, nullable=False),
        sa.Column("open_claim", sa.Integer, nullable=False),
        sa.Column("failed_versions", sa.Text),
        sa.Column("retry_at", Time),
        sa.Column("content_pruned_at", Time),
        sa.Column("erased_at", Time),
        sa.Column("audit_head", sa.LargeBinary, nullable=False),
        sa.Column("audit_salt", sa.LargeBinary, nullable=False),
    )
    op.create_index("runtime_jobs_by_scope", "runtime_jobs", ["scope_id", "job_id"])
    partial_index("runtime_jobs_children", "runtime_jobs", ["parent_job_id"], "parent_job_id IS NOT NULL")
    partial_index(
        "runtime_jobs_key",
        "runtime_jobs",
        ["scope_id", "idempotency_key"],
        "idempotency_key IS NOT NULL AND successor_id IS NULL",
        unique=True,
    )
    partial_index(
        "runtime_jobs_chain", "runtime_jobs", ["chain_id", "successor_id"], "predecessor_id IS NOT NULL"
    )
    partial_index("runtime_jobs_blocked", "runtime_jobs", ["job_id"], "status = 'blocked'")
    partial_index("runtime_jobs_ended", "runtime_jobs", ["completed_at"], "completed_at IS NOT NULL")
    partial_index("runtime_jobs_owned", "runtime_jobs", ["owner", "scope_id"], "owner IS NOT NULL")
    partial_index(
        "runtime_jobs_ready",
        "runtime_jobs",
        ["scope_id", sa.text("priority DESC"), "job_id"],
        "owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running')",
    )
    partial_index(
        "runtime_jobs_lines",
        "runtime_jobs",
        ["operator", "queue", "job_id"],
        "owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running')",
    )
    partial_index(
        "runtime_jobs_with_content",
        "runtime_jobs",
        ["completed_at"],
        "completed_at IS NOT NULL AND content_pruned_at IS NULL",
    )
    op.create_table(
        "runtime_ledger",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("principal_id", sa.Text),
        sa.Column("session_id", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("agent", sa.Text),
        sa.Column("provider", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("tool_name", sa.Text),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("cache_write_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_units", sa.BigInteger),
        sa.Column("price_source", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("uncertain", sa.Boolean, nullable=False),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("timestamp", Time, nullable=False),
        sa.Column("metadata", Json, nullable=False),
        sa.UniqueConstraint("event_id", "scope_id", name="runtime_ledger_once"),
    )
    op.create_index("runtime_ledger_by_scope", "runtime_ledger", ["scope_id", "timestamp"])
    op.create_index("runtime_ledger_of_job", "runtime_ledger", ["job_id"])
    partial_index("runtime_ledger_corrections", "runtime_ledger", ["timestamp"], "status = 'adjusted'")
    op.create_table(
        "runtime_policies",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("document", Json, nullable=False),
        sa.Column("created_at", Time, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="runtime_policies_key"),
    )
    op.create_table(
        "runtime_signals",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("signal_id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("operation_id", sa.Text),
        sa.Column("data", Json, nullable=False),
        sa.Column("content", sa.LargeBinary),
        sa.Column("is_failure", sa.Boolean, nullable=False),
        sa.UniqueConstraint("job_id", "signal_id", name="runtime_signals_once"),
    )
    op.create_index("runtime_signals_answers", "runtime_signals", ["job_id", "operation_id"])
    partial_index("runtime_signals_failed", "runtime_signals", ["job_id", "operation_id"], "is_failure")
    op.create_table(
        "runtime_waits",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("set_number", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.Column("ends_with_failure", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "set_number", "position", name="runtime_waits_key"),
    )
    op.create_table(
        "runtime_inboxes",
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("last_position", sa.BigInteger, nullable=False),
        sa.Column("unclaimed", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("scope_id", "identity", name="runtime_inboxes_key"),
    )
    partial_index("runtime_inboxes_with_mail", "runtime_inboxes", ["scope_id", "identity"], "unclaimed > 0")
    op.create_table(
        "runtime_messages",
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("dedupe_key", sa.Text),
        sa.Column("sent_at", Time, nullable=False),
        sa.Column("claimed_by", sa.Text),
        sa.Column("claimed_at", Time),
        sa.Column("content", sa.LargeBinary),
        sa.UniqueConstraint("scope_id", "identity", "position", name="runtime_messages_place"),
    )
    partial_index(
        "runtime_messages_once",
        "runtime_messages",
        ["scope_id", "identity", "dedupe_key"],
        "dedupe_key IS NOT NULL",
        unique=True,
    )
    partial_index(
        "runtime_messages_next",
        "runtime_messages",
        ["scope_id", "identity", sa.text("priority DESC"), "position"],
        "claimed_by IS NULL",
    )
    partial_index("runtime_messages_claimed", "runtime_messages", ["claimed_at"], "claimed_at IS NOT NULL")
    op.create_table(
        "runtime_receivers",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("operation_id", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("identity", sa.Text, nullable=False),
        sa.UniqueConstraint("job_id", "operation_id", name="runtime_receivers_once"),
    )
    op.create_index("runtime_receivers_of_inbox", "runtime_receivers", ["scope_id", "identity", "id"])
    op.create_table(
        "runtime_timers",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("due_at", Time, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("operation_id", sa.Text),
        sa.Column("data", Json, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "key", name="runtime_timers_key"),
    )
    op.create_index("runtime_timers_due", "runtime_timers", ["due_at"])
    partial_index("runtime_timers_of_budgets", "runtime_timers", ["due_at"], "key = 'budget'")
    op.create_table(
        "runtime_api_keys",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("scope_id", sa.Text),
        sa.Column("principal_id", sa.Text),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("created_by", sa.Text),
        sa.Column("expires_at", Time),
        sa.Column("revoked_at", Time),
        sa.Column("last_used_at", Time),
        sa.Column("replaced_by", sa.Text),
        sa.Column("secret_hash", sa.Text, nullable=False),
    )
    op.create_index("runtime_api_keys_by_scope", "runtime_api_keys", ["scope_id", "key_id"])
    op.create_table(
        "runtime_schedules",
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("schedule_id", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("timing", Json, nullable=False),
        sa.Column("rules", Json, nullable=False),
        sa.Column("principal_id", sa.Text),
        sa.Column("check_name", sa.Text),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("next_due", Time),
        sa.Column("look_at", Time),
        sa.Column("holder", sa.Text),
        sa.Column("last_id", sa.Text),
        sa.Column("paused_at", Time),
        sa.Column("created_at", Time, nullable=False),
        sa.Column("created_by", sa.Text),
        sa.Column("updated_at", Time, nullable=False),
        sa.PrimaryKeyConstraint("scope_id", "schedule_id", name="runtime_schedules_key"),
    )
    partial_index("runtime_schedules_due", "runtime_schedules", ["look_at"], "look_at IS NOT NULL")
    op.create_table(
        "runtime_fires",
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("schedule_id", sa.Text, nullable=False),
        sa.Column("due_at", Time, nullable=False),
        sa.Column("last_due_at", Time, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("decided_at", Time),
        sa.Column("started_id", sa.Text),
        sa.PrimaryKeyConstraint("scope_id", "schedule_id", "due_at", name="runtime_fires_key"),
    )
    partial_index(
        "runtime_fires_open",
        "runtime_fires",
        ["scope_id", "schedule_id", "due_at"],
        "outcome IN ('pending', 'firing')",
    )
    op.create_index("runtime_fires_decided", "runtime_fires", ["decided_at"])
    op.create_table(
        "runtime_operators",
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("operator", sa.Text, nullable=False),
        sa.Column("listed_at", Time, nullable=False),
        sa.PrimaryKeyConstraint("queue", "operator", name="runtime_operators_key"),
    )
    op.create_table(
        "runtime_workers",
        sa.Column("worker_id", sa.Text, primary_key=True),
        sa.Column("queues", Json, nullable=False),
        sa.Column("operators", Json, nullable=False),
        sa.Column("started_at", Time, nullable=False),
        sa.Column("heartbeat_at", Time, nullable=False),
        sa.Column("info", Json, nullable=False),
    )
    create_agents()
    _create_logs()
    op.execute(WOKEN)
    if op.get_context().dialect.name == "postgresql":
        _add_what_only_postgres_has()


def _create_logs() -> None:
    op.create_table(
        "execution_logs",
        sa.Column("id", Id, primary_key=True),
        sa.Column("execution_id", sa.Text, nullable=False),
        sa.Column("parent_id", Id),
        *_whose(),
        sa.Column("agent_type", sa.Text, nullable=False),
        sa.Column("execution_step", sa.Text, nullable=False),
        sa.Column("action_type", sa.Text),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'started'")),
        sa.Column("start_time", LogTime, nullable=False),
        sa.Column("end_time", LogTime),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("input_data", LogJson),
        sa.Column("output_data", LogJson),
        sa.Column("error_message", sa.Text),
        sa.Column("metadata", LogJson),
        *(
            sa.Column(name, sa.Text)
            for name in (
                "operation_id",
                "report_id",
                "completion_id",
                "widget_id",
                "step_id",
                "external_platform",
                "external_user_id",
            )
        ),
        sa.Column("last_seq", sa.BigInteger),
        sa.Column("created_at", LogTime, nullable=False),
        sa.Column("updated_at", LogTime, nullable=False),
        if_not_exists=True,  # an application has made them for itself before
    )
    op.create_table(
        "llm_call_logs",
        sa.Column("id", Id, primary_key=True),
        sa.Column("execution_log_id", sa.Text),
        *_whose(),
        sa.Column("agent", sa.Text, nullable=False, server_default=sa.text("''")),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("call_type", sa.Text, nullable=False, server_default=sa.text("'inference'")),
        sa.Column("status", sa.Text, nullable=False, server_default=sa.text("'started'")),
        sa.Column("start_time", LogTime, nullable=False),
        sa.Column("end_time", LogTime),
        *(
            sa.Column(name, sa.BigInteger)
            for name in (
                "duration_ms",
                "first_token_ms",
                "input_tokens",
                "output_tokens",
                "total_tokens",
                "cached_tokens",
                "reasoning_tokens",
            )
        ),
        *_money("input_cost"),
        *_money("output_cost"),
        *_money("total_cost"),
        *_money("saved_cost"),
        sa.Column("price_source", sa.Text),
        sa.Column("uncertain", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("is_streaming", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("chunks_count", sa.Integer),
        sa.Column("job_id", sa.Text),
        sa.Column("operation_id", sa.Text),
        sa.Column("attempt", sa.Integer),
        sa.Column("prompt", sa.Text),
        sa.Column("request", LogJson),
        sa.Column("response", sa.Text),
        sa.Column("tool_calls", LogJson),
        sa.Column("error_message", sa.Text),
        sa.Column("metadata", LogJson),
        sa.Column("report_id", sa.Text),
        sa.Column("completion_id", sa.Text),
        sa.Column("last_seq", sa.BigInteger),
        sa.Column("created_at", LogTime, nullable=False),
        sa.Column("updated_at", LogTime, nullable=False),
        if_not_exists=True,  # an application has made them for itself before
    )
    for table, execution in (("execution_logs", "execution_id"), ("llm_call_logs", "execution_log_id")):
        op.create_index(f"{table}_of_execution", table, [execution, "start_time"], if_not_exists=True)
        op.create_index(f"{table}_by_scope", table, ["scope_id", "start_time", "id"], if_not_exists=True)
        op.create_index(f"{table}_by_time", table, ["start_time", "id"], if_not_exists=True)
        op.create_index(f"{table}_of_operation", table, ["operation_id"], if_not_exists=True)
        op.create_index(f"{table}_of_report", table, ["report_id", "start_time"], if_not_exists=True)
        op.create_index(f"{table}_of_principal", table, ["principal_id"], if_not_exists=True)
    op.create_table(
        "log_settings",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", LogJson, nullable=False),
        if_not_exists=True,
    )
    _create_sums()


def _create_sums() -> None:
    """Create the tables of what is added up of the logs."""

    def table(name: str, keys: list[sa.Column[Any]], *sums: sa.Column[Any]) -> None:
        key = sa.PrimaryKeyConstraint(*(column.name for column in keys), name=f"{name}_key")
        op.create_table(name, *keys, *sums, key, if_not_exists=True)

    def texts(*names: str) -> list[sa.Column[Any]]:
        return [sa.Column(name, sa.Text, nullable=False) for name in names]

    def numbers(*names: str) -> list[sa.Column[Any]]:
        return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]

    def moment(name: str) -> sa.Column[Any]:
        return sa.Column(name, LogTime, nullable=False)

    table(
        "execution_log_rollups",
        [*texts("grain"), moment("begins"), *texts("scope_id", "agent_type", "execution_step", "status")],
        *numbers("executions", "timed", "duration_ms"),
        sa.Column("shortest_ms", sa.BigInteger),
        sa.Column("longest_ms", sa.BigInteger),
    )
    table(
        "llm_call_rollups",
        [
            *texts("grain"),
            moment("begins"),
            *texts("scope_id", "agent", "provider", "model_id", "call_type", "status"),
        ],
        *numbers("calls", "timed", "duration_ms", "input_tokens", "output_tokens"),
        *numbers("cached_tokens", "reasoning_tokens", "cost_units", "saved_units", "unpriced", "uncertain"),
    )
    table(
        "latency_rollups",
        [
            *texts("kind", "grouped_by"),
            moment("day"),
            *texts("scope_id", "name"),
            sa.Column("bucket", sa.Integer, nullable=False),
        ],
        *numbers("n"),
    )


def _add_what_only_postgres_has() -> None:
    """Computed columns, the server's clock, the order in which transactions end, room for updates."""
    op.execute(
        "ALTER TABLE runtime_ledger "
        "ADD COLUMN total_tokens BIGINT GENERATED ALWAYS AS (input_tokens + output_tokens) STORED, "
        "ADD COLUMN cost NUMERIC(20, 10) GENERATED ALWAYS AS (cost_units::numeric / 10000000000) STORED"
    )
    # The documented column; what it holds is the SHA-256 of a token: the token itself is stored nowhere.
    op.execute(
        "ALTER TABLE runtime_actions ADD COLUMN resume_token TEXT GENERATED ALWAYS AS (token_hash) STORED"
    )
    # Whether a worker lives is decided by the server's clock, not by comparing the clocks of two machines.
    for column in ("seen_at", "registered_at"):
        op.execute(
            f"ALTER TABLE runtime_workers ADD COLUMN {column} TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()"
        )
    # A job's row is updated with every step; free room in its page spares the indexes.
    op.execute("ALTER TABLE runtime_jobs SET (fillfactor = 50)")
    op.execute("ALTER TABLE runtime_budget_counters SET (fillfactor = 20)")


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP VIEW runtime_woken")
    for table in (
        "log_settings",
        "latency_rollups",
        "llm_call_rollups",
        "execution_log_rollups",
        "llm_call_logs",
        "execution_logs",
        "runtime_receivers",
        "runtime_messages",
        "runtime_inboxes",
        "runtime_waits",
        "runtime_workers",
        "runtime_operators",
        "runtime_agent_events",
        "runtime_agent_scopes",
        "runtime_agent_messages",
        "runtime_agent_subscriptions",
        "runtime_agent_memory",
        "runtime_agents",
        "runtime_fires",
        "runtime_schedules",
        "runtime_api_keys",
        "runtime_timers",
        "runtime_signals",
        "runtime_policies",
        "runtime_ledger",
        "runtime_jobs",
        "runtime_cursors",
        "runtime_audit",
        "runtime_events",
        "runtime_budgets",
        "runtime_budget_counters",
        "runtime_action_tokens",
        "runtime_actions",
    ):
        op.drop_table(table)
