"""Erasure: what everything that keeps content of jobs does when somebody's is to go, or what is old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedSubject:
    """Whose content goes: jobs that have ended, and perhaps a person or a session by name."""

    scope_id: str
    job_ids: Sequence[str] = ()
    """Jobs of the scope, some at a time."""
    principal_id: str | None = None
    """A person whose rows go, also those that belong to no job; said once, after all jobs."""
    session_id: str | None = None
    """A session, in the same way."""
    pseudonym: str
    """What stands in the place of names that are needed to add up: random, and the same for one erasure."""
    at: datetime


class Eraser(Protocol):
    """Takes content away from where it is kept beside the journals: tables, files, an index.

    What is done twice does no harm: an erasure that was interrupted is made again. Amounts, times and counts may stay, under the
    pseudonym. Give it to `Erasure(erasers=…)`.
    """

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def tables(self) -> frozenset[str]:
        """The tables of ours that it empties; none for what is no table."""
        ...

    async def erase(self, subject: ErasedSubject) -> int:
        """Take content away, and return of how many things."""
        ...

    async def prune_content(self, *, before: datetime) -> int:
        """Take the content of what began before a moment away, whoever's it is, and return of how many things.

        A few at a time, so that others can write. Told by `agent-runtime prune` when content of jobs goes.
        """
        ...
