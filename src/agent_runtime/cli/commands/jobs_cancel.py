"""`agent-runtime jobs cancel` and `jobs unblock`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from agent_runtime.cli.chosen_jobs import ChosenJobs
from agent_runtime.cli.database import db_option, existing, opened, reading
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.operators import known_operators
from agent_runtime.cli.output.printable import say

if TYPE_CHECKING:
    from agent_runtime.settings import Settings

CANCEL_SECONDS = 10.0
"""How long `cancel` waits for the job's end."""


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--reason", help="Is kept with the job.")
@db_option
def cancel(db: str | None, job_id: str, reason: str | None) -> int:
    """Cancel a job. Steps in flight are settled first, so that nothing is unaccounted for."""
    return asyncio.run(stopped(existing(db), job_id, reason))


async def stopped(settings: Settings, job_id: str, reason: str | None) -> int:
    """Cancel a job, wait for its end for a while, and say what has become of it."""
    async with reading(settings) as kernel:
        head = await kernel.jobs.head(job_id)
        job_id = (await kernel.jobs.cancel(head.job_id, reason)).job_id
    dispatcher = ChosenJobs()
    async with opened(settings, operators=known_operators(), dispatcher=dispatcher) as kernel:
        dispatcher.choose(job_id)
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                ended = await kernel.wait_for_end(job_id)
        except TimeoutError:
            say(f"{job_id} is asked to stop; it ends when the process that executes it sees that")
            return OK
    say(f"{job_id} is {ended.type.removeprefix('job.')}")
    return OK


@click.command()
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True)
@db_option
def unblock(db: str | None, job_ids: tuple[str, ...]) -> int:
    """Have blocked jobs tried again, also by versions of the code that have blocked them.

    The workers that know their operators do that; without one, the jobs wait for it.
    """
    return asyncio.run(_unblock(existing(db), job_ids))


async def _unblock(settings: Settings, job_ids: tuple[str, ...]) -> int:
    async with reading(settings) as kernel:
        for job_id in job_ids:
            job = await kernel.jobs.unblock(job_id)
            known = any(job.operator in worker.operators for worker in await kernel.storage.list_workers())
            follows = "is tried again" if known else f"waits for a worker that knows {job.operator!r}"
            say(f"{job_id} {follows}")
    return OK
