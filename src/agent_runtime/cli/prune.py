"""`agent-runtime prune`: delete jobs that ended long ago."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import click

from agent_runtime.cli.database import db_option, existing, reading
from agent_runtime.cli.exit_codes import OK
from agent_runtime.settings import Settings

BATCH = 500


@click.command()
@click.option(
    "--older-than", "days", type=click.FloatRange(min=0), metavar="DAYS", required=True,
    help="Delete jobs that ended so many days ago or earlier.",
)  # fmt: skip
@db_option
def prune(db: str | None, days: float) -> int:
    """Delete jobs that ended long ago, with their journals and questions.

    What they cost stays in the ledger. Jobs with an open question about a lost effect stay as well.
    """
    deleted = asyncio.run(_prune(existing(db), timedelta(days=days)))
    click.echo(f"{deleted} job{'' if deleted == 1 else 's'} deleted")
    return OK


async def _prune(settings: Settings, age: timedelta) -> int:
    deleted = 0
    async with reading(settings) as kernel:
        before = kernel.clock.now() - age
        while (count := await kernel.storage.prune(before=before, limit=BATCH)) > 0:
            deleted += count
    return deleted
