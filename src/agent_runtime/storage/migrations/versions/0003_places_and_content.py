"""What counting the jobs of a scope and deleting old content need: wider indexes, and a mark on jobs without content.

Processes of the revision before go on: nothing they read or write has changed.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Time = sa.BigInteger().with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    """Add them."""
    op.add_column("runtime_jobs", sa.Column("content_pruned_at", Time))
    op.drop_index("runtime_jobs_ready", "runtime_jobs")
    op.drop_index("runtime_jobs_owned", "runtime_jobs")
    _index(
        "runtime_jobs_ready",
        ["scope_id", sa.text("priority DESC"), "job_id"],
        "owner IS NULL AND operator IS NOT NULL AND status IN ('queued', 'running')",
    )
    _index("runtime_jobs_owned", ["owner", "scope_id"], "owner IS NOT NULL")
    _index(
        "runtime_jobs_with_content",
        ["completed_at"],
        "completed_at IS NOT NULL AND content_pruned_at IS NULL",
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_index("runtime_jobs_with_content", "runtime_jobs")
    op.drop_index("runtime_jobs_ready", "runtime_jobs")
    op.drop_index("runtime_jobs_owned", "runtime_jobs")
    _index("runtime_jobs_ready", ["priority", "job_id"], "owner IS NULL AND status IN ('queued', 'running')")
    _index("runtime_jobs_owned", ["owner"], "owner IS NOT NULL")
    op.drop_column("runtime_jobs", "content_pruned_at")


def _index(name: str, columns: list[str | sa.TextClause], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "runtime_jobs", columns, sqlite_where=where, postgresql_where=where)
