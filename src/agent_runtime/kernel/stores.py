"""One storage for one kernel, however it was given."""

from __future__ import annotations

from typing import Any

from agent_runtime.errors import ConfigurationError
from agent_runtime.ports.storage import Storage


class StorageView:
    """A view of a storage for the services."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @property
    def storage(self) -> Storage:
        """The storage."""
        return self._storage


def shared_storage(storage: Storage | None, *views: Any) -> Storage | None:
    """Return the one storage behind `storage` and the given views; bare in-memory views are made to share.

    Raises:
        ConfigurationError: They belong to different storages, so that a commit could not be all or nothing.
    """
    given = [view for view in views if view is not None]
    fixed = [view.storage for view in given if not getattr(view, "is_bare", False)]
    if storage is not None:
        fixed.insert(0, storage)
    chosen: Storage | None = fixed[0] if fixed else given[0].storage if given else None
    if chosen is None:
        return None
    _check_keeps_jobs(chosen, *fixed)
    if any(other is not chosen for other in fixed):
        kinds = ", ".join(sorted({type(other).__name__ for other in fixed}))
        raise ConfigurationError(
            f"the kernel's stores belong to different storages ({kinds}); a step's outcome, its ledger entry and its "
            "budget are one commit, so all stores must be views of one storage"
        )
    for view in given:
        if getattr(view, "is_bare", False):
            view.adopt(chosen)
    return chosen


def _check_keeps_jobs(*storages: Any) -> None:
    for storage in storages:
        if not hasattr(storage, "claim"):
            raise ConfigurationError(
                f"{type(storage).__name__} keeps no jobs, so that an action in it cannot share a commit with the job that "
                "waits for it; it serves an ActionManager that stands alone"
            )
