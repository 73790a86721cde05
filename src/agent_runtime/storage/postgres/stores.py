"""The documented Postgres stores: views of one `PostgresStorage` per pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_runtime.storage.postgres.storage import PostgresStorage

if TYPE_CHECKING:
    import asyncpg

_OF_POOL: dict[int, tuple[Any, PostgresStorage]] = {}
"""Each open pool and its storage, by the pool's identity: stores over one pool must be views of one storage, or no
commit could join them. (A pool can neither carry an attribute nor be referred to weakly.)"""


class _View:
    """A view of the storage over a pool, or of a given storage."""

    is_bare = False

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record] | PostgresStorage) -> None:
        if isinstance(pool, PostgresStorage):
            self._storage = pool
            return
        for key in [key for key, (known, _) in _OF_POOL.items() if known.is_closing()]:
            del _OF_POOL[key]
        _, self._storage = _OF_POOL.setdefault(id(pool), (pool, PostgresStorage(pool)))

    @property
    def storage(self) -> PostgresStorage:
        """The storage it is a view of."""
        return self._storage


class PostgresJobStore(_View):
    """Jobs in Postgres."""


class PostgresActionStore(_View):
    """Actions in Postgres."""


class PostgresLedgerWriter(_View):
    """Ledger entries in Postgres."""
