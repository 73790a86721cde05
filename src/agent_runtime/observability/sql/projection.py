"""The projection that fills the logs from the journals of all jobs."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Literal

from sqlalchemy import Connection, Table, select, update

from agent_runtime.audit.erasure import ERASED
from agent_runtime.observability.sql.copies import Copies
from agent_runtime.observability.sql.database import BATCH, LogDatabase, RowRefused, database_of
from agent_runtime.observability.sql.entries import LINKS, EntryReader
from agent_runtime.observability.sql.erasing import LogEraser
from agent_runtime.observability.sql.ids import call_row_of
from agent_runtime.observability.sql.kept_texts import KeptTexts, store_rule, stored_rule
from agent_runtime.observability.sql.tables import execution_logs, llm_call_logs
from agent_runtime.observability.sql.texts import stored_name
from agent_runtime.observability.sql.writing import Change
from agent_runtime.ports.erasure import ErasedSubject
from agent_runtime.ports.feed import FeedEntry
from agent_runtime.ports.storage import Storage
from agent_runtime.values.budget import LedgerEntry, LedgerFilter
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord
from llm_client.logs import logger_of
from llm_client.pricing.book import PriceBook
from llm_client.public_text import text_of

PROJECTION: Final = "logs"
MAX_JOBS: Final = 5_000
"""Jobs whose owners are remembered."""
MAX_DEPTH: Final = 50
"""Of families that are looked through for what a job belongs to."""
LATE: Final = timedelta(minutes=10)
"""How long a correction may take to be written after the time it bears."""
_PAGE: Final = 1000
_AT_ONCE: Final = 20
"""Entries of a journal that are read at once: their content may be long."""
logger = logger_of(__name__)


class JournalLogs:
    """Fills `execution_logs` and `llm_call_logs` from the journals: a projection, to be given to a kernel.

    A job is an execution with the job's id as its `execution_id`; its steps and tools' calls are rows below it, each attempt to ask a model
    is a row of the calls. What a correction of the ledger says is taken over. Given the same journals it writes the same rows, so
    `agent-runtime logs rebuild` can make them anew.

    Args:
        storage: Whose journals.
        db: Where the logs stand; by default in the storage's own database.
        content: Whether texts are kept: what was asked, answered, given and returned. By default as it was said last, be it by another
            process, else they are.
        without_content: Scopes whose texts are not kept in any case. Likewise.
        prices: What the parts of a call cost, and what caches saved.
    """

    name = PROJECTION
    begin: Literal["first", "now"] = "first"

    def __init__(
        self,
        storage: Storage,
        db: object = None,
        *,
        content: bool | None = None,
        without_content: Collection[str] | None = None,
        prices: PriceBook | None = None,
    ) -> None:
        self._storage = storage
        self._database: LogDatabase = database_of(storage if db is None else db)
        self._said = KeptTexts.said(content, without_content)
        self._kept: KeptTexts | None = None
        self._reader = EntryReader(prices or PriceBook())
        self._jobs: OrderedDict[str, JobRecord] = OrderedDict()
        self._copies = Copies(storage)
        self._corrected_until: datetime | None = None

    async def prepare(self) -> None:
        """Have it known whose texts are kept, before anybody writes a row."""
        if self._said is not None:
            await self._database.run(partial(store_rule, rule=self._said))
        self._kept = self._said or await self._database.read(stored_rule)

    async def project(self, entries: Sequence[FeedEntry]) -> None:
        """Write what entries tell."""
        if self._kept is None:
            await self.prepare()
        jobs = await self._jobs_of(entries)
        told = [
            event for _, event in entries if not await self._copies.is_copy(event, jobs[event.job_id or ""])
        ]
        changes = await asyncio.to_thread(self._changes, told, jobs)
        for first in range(0, len(changes), BATCH):
            await self._write(changes[first : first + BATCH])
        await self._take_back(list(jobs))
        doubtful = [event.timestamp for event in told if _may_be_corrected(event)]
        await self.correct(since=min(doubtful, default=None))

    async def _write(self, changes: Sequence[Change]) -> None:
        """Write changes. A row that the database refuses is left out: all jobs' rows wait for this one."""
        try:
            await self._database.write(changes)
        except RowRefused as error:
            if len(changes) == 1:
                logger.warning("a row of %s was not written: %s", changes[0].table.name, error)
                return
            middle = len(changes) // 2
            await self._write(changes[:middle])
            await self._write(changes[middle:])

    async def _take_back(self, job_ids: Sequence[str]) -> None:
        """Empty the rows of jobs that were erased since their entries were read: their eraser has found nothing of it yet."""
        erased = [one for one in await self._storage.audited(job_ids) if one.erased_at is not None]
        for one in erased:
            self._jobs.pop(one.job_id, None)
            job = await self._storage.get_job(one.job_id)
            name = None if job is None else job.principal_id or job.session_id
            subject = ErasedSubject(
                scope_id=one.scope_id,
                job_ids=(one.job_id,),
                pseudonym=name if name is not None and name.startswith(f"{ERASED}-") else ERASED,
                at=one.erased_at or self._storage.clock.now(),
            )
            await LogEraser(self._database).erase(subject)

    async def tell_of(self, job_ids: Iterable[str]) -> None:
        """Write what the journals of jobs tell, without texts: afterwards they tell it no more."""
        self._kept = KeptTexts(everywhere=False)
        for job_id in job_ids:
            after = 0
            while events := await self._storage.events(job_id, after_seq=after, limit=_AT_ONCE):
                if not after and not events[0].data:
                    break  # it was erased before
                after = events[-1].seq or 0
                await self.project([FeedEntry(0, event) for event in events])

    async def begin_anew(self) -> None:
        """Let every row be written anew by the entries that it tells of; without this, entries that come again change nothing."""
        for table in (execution_logs, llm_call_logs):
            after: str | None = ""
            while after is not None:
                after = await self._database.run(partial(_rewound, table=table, after=after))

    async def aclose(self) -> None:
        """Close what was opened for it; a kernel does not."""
        await self._database.aclose()

    async def correct(self, *, since: datetime | None = None) -> None:
        """Take over what the ledger has found out later.

        Args:
            since: From when on corrections are looked at; those that were not looked at yet are in any case.
        """
        known = self._corrected_until
        since = None if known is None else min(since or known, known - LATE)
        latest = known
        async for entry in self._corrections(since):
            change = await self._correction(entry)
            if change is not None:
                await self._database.run(partial(_correct, change=change, scope_id=entry.scope_id))
            latest = entry.timestamp if latest is None else max(latest, entry.timestamp)
        self._corrected_until = None if latest is None else min(latest, self._storage.clock.now())

    async def _corrections(self, since: datetime | None) -> Any:
        after = None
        while True:
            wanted = LedgerFilter(since=since, corrections=True, after=after, limit=_PAGE)
            page = await self._storage.ledger_entries(wanted)
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                return
            after = page[-1].position

    async def _correction(self, entry: LedgerEntry) -> Change | None:
        """Return what the row says when a correction is taken over: the entry as it was, and the difference."""
        corrected = entry.metadata.get("corrects")
        if not isinstance(corrected, str):
            return None
        wrong = await self._storage.get_ledger_entry(entry.scope_id, corrected)
        if wrong is None or wrong.job_id is None:
            return None
        values = {
            "input_tokens": wrong.input_tokens + entry.input_tokens,
            "output_tokens": wrong.output_tokens + entry.output_tokens,
            "cached_tokens": wrong.cached_tokens + entry.cached_tokens,
            "reasoning_tokens": wrong.reasoning_tokens + entry.reasoning_tokens,
            "total_cost_units": (wrong.units or 0) + (entry.units or 0),
            "input_cost_units": None,
            "output_cost_units": None,
            "saved_cost_units": None,
            "price_source": stored_name(entry.price_source),
            "uncertain": False,
        }
        return Change(llm_call_logs, call_row_of(corrected), values)

    def _changes(self, told: Iterable[RuntimeEvent], jobs: dict[str, JobRecord]) -> list[Change]:
        changes = []
        for event in told:
            content = self._kept is not None and self._kept.of(event.scope_id)
            change = self._change(event, jobs[event.job_id or ""], content=content)
            if change is not None:
                changes.append(change)
        return changes

    def _change(self, event: RuntimeEvent, job: JobRecord, *, content: bool) -> Change | None:
        """Return what an entry changes; without its texts where these cannot be read, nothing where none of it can."""
        try:
            return self._reader.read(event, job, content=content)
        except Exception as error:  # noqa: BLE001 -- all jobs' rows wait for this one
            logger.warning(
                "entry %s of job %s is not told in full by the logs: %s",
                event.seq,
                event.job_id,
                text_of(error),
            )
        return self._change(event, job, content=False) if content else None

    async def _jobs_of(self, entries: Sequence[FeedEntry]) -> dict[str, JobRecord]:
        """Return the jobs of entries; what is looked at of them does not change."""
        found: dict[str, JobRecord] = {}
        for _, event in entries:
            job_id = event.job_id or ""
            if job_id in found:
                continue
            job = await self._looked_up(job_id)
            if job is None:
                job = self._jobs[job_id] = JobRecord(
                    job_id=job_id,
                    scope_id=event.scope_id,
                    created_at=event.timestamp,
                    updated_at=event.timestamp,
                )
            found[job_id] = job
        while len(self._jobs) > MAX_JOBS:
            self._jobs.popitem(last=False)
        return found

    async def _looked_up(self, job_id: str, *, depth: int = 0) -> JobRecord | None:
        """Return a job as the logs tell of it: it belongs to what its parent belongs to, unless it says so itself."""
        job = self._jobs.get(job_id)
        if job is None and (job := await self._storage.get_job(job_id)) is not None:
            above = job.parent_job_id if depth < MAX_DEPTH else None
            parent = None if above is None else await self._looked_up(above, depth=depth + 1)
            if parent is not None and parent.scope_id == job.scope_id:
                inherited = {name: parent.metadata[name] for name in LINKS if name in parent.metadata}
                job = replace(job, metadata={**inherited, **job.metadata})
            self._jobs[job_id] = job
        if job is not None:
            self._jobs.move_to_end(job_id)
        return job


def _may_be_corrected(event: RuntimeEvent) -> bool:
    usage = event.data.get("usage") if event.type.startswith("model.") else None
    return usage is not None and (bool(event.data.get("uncertain")) or usage.get("cost") is None)


def _rewound(connection: Connection, table: Table, after: str) -> str | None:
    """Forget of some rows which entries they tell of; return the last one, `None` after all."""
    query = select(table.c.id).where(table.c.last_seq.is_not(None)).order_by(table.c.id).limit(_PAGE)
    ids = [
        str(one) for one in connection.execute(query.where(table.c.id > after) if after else query).scalars()
    ]
    connection.execute(update(table).where(table.c.id.in_(ids)).values(last_seq=None))
    return ids[-1] if ids else None


def _correct(connection: Any, change: Change, scope_id: str) -> None:
    from agent_runtime.observability.sql.writing import counted, write

    row = counted(connection, change.table, [change.id], locked=True).get(change.id)
    if row is not None and row["scope_id"] == scope_id:
        write(connection, [change])
