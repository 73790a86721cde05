"""Storage in Postgres: many processes, one journal. Commits of a process that arrive together share a transaction."""

from agent_runtime.storage.postgres.storage import PostgresStorage
from agent_runtime.storage.postgres.stores import PostgresActionStore, PostgresJobStore, PostgresLedgerWriter

__all__ = ["PostgresActionStore", "PostgresJobStore", "PostgresLedgerWriter", "PostgresStorage"]
