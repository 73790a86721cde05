"""What a `JobManager` needs of a store."""

from __future__ import annotations

from typing import Protocol

from agent_runtime.ports.storage import Storage


class JobStore(Protocol):
    """A view of a storage, as in `InMemoryJobStore()`."""

    @property
    def storage(self) -> Storage:
        """The storage it is a view of."""
        ...
