"""Erasing: the content of somebody's jobs goes, what they cost and the links of their entries stay."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from agent_runtime.errors import InvalidInput, InvalidTransition, UnknownJob
from agent_runtime.ports.audit import Note
from agent_runtime.ports.erasure import ErasedSubject, Eraser
from agent_runtime.ports.ids import new_seed
from agent_runtime.ports.storage import Storage
from agent_runtime.values.job import JobFilter, JobRecord
from llm_client.json_text import JsonObject

ERASED: Final = "erased"
"""The kind of a trail's entry that says who has erased what."""
_AT_ONCE: Final = 100
"""Jobs that are marked in one transaction."""
_PAGE: Final = 500
_ROUNDS: Final = 10
"""How often a family is looked through for jobs that came while it was erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureSubject:
    """Whose content is to go: a person's, a session's, or one job's with its family.

    Raises:
        InvalidInput: None of them is named, or more than one.
    """

    scope_id: str
    principal_id: str | None = None
    session_id: str | None = None
    job_id: str | None = None

    def __post_init__(self) -> None:
        if [self.principal_id, self.session_id, self.job_id].count(None) != 2:
            raise InvalidInput("say whose content is to go: a principal's, a session's, or a job's")

    @property
    def kind(self) -> Literal["principal", "session", "job"]:
        """What is named."""
        if self.principal_id is not None:
            return "principal"
        return "session" if self.session_id is not None else "job"


@dataclass(slots=True, kw_only=True)
class ErasureReport:
    """What was erased."""

    jobs: int = 0
    entries: int = 0
    rows: int = 0
    """Ledger entries, counters, budgets and messages that belong to no job of the erasure."""
    pseudonym: str
    elsewhere: dict[str, int] = field(default_factory=dict)
    """By other erasers, by their names."""


class Erasure:
    """Erases content.

    Args:
        storage: Where it is.
        erasers: Others that keep some: tables, files, an index. They come before the storage, which alone knows who is meant.
    """

    def __init__(self, storage: Storage, *, erasers: Iterable[Eraser] = ()) -> None:
        self._storage = storage
        self._erasers = tuple(erasers)

    async def family(self, subject: ErasureSubject) -> list[JobRecord]:
        """Return the jobs that are meant, with those that went on as them, and all their children.

        Raises:
            UnknownJob: There is no such job in this scope.
            InvalidInput: A job has a parent that is not meant, and that has its result: that one's erasure covers it.
        """
        found: dict[str, JobRecord] = {}
        todo = [job async for job in self._named(subject)]
        while todo:
            job = todo.pop()
            if job.job_id in found:
                continue
            found[job.job_id] = job
            for wanted in (
                JobFilter(scope_id=job.scope_id, chain_id=job.chain_id, limit=_PAGE),
                JobFilter(parent_job_id=job.job_id, limit=_PAGE),
            ):
                todo += [other async for other in self._all(wanted) if other.job_id not in found]
        strangers = sorted({job.parent_job_id for job in found.values() if job.parent_job_id} - found.keys())
        for parent in strangers:
            if await self._storage.audited([parent]):
                raise InvalidInput(
                    f"job {parent!r} has children of these, and what they have answered: erase that job, or its family's first one"
                )
        return list(found.values())

    async def erase(self, subject: ErasureSubject, *, by: str, reason: str | None = None) -> ErasureReport:
        """Take away what the jobs of a subject have been asked, have done and answered, and their questions, messages and labels.

        States, times, amounts and hashes stay, the latter salted with what is forgotten. Names of people, sessions and runs in ledger
        entries and counters become one pseudonym. Made again when it was interrupted.

        Args:
            subject: Whose.
            by: Who erases, for the trail.
            reason: Why, for the trail; no content.

        Raises:
            InvalidTransition: A job has not ended. Nothing was erased.
            InvalidInput: See `family`.
        """
        report = ErasureReport(pseudonym=f"{ERASED}-{new_seed()[:16]}")
        done: set[str] = set()
        for _ in range(_ROUNDS):
            jobs = [job for job in await self.family(subject) if job.job_id not in done]
            active = [job.job_id for job in jobs if job.status.is_active]
            if active:
                raise InvalidTransition(
                    f"{len(active)} of {len(jobs)} jobs have not ended, {active[0]!r} for one: cancel them first"
                )
            if not jobs:
                break
            await self._erase_jobs(jobs, subject, report, Note(ERASED, _said(subject, report, by, reason)))
            done |= {job.job_id for job in jobs}
        if subject.principal_id is not None or subject.session_id is not None:
            await self._erase_names(subject, report)
        return report

    async def _erase_jobs(
        self, jobs: Sequence[JobRecord], subject: ErasureSubject, report: ErasureReport, note: Note
    ) -> None:
        scopes: dict[str, list[str]] = {}
        for job in jobs:
            scopes.setdefault(job.scope_id, []).append(job.job_id)
        for scope_id, job_ids in scopes.items():
            for first in range(0, len(job_ids), _AT_ONCE):
                some = job_ids[first : first + _AT_ONCE]
                now = self._storage.clock.now()
                said = Note(note.kind, {**note.data, "job_ids": some})
                marked = await self._storage.begin_erasing(some, scope_id=scope_id, at=now, note=said)
                await self._tell(
                    ErasedSubject(scope_id=scope_id, job_ids=marked, pseudonym=report.pseudonym, at=now),
                    report,
                )
                for job_id in marked:
                    while (count := await self._storage.erase_entries(job_id)) > 0:
                        report.entries += count
                report.jobs += len(marked)
        deepest = sorted(
            jobs, key=lambda job: -job.depth
        )  # what is interrupted finds the others through those above them
        for first in range(0, len(deepest), _AT_ONCE):
            some = [job.job_id for job in deepest[first : first + _AT_ONCE]]
            await self._storage.finish_erasing(some, pseudonym=report.pseudonym)

    async def _erase_names(self, subject: ErasureSubject, report: ErasureReport) -> None:
        erased = ErasedSubject(
            scope_id=subject.scope_id,
            principal_id=subject.principal_id,
            session_id=subject.session_id,
            pseudonym=report.pseudonym,
            at=self._storage.clock.now(),
        )
        await self._tell(erased, report)
        report.rows = await self._storage.erase_names(
            scope_id=subject.scope_id,
            principal_id=subject.principal_id,
            session_id=subject.session_id,
            pseudonym=report.pseudonym,
        )

    async def _tell(self, subject: ErasedSubject, report: ErasureReport) -> None:
        for eraser in self._erasers:
            count = await eraser.erase(subject)
            report.elsewhere[eraser.name] = report.elsewhere.get(eraser.name, 0) + count

    async def _named(self, subject: ErasureSubject) -> AsyncIterator[JobRecord]:
        if subject.job_id is not None:
            job = await self._storage.get_job(subject.job_id, scope_id=subject.scope_id)
            if job is None:
                raise UnknownJob(f"no job {subject.job_id!r} in scope {subject.scope_id!r}")
            yield job
            return
        wanted = JobFilter(
            scope_id=subject.scope_id,
            principal_id=subject.principal_id,
            session_id=subject.session_id,
            limit=_PAGE,
        )
        async for job in self._all(wanted):
            yield job

    async def _all(self, wanted: JobFilter) -> AsyncIterator[JobRecord]:
        while page := await self._storage.list_jobs(wanted):
            for job in page:
                yield job
            wanted = replace(wanted, before=page[-1].job_id)


def _said(subject: ErasureSubject, report: ErasureReport, by: str, reason: str | None) -> JsonObject:
    """Return what the trail is told: nothing that is erased."""
    return {"what": subject.kind, "by": by, "reason": reason, "pseudonym": report.pseudonym}
