"""The records of jobs, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent_runtime.ports.readers import Part
from agent_runtime.storage import rows
from agent_runtime.storage.postgres import statements as sql
from agent_runtime.storage.postgres.connections import Connections, first_rows
from agent_runtime.storage.postgres.values import (
    DIALECT,
    decode,
    from_text,
    to_text,
)
from agent_runtime.storage.queries import JOB_IDS, LONG_IN_JOBS, count_jobs, list_jobs, part
from agent_runtime.values.job import JobFilter, JobRecord
from llm_client.turns import aside

_JOB = ", ".join(rows.JOB)
_ONE_JOB = f"SELECT {_JOB} FROM runtime_jobs WHERE job_id = $1"  # noqa: S608 -- names from `rows`
PART = part("runtime_jobs", "job_id", rows.JOB, LONG_IN_JOBS)
CHAIN_HEAD = f"""
SELECT {_JOB} FROM runtime_jobs
WHERE (job_id = $1 OR (chain_id = $1 AND predecessor_id IS NOT NULL)) AND successor_id IS NULL
"""  # noqa: S608


class JobReader:
    """Reads jobs."""

    _connections: Connections

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return a job, or `None`."""
        job = await self._job(_ONE_JOB, job_id)
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def find_job(self, scope_id: str, idempotency_key: str) -> JobRecord | None:
        """Return the job created under a key, or `None`."""
        statement = f"""
        SELECT {_JOB} FROM runtime_jobs WHERE scope_id = $1 AND idempotency_key = $2 AND successor_id IS NULL
        """  # noqa: S608
        return await self._job(statement, scope_id, idempotency_key)

    async def chain_head(self, chain_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return the job of a chain in whose place no other goes on, or `None`."""
        job = await self._job(CHAIN_HEAD, chain_id)
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def _job(self, statement: str, *parameters: str) -> JobRecord | None:
        found = await self._connections.fetch(statement, *map(to_text, parameters))
        return _job(found[0]) if found else None

    async def list_jobs(self, filter: JobFilter) -> Sequence[JobRecord]:  # noqa: A002 -- the port's name
        """Return jobs, newest first."""
        text, parameters = list_jobs(filter, DIALECT)
        return [_job(row) for row in await self._connections.fetch(text, *parameters)]

    async def part_of_jobs(self, filter: JobFilter, *, max_bytes: int) -> Part[JobRecord]:  # noqa: A002
        """Return jobs, newest first, and read no further."""
        ids = list_jobs(filter, DIALECT, JOB_IDS, more=1)
        found, has_more = await first_rows(
            self._connections, ids, PART, limit=filter.limit, max_bytes=max_bytes
        )
        return Part(await aside(lambda: list(map(_job, found))), has_more)

    async def stopped_jobs(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Return which of these jobs have ended or are blocked."""
        found = await self._connections.fetch(sql.STOPPED_JOBS, list(map(to_text, job_ids)))
        return [from_text(job_id) for (job_id,) in found]

    async def count_jobs(self, filter: JobFilter) -> int:  # noqa: A002
        """Return how many jobs match."""
        text, parameters = count_jobs(filter, DIALECT)
        ((count,),) = await self._connections.fetch(text, *parameters)
        return int(count)

    async def count_waiting(self, scope_id: str, *, most: int) -> int:
        """Return how many jobs of a scope wait for a worker, up to `most`."""
        ((_, count),) = await self._connections.fetch(sql.WAITING_IN, [to_text(scope_id)], most)
        return int(count)


def _job(row: Any) -> JobRecord:
    return rows.job_record(decode(rows.JOB, tuple(row)))
