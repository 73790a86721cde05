"""The documented Postgres stores: views of one `PostgresStorage` per pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from agent_runtime.storage.postgres.storage import PostgresStorage

if TYPE_CHECKING:
    import asyncpg

_OF_POOL: WeakKeyDictionary[Any, PostgresStorage] = WeakKeyDictionary()
"""The storage of each pool: stores over one pool must be views of one storage, or no commit could join them."""


class _View:
    """A view of the storage over a pool, or of a given storage."""

    is_bare = False

    def __init__(self, pool: asyncpg.Pool[Any] | PostgresStorage) -> None:
        if isinstance(pool, PostgresStorage):
            self._storage = pool
            return
        known = _OF_POOL.get(pool)
        if known is None:
            known = _OF_POOL[pool] = PostgresStorage(pool)
        self._storage = known

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
