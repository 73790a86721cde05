"""The documented in-memory stores: views of one `MemoryStorage`."""

from __future__ import annotations

from agent_runtime.ports.storage import Storage
from agent_runtime.storage.memory.storage import MemoryStorage


class _View:
    """A view of a storage; a bare one can be made a view of another's."""

    def __init__(self, storage: Storage | None = None) -> None:
        self.is_bare = storage is None
        self._storage: Storage = storage if storage is not None else MemoryStorage()

    @property
    def storage(self) -> Storage:
        """The storage it is a view of."""
        return self._storage

    def adopt(self, storage: Storage) -> None:
        """Become a view of `storage`, so that several bare stores of one kernel share it."""
        self._storage = storage


class InMemoryJobStore(_View):
    """Jobs in memory."""


class InMemoryActionStore(_View):
    """Actions in memory."""


class InMemoryLedgerWriter(_View):
    """Ledger entries in memory."""
