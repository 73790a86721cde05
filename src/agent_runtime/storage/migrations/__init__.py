"""Schema revisions, oldest first. Alembic itself is imported only when a migration is due (`run`)."""

from typing import Final

REVISIONS: Final = ("0001", "0002", "0003")
HEAD: Final = REVISIONS[-1]
VERSION_TABLE: Final = "runtime_schema_version"
