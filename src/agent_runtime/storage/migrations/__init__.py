"""Schema revisions, oldest first. Alembic itself is imported only when a migration is due (`run`)."""

from typing import Final

from agent_runtime.errors import SchemaMismatch

REVISIONS: Final = ("0004",)
HEAD: Final = REVISIONS[-1]
UNRELEASED: Final = frozenset({"0001", "0002", "0003"})
"""Revisions from before the first release, which nothing leads away from; these numbers are not used again."""
VERSION_TABLE: Final = "runtime_schema_version"


def unknown_schema(place: str, version: str) -> SchemaMismatch:
    """Return the error for a database at `place` with a revision that is not among `REVISIONS`."""
    if version in UNRELEASED:
        return SchemaMismatch(
            f"{place} has schema {version!r}, from before the first release of agent-runtime, which cannot be migrated: "
            "start with a new database"
        )
    return SchemaMismatch(
        f"{place} has schema {version!r}, which this version of agent-runtime does not know; "
        "it was written by a newer one: upgrade agent-runtime"
    )
