"""The trail: a projection that links the ends of each scope's jobs, so that a job that is taken away is missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol

from agent_runtime.ports.audit import Audit
from agent_runtime.ports.clock import Clock
from agent_runtime.ports.feed import FeedEntry

NAME: Final = "audit"
"""Under which its cursor is kept."""


class _Storage(Audit, Protocol):
    """What a trail is kept in."""

    @property
    def clock(self) -> Clock:
        """What time it is for all who share it."""
        ...


class AuditTrail:
    """Keeps the trails of all scopes up with the jobs that end. It writes beside the jobs: none waits for it.

    Args:
        storage: Whose jobs, and where the trails are kept.
    """

    def __init__(self, storage: _Storage) -> None:
        self._storage = storage

    @property
    def name(self) -> str:
        """Under which its cursor is kept."""
        return NAME

    @property
    def begin(self) -> Literal["first", "now"]:
        """With the first entry that is there."""
        return "first"

    async def project(self, entries: Sequence[FeedEntry]) -> None:
        """Add the jobs that have ended to their scopes' trails; one that is there already is passed over."""
        ended: dict[str, list[str]] = {}
        for _, event in entries:
            if event.is_terminal and event.job_id is not None:
                ended.setdefault(event.scope_id, []).append(event.job_id)
        for scope_id, job_ids in ended.items():
            await self._storage.extend_trail(scope_id, at=self._storage.clock.now(), ended=job_ids)
