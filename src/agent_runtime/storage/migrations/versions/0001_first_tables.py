"""The tables of the first release."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Time = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")
Json = sa.Text().with_variant(JSONB(), "postgresql")
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


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
        sa.Column("metadata", Json, nullable=False),
        sa.Column("token_hash", sa.Text, nullable=False),
    )
    op.create_index("runtime_actions_by_scope", "runtime_actions", ["scope_id", "action_id"])
    op.create_index("runtime_actions_of_job", "runtime_actions", ["job_id", "status"])
    op.create_index(
        "runtime_actions_pending",
        "runtime_actions",
        ["action_id"],
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index("runtime_actions_token", "runtime_actions", ["token_hash"], unique=True)
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
        sa.UniqueConstraint("job_id", "seq", name="runtime_events_place"),
    )
    op.create_index(
        "runtime_events_commit",
        "runtime_events",
        ["commit_id"],
        unique=True,
        sqlite_where=sa.text("commit_id IS NOT NULL"),
        postgresql_where=sa.text("commit_id IS NOT NULL"),
    )
    op.create_table(
        "runtime_jobs",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("scope_id", sa.Text, nullable=False),
        sa.Column("principal_id", sa.Text),
        sa.Column("session_id", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("parent_job_id", sa.Text),
        sa.Column("parent_operation_id", sa.Text),
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
        sa.Column("versions", Json),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("result_ref", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("starts", sa.Integer, nullable=False),
    )
    op.create_index("runtime_jobs_by_scope", "runtime_jobs", ["scope_id", "job_id"])
    op.create_index(
        "runtime_jobs_children",
        "runtime_jobs",
        ["parent_job_id"],
        sqlite_where=sa.text("parent_job_id IS NOT NULL"),
        postgresql_where=sa.text("parent_job_id IS NOT NULL"),
    )
    op.create_index(
        "runtime_jobs_key",
        "runtime_jobs",
        ["scope_id", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "runtime_jobs_owned",
        "runtime_jobs",
        ["owner"],
        sqlite_where=sa.text("owner IS NOT NULL"),
        postgresql_where=sa.text("owner IS NOT NULL"),
    )
    op.create_index(
        "runtime_jobs_ready",
        "runtime_jobs",
        ["priority", "job_id"],
        sqlite_where=sa.text("owner IS NULL AND status IN ('queued', 'running')"),
        postgresql_where=sa.text("owner IS NULL AND status IN ('queued', 'running')"),
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
        sa.UniqueConstraint("event_id", name="runtime_ledger_once"),
    )
    op.create_index("runtime_ledger_by_scope", "runtime_ledger", ["scope_id", "timestamp"])
    op.create_index("runtime_ledger_of_job", "runtime_ledger", ["job_id"])
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
        sa.UniqueConstraint("job_id", "signal_id", name="runtime_signals_once"),
    )
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
    op.create_table(
        "runtime_workers",
        sa.Column("worker_id", sa.Text, primary_key=True),
        sa.Column("queues", Json, nullable=False),
        sa.Column("operators", Json, nullable=False),
        sa.Column("started_at", Time, nullable=False),
        sa.Column("heartbeat_at", Time, nullable=False),
        sa.Column("info", Json, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "runtime_workers",
        "runtime_timers",
        "runtime_signals",
        "runtime_policies",
        "runtime_ledger",
        "runtime_jobs",
        "runtime_events",
        "runtime_budgets",
        "runtime_budget_counters",
        "runtime_actions",
    ):
        op.drop_table(table)
