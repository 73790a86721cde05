"""An index for retention, and what only Postgres has: computed columns, the server's clock, room for updates."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them."""
    op.create_index(
        "runtime_jobs_ended",
        "runtime_jobs",
        ["completed_at"],
        sqlite_where=sa.text("completed_at IS NOT NULL"),
        postgresql_where=sa.text("completed_at IS NOT NULL"),
    )
    if op.get_context().dialect.name != "postgresql":
        return
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
    op.execute(
        "ALTER TABLE runtime_workers ADD COLUMN seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()"
    )
    # A job's row is updated with every step; free room in its page spares the indexes.
    op.execute("ALTER TABLE runtime_jobs SET (fillfactor = 50)")
    op.execute("ALTER TABLE runtime_budget_counters SET (fillfactor = 20)")


def downgrade() -> None:
    """Remove them."""
    op.drop_index("runtime_jobs_ended", "runtime_jobs")
    if op.get_context().dialect.name != "postgresql":
        return
    op.execute("ALTER TABLE runtime_ledger DROP COLUMN total_tokens, DROP COLUMN cost")
    op.execute("ALTER TABLE runtime_actions DROP COLUMN resume_token")
    op.execute("ALTER TABLE runtime_workers DROP COLUMN seen_at")
    op.execute("ALTER TABLE runtime_jobs RESET (fillfactor)")
    op.execute("ALTER TABLE runtime_budget_counters RESET (fillfactor)")
