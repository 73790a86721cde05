"""The records of jobs, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from agent_runtime.ports.readers import Part
from agent_runtime.storage import rows
from agent_runtime.storage.queries import JOB_IDS, LONG_IN_JOBS, count_jobs, list_jobs
from agent_runtime.storage.sqlite import statements as sql
from agent_runtime.storage.sqlite.reader import Reader, first_rows
from agent_runtime.storage.sqlite.values import DIALECT, decode
from agent_runtime.values.job import JobFilter, JobRecord
from llm_client.turns import aside

_JOB = ", ".join(rows.JOB)
_ONE = f"SELECT {_JOB} FROM runtime_jobs WHERE job_id = ?"  # noqa: S608 -- names from `rows`
_LONG = [list(rows.JOB).index(name) for name in LONG_IN_JOBS]
_CHAIN_HEAD = f"""
SELECT {_JOB} FROM runtime_jobs
WHERE (job_id = ? OR (chain_id = ? AND predecessor_id IS NOT NULL)) AND successor_id IS NULL
"""  # noqa: S608 -- names from `rows`


class JobReader:
    """Reads jobs."""

    _reader: Reader

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return a job, or `None`."""
        found = await self._reader.rows(_ONE, (job_id,))
        job = _job(found[0]) if found else None
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def find_job(self, scope_id: str, idempotency_key: str) -> JobRecord | None:
        """Return the job created under a key, or `None`."""
        found = await self._reader.rows(
            f"SELECT {_JOB} FROM runtime_jobs WHERE scope_id = ? AND idempotency_key = ? AND successor_id IS NULL",  # noqa: S608
            (scope_id, idempotency_key),
        )
        return _job(found[0]) if found else None

    async def chain_head(self, chain_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return the job of a chain in whose place no other goes on, or `None`."""
        found = await self._reader.rows(_CHAIN_HEAD, (chain_id, chain_id))
        job = _job(found[0]) if found else None
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def list_jobs(self, filter: JobFilter) -> Sequence[JobRecord]:  # noqa: A002 -- the port's name
        """Return jobs, newest first."""
        return [_job(row) for row in await self._reader.rows(*list_jobs(filter, DIALECT))]

    async def part_of_jobs(self, filter: JobFilter, *, max_bytes: int) -> Part[JobRecord]:  # noqa: A002
        """Return jobs, newest first, and read no further."""
        ids = list_jobs(filter, DIALECT, JOB_IDS, more=1)
        found, has_more = await self._reader.run(
            lambda db: first_rows(db, ids, _ONE, _LONG, limit=filter.limit, max_bytes=max_bytes)
        )
        return Part(await aside(lambda: list(map(_job, found))), has_more)

    async def stopped_jobs(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Return which of these jobs have ended or are blocked."""
        found = await self._reader.rows(sql.STOPPED_JOBS, (orjson.dumps(list(job_ids)).decode(),))
        return [job_id for (job_id,) in found]

    async def count_jobs(self, filter: JobFilter) -> int:  # noqa: A002
        """Return how many jobs match."""
        ((count,),) = await self._reader.rows(*count_jobs(filter, DIALECT))
        return int(count)

    async def count_waiting(self, scope_id: str, *, most: int) -> int:
        """Return how many jobs of a scope wait for a worker, up to `most`."""
        ((count,),) = await self._reader.rows(sql.WAITING_IN_SCOPE, (scope_id, most))
        return int(count)


def _job(row: Sequence[Any]) -> JobRecord:
    return rows.job_record(decode(rows.JOB, row))
