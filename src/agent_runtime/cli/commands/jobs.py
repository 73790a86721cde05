"""`agent-runtime jobs`: list, cancel and unblock here, the larger commands in modules of their own."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import TYPE_CHECKING

import click

from agent_runtime.cli.chosen_jobs import ChosenJobs
from agent_runtime.cli.commands.jobs_resume import resume
from agent_runtime.cli.commands.jobs_retry import retry
from agent_runtime.cli.commands.jobs_show import result, show
from agent_runtime.cli.commands.jobs_submit import submit
from agent_runtime.cli.database import db_option, existing, opened, reading
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.filters import MOMENT, read_tags
from agent_runtime.cli.operators import known_operators
from agent_runtime.cli.output.amounts import moment
from agent_runtime.cli.output.jobs import job_json
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.output.standing import standing
from agent_runtime.cli.output.table import in_a_cell, show_table
from agent_runtime.values.job import JobFilter, JobStatus

if TYPE_CHECKING:
    from agent_runtime.settings import Settings

CANCEL_SECONDS = 10.0
"""How long `cancel` waits for the job's end."""


@click.group()
def jobs() -> None:
    """Submit, list, show, cancel, unblock, resume and retry jobs."""


for command in (resume, result, retry, show, submit):
    jobs.add_command(command)


@jobs.command("list")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice([str(status) for status in JobStatus]),
    help="May be repeated.",
)
@click.option("--scope", metavar="SCOPE", help="Only this scope's.")
@click.option("--operator", metavar="NAME", help="Only this operator's.")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    callback=read_tags,
    metavar="NAME=VALUE",
    help="Only those with this tag. May be repeated.",
)
@click.option(
    "--since", type=MOMENT, metavar="TIME", help="Made since then, in UTC: 2026-11-01T08:00, or 12h, or 7d."
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--before", metavar="JOB", help="Go on after this job: the last one of the page before.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@db_option
def list_jobs(
    db: str | None,
    status: tuple[str, ...],
    scope: str | None,
    operator: str | None,
    tags: dict[str, str],
    since: datetime | None,
    limit: int,
    before: str | None,
    as_json: bool,
) -> int:
    """List jobs, the newest first."""
    wanted = JobFilter(
        status=frozenset(JobStatus(name) for name in status) or None,
        scope_id=scope,
        operator=operator,
        tags=tags,
        since=since,
        limit=limit,
        before=before,
    )
    return asyncio.run(_list(existing(db), wanted, as_json))


async def _list(settings: Settings, wanted: JobFilter, as_json: bool) -> int:
    async with reading(settings) as kernel:
        if wanted.before is not None:
            await kernel.jobs.get(wanted.before)
        found = await kernel.jobs.list(wanted)
        workers = await kernel.storage.list_workers()
    if as_json:
        click.echo(json.dumps([job_json(job, standing(job, workers)) for job in found], indent=1))
        return OK
    if not found:
        say("no jobs")
        return OK
    rows = [
        (
            job.job_id,
            standing(job, workers),
            job.scope_id,
            job.operator or "–",
            moment(job.created_at),
            "" if job.deadline is None else moment(job.deadline),
            in_a_cell(job.error or ""),
        )
        for job in found
    ]
    show_table(
        ("job", "status", "scope", "operator", "created", "deadline", "error"),
        rows,
        sparse=("deadline", "error"),
    )
    if len(found) == wanted.limit:
        say(f"more: --before {found[-1].job_id}", err=True)
    return OK


@jobs.command()
@click.argument("job_id", metavar="JOB")
@click.option("--reason", help="Is kept with the job.")
@db_option
def cancel(db: str | None, job_id: str, reason: str | None) -> int:
    """Cancel a job. Steps in flight are settled first, so that nothing is unaccounted for."""
    return asyncio.run(_cancel(existing(db), job_id, reason))


async def _cancel(settings: Settings, job_id: str, reason: str | None) -> int:
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


@jobs.command()
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
