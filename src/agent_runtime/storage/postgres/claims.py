"""Reading claimed jobs with their journals: those that are claimed at the same time are read together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from agent_runtime.ports.journal import Claim
from agent_runtime.storage import rows
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.apply import Claimed
from agent_runtime.storage.postgres.connections import Connections
from agent_runtime.storage.postgres.values import decode, event_records, from_text, to_text
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobRecord, JobStatus
from llm_client.background import gather_or_cancel, in_background
from llm_client.turns import in_chunks

MAX_EVENTS: Final = 10_000
"""Entries read at once, but for a single job that has more."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Wanted:
    """A claim whose job is to be read."""

    claimed: Claimed
    owner: str
    future: asyncio.Future[Claim]

    @property
    def job_id(self) -> str:
        return self.claimed.job.job_id

    @property
    def older(self) -> int:
        """How many entries the journal had before the claim."""
        return (self.claimed.new_events[0].seq or 1) - 1

    def claim(self, job: JobRecord, older: Sequence[RuntimeEvent]) -> Claim:
        """Return the claim as it was written, whatever has happened to the job since."""
        locked, new = self.claimed
        job = replace(
            job,
            fence=locked.fence,
            owner=self.owner,
            status=JobStatus.RUNNING,
            deaths=locked.deaths,
            lone_deaths=locked.lone_deaths,
            open_claim=locked.open_claim,
            updated_at=locked.updated_at,
            started_at=locked.started_at,
            last_seq=self.older + len(new),
        )
        return Claim(job=job, events=[*older, *new])


class ClaimReader:
    """Reads what claims need besides what they have written.

    Args:
        connections: Where its connections come from.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._wanted: deque[_Wanted] = deque()
        self._task: asyncio.Task[None] | None = None

    async def read(self, claimed: Claimed, *, owner: str) -> Claim:
        """Return a claimed job and its journal.

        Raises:
            StorageError: The server cannot be reached.
        """
        loop = asyncio.get_running_loop()
        wanted = _Wanted(claimed=claimed, owner=owner, future=loop.create_future())
        self._wanted.append(wanted)
        if self._task is None:
            self._task = in_background(self._serve(), name="postgres claims")
        return await wanted.future

    async def _serve(self) -> None:
        """Read until nobody waits any more."""
        try:
            while self._wanted:
                await self._read(self._next_batch())
        finally:
            self._task = None

    def _next_batch(self) -> list[_Wanted]:
        batch = [self._wanted.popleft()]
        size = batch[0].older
        while self._wanted and size + self._wanted[0].older <= MAX_EVENTS:
            batch.append(self._wanted.popleft())
            size += batch[-1].older
        return batch

    async def _read(self, batch: list[_Wanted]) -> None:
        try:
            jobs, events = await self._fetch([to_text(wanted.job_id) for wanted in batch])
            for wanted in batch:
                job = jobs[wanted.job_id]
                older = events.get(wanted.job_id, [])[: wanted.older]
                made: list[RuntimeEvent] = []
                async for part in in_chunks(older):
                    made += await event_records([(job.job_id, job.scope_id, tuple(row)[1:]) for row in part])
                if not wanted.future.done():
                    wanted.future.set_result(wanted.claim(job, made))
        except BaseException as error:
            for wanted in batch:
                if not wanted.future.done():
                    wanted.future.set_exception(error)
            if not isinstance(error, Exception):
                raise

    async def _fetch(self, job_ids: list[str]) -> tuple[dict[str, JobRecord], dict[str, list[Any]]]:
        """Return records and journals of jobs, by id; the journals may have grown since the claims."""
        fetch = self._connections.fetch
        found, entries = await gather_or_cancel(
            [fetch(sql.CLAIMED_JOBS, job_ids), fetch(sql.CLAIMED_EVENTS, job_ids)]
        )
        jobs = [rows.job_record(decode(rows.JOB, tuple(row))) for row in found]
        events: dict[str, list[Any]] = {}
        async for part in in_chunks(entries):
            for entry in part:
                events.setdefault(from_text(entry[0]), []).append(entry)
        return {job.job_id: job for job in jobs}, events
