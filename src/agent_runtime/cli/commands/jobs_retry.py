"""`agent-runtime jobs retry`."""

from __future__ import annotations

import asyncio

import click

from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.terminal import program


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option(
    "--from-step", metavar="STEP", help="Do this step anew, and what came after it: its place, or its name."
)
@click.option("--new-keys", is_flag=True, help="For services that keep a failure under its idempotency key.")
@place_options
def retry(place: Place, job_id: str, from_step: str | None, new_keys: bool) -> int:
    """Have another job go on in the place of one that failed, was cancelled or ran out of time.

    What succeeded is recalled, and what failed is done anew. Before an effect that cannot be repeated is repeated, somebody is asked.
    Where another job goes on already, that one is named.
    """
    successor_id = asyncio.run(_retry(place, job_id, from_step, new_keys))
    say(f"{successor_id} goes on in the place of {job_id}")
    say(f"follow it with: {program()} jobs resume {successor_id}{place.flag}", err=True)
    return OK


async def _retry(place: Place, job_id: str, from_step: str | None, new_keys: bool) -> str:
    async with place.opened() as backend:
        return await backend.jobs.retry(job_id, from_step=from_step, new_keys=new_keys)
