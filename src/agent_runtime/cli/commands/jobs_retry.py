"""`agent-runtime jobs retry`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from agent_runtime.cli.database import db_option, existing, flag_for, reading
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.terminal import program

if TYPE_CHECKING:
    from agent_runtime.settings import Settings


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option(
    "--from-step", metavar="STEP", help="Do this step anew, and what came after it: its place, or its name."
)
@click.option("--new-keys", is_flag=True, help="For services that keep a failure under its idempotency key.")
@db_option
def retry(db: str | None, job_id: str, from_step: str | None, new_keys: bool) -> int:
    """Have another job go on in the place of one that failed, was cancelled or ran out of time.

    What succeeded is recalled, and what failed is done anew. Before an effect that cannot be repeated is repeated, somebody is asked.
    Where another job goes on already, that one is named.
    """
    asked = {"from_step": from_step, "new_keys": new_keys}
    successor_id = asyncio.run(_retry(existing(db), job_id, asked))
    say(f"{successor_id} goes on in the place of {job_id}")
    say(f"follow it with: {program()} jobs resume {successor_id}{flag_for(db)}", err=True)
    return OK


async def _retry(settings: Settings, job_id: str, asked: dict[str, Any]) -> str:
    async with reading(settings) as kernel:
        return (await kernel.retry(job_id, **asked)).job_id
