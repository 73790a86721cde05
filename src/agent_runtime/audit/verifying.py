"""Verifying: every link is computed again from what is stored, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from agent_runtime.audit.broken import LOOK_AHEAD, diagnosed, link_of, taken_away
from agent_runtime.audit.chain import Salts, first_head, trail_link
from agent_runtime.audit.report import MOST_FINDINGS, AuditFinding, AuditReport, Problem
from agent_runtime.errors import UnknownJob
from agent_runtime.ports.audit import (
    INSTALLATION,
    JOB_ENDED,
    Audit,
    AuditedEntry,
    AuditedJob,
    TrailEntry,
    TrailHead,
)
from llm_client.turns import Turns

_JOBS: Final = 200
_TRIES: Final = 20
"""How often a job is looked at that goes on meanwhile."""


@dataclass(slots=True)
class Verification:
    """Verifies jobs and trails, and counts what it sees.

    Args:
        storage: Whose.
    """

    storage: Audit
    counted: AuditReport = field(default_factory=AuditReport)

    async def job(self, job_id: str, *, scope_id: str | None = None) -> AuditReport:
        """Verify one job, and that it is as its scope's trail says.

        Raises:
            UnknownJob: There is none, or not in this scope.
        """
        found = await self.storage.audited([job_id])
        if not found or scope_id not in (None, found[0].scope_id):
            raise UnknownJob(f"no job {job_id!r}")
        await self._verify_job(found[0])
        async for page in self._trail_pages(found[0].scope_id):
            await self._compare([entry for entry in page if entry.job_id == job_id])
        return self.counted

    async def everything(
        self, *, scope_id: str | None = None, heads: Sequence[TrailHead] = ()
    ) -> AuditReport:
        """Verify all jobs, or those of a scope, and the trails.

        Args:
            scope_id: The scope.
            heads: Ends of trails that were kept elsewhere: the trails still have to go through them.
        """
        after = ""
        while page := await self.storage.audited_jobs(scope_id=scope_id, after=after, limit=_JOBS):
            for job in page:
                await self._verify_job(job)
            after = page[-1].job_id
        ends = await self.storage.trail_heads()
        for head in ends:
            if scope_id in (None, head.scope_id):
                await self._verify_trail(head, heads)
        there = {head.scope_id for head in ends}
        for kept in heads:
            if kept.scope_id not in there and scope_id in (None, kept.scope_id):
                text = f"{_trail_of(kept.scope_id)} is not there, and had {kept.number} entries"
                self._found("head", kept.scope_id, None, 1, text)
        return self.counted

    def _found(
        self, problem: Problem, scope_id: str, job_id: str | None, place: int | None, text: str
    ) -> None:
        findings = self.counted.findings
        if len(findings) < MOST_FINDINGS:
            finding = AuditFinding(problem=problem, scope_id=scope_id, job_id=job_id, place=place, text=text)
            findings = (*findings, finding)
        self.counted = replace(self.counted, findings=findings, problems=self.counted.problems + 1)

    async def _verify_job(self, job: AuditedJob) -> None:
        """Verify a job's entries. One that goes on meanwhile is looked at again from where it was."""
        if not job.is_readable:
            self.counted = replace(self.counted, jobs=self.counted.jobs + 1)
            text = "the job's row cannot be read: what stands in its columns is none of ours"
            self._found("changed", str(job.scope_id), str(job.job_id), None, text)
            return
        seq, head = 0, first_head(job.job_id, job.scope_id)
        for _ in range(_TRIES):
            done = await self._verify_entries(job, seq, head)
            if done is None:
                break
            seq, head = done
            if (seq, head) == (job.last_seq, job.head):
                break
            now = await self.storage.audited([job.job_id])
            if not now:  # it was pruned meanwhile
                return
            (again,) = now
            if (again.last_seq, again.head) == (seq, head):
                break
            if (again.last_seq, again.head) == (job.last_seq, job.head):
                self._found_at_end(again, seq)
                break
            job = again
        counted = self.counted
        self.counted = replace(
            counted,
            jobs=counted.jobs + 1,
            pruned=counted.pruned + (job.content_pruned_at is not None and job.erased_at is None),
            erased=counted.erased + (job.erased_at is not None),
        )

    def _found_at_end(self, job: AuditedJob, seq: int) -> None:
        if seq < job.last_seq:
            text = f"the journal was cut off after entry {seq}: there were {job.last_seq}"
            self._found("cut_off", job.scope_id, job.job_id, seq + 1, text)
        elif seq > job.last_seq:
            text = f"entry {job.last_seq + 1} was inserted: the journal ended with entry {job.last_seq}"
            self._found("inserted", job.scope_id, job.job_id, job.last_seq + 1, text)
        else:
            text = f"the job's head does not belong to its last entry, {seq}: the head was changed, or all entries were"
            self._found("changed", job.scope_id, job.job_id, seq, text)

    async def _verify_entries(self, job: AuditedJob, seq: int, head: bytes) -> tuple[int, bytes] | None:
        """Verify a job's entries from a place on; return where they end, `None` when something is wrong."""
        salts, turns = Salts.read(job.salts), Turns()
        while page := await self.storage.audited_entries(job.job_id, after_seq=seq):
            for place, entry in enumerate(page):
                await turns.give()  # the data of one may be a megabyte
                made = link_of(entry, head, seq + 1, salts) if entry.seq == seq + 1 else None
                if made is None or made != entry.link:
                    return await self._broken(job, page[place:], seq, head)
                if problem := taken_away(job, entry):
                    now = await self.storage.audited([job.job_id])
                    if not now or taken_away(now[0], entry):
                        self._found("changed", job.scope_id, job.job_id, entry.seq, problem)
                        return None
                seq, head = entry.seq, made
            self.counted = replace(self.counted, entries=self.counted.entries + len(page))
        return seq, head

    async def _broken(
        self, job: AuditedJob, entries: Sequence[AuditedEntry], seq: int, head: bytes
    ) -> tuple[int, bytes] | None:
        """Say what is wrong with the first of some entries, unless the job was pruned or erased while it was read."""
        now = await self.storage.audited([job.job_id])
        if not now:
            return None
        if now[0].salts != job.salts:
            return await self._verify_entries(now[0], seq, head)
        more: Sequence[AuditedEntry] = ()
        if len(entries) < LOOK_AHEAD:
            more = await self.storage.audited_entries(
                job.job_id, after_seq=entries[-1].seq, limit=LOOK_AHEAD - len(entries)
            )
        problem, text = diagnosed([*entries[:LOOK_AHEAD], *more], head, seq + 1, Salts.read(job.salts))
        self._found(problem, job.scope_id, job.job_id, seq + 1, text)
        return None

    async def _verify_trail(self, end: TrailHead, kept: Sequence[TrailHead]) -> None:
        """Verify a scope's trail, and that the jobs in it are there and end as it says."""
        number, before = 0, b""
        wanted = {head.number: head.link for head in kept if head.scope_id == end.scope_id}
        async for page in self._trail_pages(end.scope_id):
            for entry in page:
                number += 1
                if entry.number != number:
                    text = f"entry {number} of {_trail_of(end.scope_id)} is missing"
                    return self._found("missing", end.scope_id, None, number, text)
                said = (entry.job_id, entry.seq, entry.head)
                made = trail_link(before, entry.scope_id, number, entry.at, entry.kind, said, entry.data)
                if made != entry.link:
                    text = f"entry {number} ({entry.kind}) of {_trail_of(end.scope_id)} was changed"
                    return self._found("changed", end.scope_id, None, number, text)
                if wanted.pop(number, made) != made:
                    text = f"entry {number} of {_trail_of(end.scope_id)} is not the one whose head was kept"
                    return self._found("head", end.scope_id, None, number, text)
                before = made
            self.counted = replace(self.counted, trail=self.counted.trail + len(page))
            await self._compare(page)
        for missing in sorted(wanted):
            text = f"{_trail_of(end.scope_id)} was cut off after entry {number}: a head of entry {missing} was kept"
            return self._found("cut_off", end.scope_id, None, number + 1, text)
        heads = (*self.counted.heads, TrailHead(end.scope_id, number, before))
        self.counted = replace(self.counted, heads=heads)
        return None

    async def _trail_pages(self, scope_id: str) -> AsyncIterator[Sequence[TrailEntry]]:
        after = 0
        while page := await self.storage.trail(scope_id, after=after):
            yield page
            after = page[-1].number

    async def _compare(self, page: Sequence[TrailEntry]) -> None:
        """Compare the ends of jobs that a trail knows with those that they have."""
        said = {entry.job_id: entry for entry in page if entry.kind == JOB_ENDED and entry.job_id is not None}
        there = {job.job_id: job for job in await self.storage.audited(list(said))}
        gone = [job_id for job_id in said if job_id not in there]
        for job_id in gone:
            entry = said[job_id]
            if entry.gone_at is None:  # it may have been pruned since the page was read
                (entry,) = await self.storage.trail(entry.scope_id, after=entry.number - 1, limit=1)
            if entry.gone_at is None:
                text = f"the job is missing; it has ended with {entry.seq} entries and was not pruned"
                self._found("job_missing", entry.scope_id, job_id, None, text)
            else:
                self.counted = replace(self.counted, gone=self.counted.gone + 1)
        for job_id, job in there.items():
            entry = said[job_id]
            if not job.is_readable or (job.last_seq, job.head) == (entry.seq, entry.head):
                continue
            if job.last_seq < (entry.seq or 0):
                text = f"the journal was cut off after entry {job.last_seq}: the trail says that there were {entry.seq}"
                self._found("cut_off", job.scope_id, job_id, job.last_seq + 1, text)
            else:
                text = "the job's head is not the one that the trail has of it: entries were changed, and links with them"
                self._found("changed", job.scope_id, job_id, None, text)


def _trail_of(scope_id: str) -> str:
    return "the trail of the installation" if scope_id == INSTALLATION else f"the trail of scope {scope_id!r}"
