"""The entries of jobs, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from agent_runtime.ports.audit import (
    AUDIT_BYTES,
    AUDIT_ENTRIES,
    AuditedEntry,
    AuditedJob,
    Note,
    TrailEntry,
    TrailHead,
)
from agent_runtime.storage.cursors import bytes_of, last_of_page
from agent_runtime.storage.memory.state import State
from agent_runtime.storage.rows.audit import next_of_trail
from agent_runtime.values.event import RuntimeEvent


def note_in_trail(state: State, scope_id: str, at: datetime, notes: Sequence[Note]) -> None:
    """Add notes to a scope's trail."""
    trail = state.trails.setdefault(scope_id, [])
    last = (trail[-1].number, trail[-1].link) if trail else None
    trail += next_of_trail(scope_id, last, at, (), notes)


class JournalReader:
    """Reads journals."""

    _state: State

    async def events(
        self,
        job_id: str,
        *,
        scope_id: str | None = None,
        after_seq: int = 0,
        limit: int = 1000,
        max_bytes: int | None = None,
        with_content: bool = True,
    ) -> Sequence[RuntimeEvent]:
        """Return a job's entries after `after_seq`."""
        first = max(0, after_seq)
        page = self._journal(job_id, scope_id)[first : first + limit]
        if max_bytes is not None:
            sizes = enumerate((bytes_of(event, with_content=with_content) for event in page), 1)
            page = page[: last_of_page(sizes, max_bytes) or 0]
        return page if with_content else [replace(event, content=None) for event in page]

    async def tail(
        self, job_id: str, limit: int, *, scope_id: str | None = None, with_content: bool = True
    ) -> Sequence[RuntimeEvent]:
        """Return a job's last entries."""
        page = self._journal(job_id, scope_id)[-limit:] if limit > 0 else []
        return page if with_content else [replace(event, content=None) for event in page]

    def _journal(self, job_id: str, scope_id: str | None) -> list[RuntimeEvent]:
        job = self._state.jobs.get(job_id)
        is_hidden = job is None or scope_id not in (None, job.scope_id)
        return [] if is_hidden else self._state.journals.get(job_id, [])

    async def last_events(self, job_ids: Sequence[str]) -> Sequence[RuntimeEvent]:
        """Return the last entries of jobs."""
        journals = self._state.journals
        return [journals[job_id][-1] for job_id in job_ids if journals.get(job_id)]


class Audit:
    """Reads chains, and keeps the scopes' trails."""

    _state: State

    async def audited_jobs(
        self, *, scope_id: str | None = None, after: str = "", limit: int = 500
    ) -> Sequence[AuditedJob]:
        """Return jobs in the order of their ids."""
        jobs = self._state.jobs.values()
        found = sorted(job.job_id for job in jobs if job.job_id > after and scope_id in (None, job.scope_id))
        return [self._audited(job_id) for job_id in found[:limit]]

    async def audited(self, job_ids: Sequence[str]) -> Sequence[AuditedJob]:
        """Return these jobs."""
        return [self._audited(job_id) for job_id in dict.fromkeys(job_ids) if job_id in self._state.jobs]

    def _audited(self, job_id: str) -> AuditedJob:
        job, chain = self._state.jobs[job_id], self._state.chains[job_id]
        return AuditedJob(
            job_id=job_id,
            scope_id=job.scope_id,
            status=job.status,
            last_seq=job.last_seq,
            head=chain.head,
            salts=chain.salts,
            content_pruned_at=chain.pruned_at,
            erased_at=chain.erased_at,
        )

    async def audited_entries(
        self, job_id: str, *, after_seq: int = 0, limit: int = AUDIT_ENTRIES, max_bytes: int = AUDIT_BYTES
    ) -> Sequence[AuditedEntry]:
        """Return a job's entries in order."""
        chain = self._state.chains.get(job_id)
        page = self._state.journals.get(job_id, [])[after_seq : after_seq + limit]
        last = last_of_page(((event.seq or 0, bytes_of(event)) for event in page), max_bytes)
        return [
            AuditedEntry(
                seq=event.seq or 0,
                type=event.type,
                at=event.timestamp,
                operation_id=event.operation_id,
                data=event.data,
                content=event.content,
                link=chain.links[seq - 1],
                data_digest=chain.data_digests.get(seq),
                content_digest=chain.content_digests.get(seq),
            )
            for seq, event in enumerate(page, after_seq + 1)
            if chain is not None and last is not None and seq <= last
        ]

    async def extend_trail(
        self, scope_id: str, *, at: datetime, ended: Sequence[str] = (), notes: Sequence[Note] = ()
    ) -> int:
        """Add ends of jobs and notes to a scope's trail."""
        trail = self._state.trails.setdefault(scope_id, [])
        known = {entry.job_id for entry in trail}
        ends = [
            (job_id, job.last_seq, self._state.chains[job_id].head)
            for job_id in dict.fromkeys(ended)
            if job_id not in known
            and (job := self._state.jobs.get(job_id)) is not None
            and job.scope_id == scope_id
            and job.status.is_terminal
        ]
        last = (trail[-1].number, trail[-1].link) if trail else None
        made = next_of_trail(scope_id, last, at, ends, notes)
        trail += made
        return len(made)

    async def trail(self, scope_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[TrailEntry]:
        """Return entries of a scope's trail."""
        return self._state.trails.get(scope_id, [])[after : after + limit]

    async def trail_heads(self) -> Sequence[TrailHead]:
        """Return where the trails of all scopes end."""
        trails = sorted(self._state.trails.items())
        return [TrailHead(scope_id, one[-1].number, one[-1].link) for scope_id, one in trails if one]
