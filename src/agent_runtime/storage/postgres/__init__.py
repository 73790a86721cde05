"""Storage in Postgres: many processes, one journal. Commits of a process that arrive together share a transaction."""

from agent_runtime.storage.postgres.storage import (
    PostgresActionStore,
    PostgresJobStore,
    PostgresLedgerWriter,
    PostgresStorage,
)

__all__ = ["PostgresActionStore", "PostgresJobStore", "PostgresLedgerWriter", "PostgresStorage"]
