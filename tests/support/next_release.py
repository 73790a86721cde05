"""The release after this one, which has one more revision of the tables: this process becomes it."""

from pathlib import Path

import pytest

from agent_runtime.storage import migrate
from agent_runtime.storage.migrations import HEAD, REVISIONS, run
from agent_runtime.storage.postgres import tables
from agent_runtime.storage.sqlite import connection

NEXT = "9001"
_MIGRATION = f'''
"""A compatible migration: a column that may be empty, and an index made anew."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runtime_jobs", sa.Column("note", sa.Text))
    op.drop_index("runtime_jobs_by_scope", "runtime_jobs")
    op.create_index("runtime_jobs_by_scope", "runtime_jobs", ["scope_id", "job_id", "note"])


def downgrade() -> None:
    op.drop_index("runtime_jobs_by_scope", "runtime_jobs")
    op.create_index("runtime_jobs_by_scope", "runtime_jobs", ["scope_id", "job_id"])
    op.drop_column("runtime_jobs", "note")
'''


def become_next_release(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Know one revision more, whose migration is written to a folder."""
    folder.mkdir()
    (folder / f"{NEXT}_a_note.py").write_text(_MIGRATION)
    patch.setattr(run, "FOLDERS", [*run.FOLDERS, folder])
    for module in (tables, connection, migrate):
        patch.setattr(module, "HEAD", NEXT)
        patch.setattr(module, "REVISIONS", (*REVISIONS, NEXT))
