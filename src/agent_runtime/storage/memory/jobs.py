"""The records of jobs, as they are read."""

from __future__ import annotations

from collections.abc import Sequence

from agent_runtime.ports.readers import Part
from agent_runtime.storage.cursors import last_of_page
from agent_runtime.storage.memory.state import State
from agent_runtime.storage.queries import LONG_IN_JOBS
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus
from llm_client.json_text import dumps


class JobReader:
    """Reads jobs."""

    _state: State

    async def get_job(self, job_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return a job, or `None`."""
        job = self._state.jobs.get(job_id)
        return job if job is not None and scope_id in (None, job.scope_id) else None

    async def find_job(self, scope_id: str, idempotency_key: str) -> JobRecord | None:
        """Return the job created under a key, or `None`."""
        job_id = self._state.keys.get((scope_id, idempotency_key))
        return self._state.jobs[job_id] if job_id is not None else None

    async def chain_head(self, chain_id: str, *, scope_id: str | None = None) -> JobRecord | None:
        """Return the job of a chain that has no successor, or `None`."""
        for job in self._state.jobs.values():
            if job.chain_id == chain_id and job.successor_id is None and scope_id in (None, job.scope_id):
                return job
        return None

    async def list_jobs(self, filter: JobFilter) -> Sequence[JobRecord]:  # noqa: A002 -- the port's name
        """Return jobs, newest first."""
        return self._newest(filter)[: filter.limit]

    def _newest(self, wanted: JobFilter) -> list[JobRecord]:
        found = sorted(self._matching(wanted), key=lambda job: job.job_id, reverse=True)
        return [job for job in found if wanted.before is None or job.job_id < wanted.before]

    async def part_of_jobs(self, filter: JobFilter, *, max_bytes: int) -> Part[JobRecord]:  # noqa: A002
        """Return jobs, newest first, as far as they are short enough."""
        found = self._newest(filter)
        sizes = ((number, _bytes_of(job)) for number, job in enumerate(found[: filter.limit], 1))
        upto = last_of_page(sizes, max_bytes) or 0
        return Part(found[:upto], upto < len(found))

    async def stopped_jobs(self, job_ids: Sequence[str]) -> Sequence[str]:
        """Return which of these jobs have ended or are blocked."""
        jobs = self._state.jobs
        known = (jobs[job_id] for job_id in job_ids if job_id in jobs)
        return [job.job_id for job in known if job.status.is_terminal or job.status is JobStatus.BLOCKED]

    async def count_jobs(self, filter: JobFilter) -> int:  # noqa: A002
        """Return how many jobs match."""
        return len(self._matching(filter))

    def _matching(self, wanted: JobFilter) -> list[JobRecord]:
        names = ("scope_id", "principal_id", "session_id", "parent_job_id", "chain_id", "operator")
        asked = [(name, value) for name in names if (value := getattr(wanted, name)) is not None]
        return [
            job
            for job in self._state.jobs.values()
            if all(getattr(job, name) == value for name, value in asked)
            and (wanted.status is None or job.status in wanted.status)
            and (wanted.since is None or job.created_at >= wanted.since)
            and wanted.tags.items() <= job.tags.items()
        ]

    async def count_waiting(self, scope_id: str, *, most: int) -> int:
        """Return how many jobs of a scope wait for a worker, up to `most`."""
        return min(most, self._state.waiting(scope_id))


def _bytes_of(job: JobRecord) -> int:
    return sum(len(dumps(dict(getattr(job, name)))) for name in LONG_IN_JOBS)
