"""Whether anybody works on the jobs that run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent_runtime.kernel.kernel import Kernel
from agent_runtime.values.job import JobRecord, JobStatus
from agent_runtime.worker.standing import standing


async def standing_of(kernel: Kernel, job: JobRecord) -> str:
    """Return a job's status, or that nobody works on it any more."""
    return (await standings(kernel, [job]))[job.job_id]


async def standings(kernel: Kernel, jobs: Sequence[JobRecord]) -> Mapping[str, str]:
    """Return the same of several jobs, by their ids. The workers are asked for where another process is to work on one."""
    elsewhere = [job for job in jobs if job.status is JobStatus.RUNNING and job.owner != kernel.worker_id]
    workers = await kernel.storage.list_workers() if elsewhere else ()
    told = {job.job_id: standing(job, workers) for job in elsewhere}
    return {job.job_id: told.get(job.job_id, str(job.status)) for job in jobs}
