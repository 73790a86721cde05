"""The audit: what a verification reads, and the trail of each scope, in which its jobs' ends are linked to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from agent_runtime.values.job import JobStatus
from llm_client.json_text import JsonObject

AUDIT_ENTRIES: Final = 500
AUDIT_BYTES: Final = 8 * 1024 * 1024
"""Bytes of private content that are read at once, or one entry's."""
INSTALLATION: Final = ""
"""In the place of a scope: the trail of what concerns all of them. No scope is called so."""
JOB_ENDED: Final = "job.ended"
"""The kind of a trail's entry that says where the chain of an ended job ends; each job has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedJob:
    """A job, as far as its chain is concerned."""

    job_id: str
    scope_id: str
    status: JobStatus
    last_seq: int
    head: bytes
    """The link of its last entry."""
    salts: bytes
    content_pruned_at: datetime | None = None
    erased_at: datetime | None = None
    is_readable: bool = True
    """Whether its columns hold what they are for; in a file of SQLite anybody can put anything into any of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedEntry:
    """An entry of a journal as it is stored, with its link."""

    seq: int
    type: str
    at: datetime
    operation_id: str | None = None
    data: JsonObject | None = None
    """`None` for what cannot be read."""
    content: bytes | None = None
    link: bytes | None = None
    data_digest: bytes | None = None
    """In place of data that was erased."""
    content_digest: bytes | None = None
    """In place of content that was pruned or erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailEntry:
    """An entry of a scope's trail."""

    scope_id: str
    """The scope; `INSTALLATION` for what concerns all of them."""
    number: int
    """Its place, from 1."""
    at: datetime
    kind: str
    """`job.ended`, or what was done from outside: `erased` to jobs, `key.created`, `key.rotated` or `key.revoked` to API keys,
    `logs.deleted` to execution logs."""
    job_id: str | None = None
    seq: int | None = None
    """Of the job's last entry."""
    head: bytes | None = None
    """Where the job's chain ends."""
    data: JsonObject
    """Who has done what."""
    link: bytes
    gone_at: datetime | None = None
    """When the job was pruned. Not part of the link."""


class TrailHead(NamedTuple):
    """Where a scope's trail ends: kept elsewhere, it proves later that nothing before it was changed."""

    scope_id: str
    number: int
    link: bytes


class Note(NamedTuple):
    """What somebody has done, for a trail."""

    kind: str
    data: JsonObject


class Audit(Protocol):
    """Reads chains, and keeps the scopes' trails."""

    async def audited_jobs(
        self, *, scope_id: str | None = None, after: str = "", limit: int = 500
    ) -> Sequence[AuditedJob]:
        """Return jobs in the order of their ids, those behind `after`. A given `scope_id` hides other scopes' jobs."""
        ...

    async def audited(self, job_ids: Sequence[str]) -> Sequence[AuditedJob]:
        """Return these jobs, in any order; what is not there is missing."""
        ...

    async def audited_entries(
        self, job_id: str, *, after_seq: int = 0, limit: int = AUDIT_ENTRIES, max_bytes: int = AUDIT_BYTES
    ) -> Sequence[AuditedEntry]:
        """Return a job's entries in order, also those that cannot be read.

        Args:
            job_id: The job.
            after_seq: From the one behind this place on.
            limit: How many at most.
            max_bytes: How much private content they may have together; the first is given in any case.
        """
        ...

    async def extend_trail(
        self, scope_id: str, *, at: datetime, ended: Sequence[str] = (), notes: Sequence[Note] = ()
    ) -> int:
        """Add to a scope's trail where the chains of ended jobs end, and notes; return how many entries there are more.

        A job that is in the trail, has not ended, belongs to another scope or is not there is passed over, so that the same
        may be said twice.
        """
        ...

    async def trail(self, scope_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[TrailEntry]:
        """Return entries of a scope's trail in their order, those behind the number `after`."""
        ...

    async def trail_heads(self) -> Sequence[TrailHead]:
        """Return where the trails of all scopes end, by scope."""
        ...
