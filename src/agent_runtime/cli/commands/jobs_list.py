"""`agent-runtime jobs list`."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime

import click

from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.filters import MOMENT, read_tags
from agent_runtime.cli.output.amounts import moment
from agent_runtime.cli.output.jobs import job_json
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.output.table import in_a_cell, show_table
from agent_runtime.values.job import JobFilter, JobStatus


@click.command("list")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice([str(status) for status in JobStatus]),
    help="May be repeated.",
)
@click.option("--scope", metavar="SCOPE", help="Only this scope's.")
@click.option("--principal", metavar="PRINCIPAL", help="Only this one's.")
@click.option("--session", metavar="SESSION", help="Only this session's.")
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
@place_options
def list_jobs(
    place: Place,
    status: tuple[str, ...],
    scope: str | None,
    principal: str | None,
    session: str | None,
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
        principal_id=principal,
        session_id=session,
        operator=operator,
        tags=tags,
        since=since,
        limit=limit,
        before=before,
    )
    return asyncio.run(_list(place, wanted, as_json))


async def _list(place: Place, wanted: JobFilter, as_json: bool) -> int:
    async with place.opened() as backend:
        found = await backend.jobs.list(wanted)
    if as_json:
        click.echo(json.dumps([job_json(job, standing) for job, standing in found], indent=1))
        return OK
    if not found:
        say("no jobs")
        return OK
    rows = [
        (
            job.job_id,
            standing,
            job.scope_id,
            job.operator or "–",
            moment(job.created_at),
            "" if job.deadline is None else moment(job.deadline),
            in_a_cell(job.error or ""),
        )
        for job, standing in found
    ]
    show_table(
        ("job", "status", "scope", "operator", "created", "deadline", "error"),
        rows,
        sparse=("deadline", "error"),
    )
    if len(found) == wanted.limit:
        say(f"more: --before {found[-1].job.job_id}", err=True)
    return OK
