"""`agent-runtime jobs cancel`, `retry` and `unblock`."""

from __future__ import annotations

import asyncio

import click

from agent_runtime.cli.backends.backend import Stopped
from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.terminal import program


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option("--reason", help="Is kept with the job.")
@place_options
def cancel(place: Place, job_id: str, reason: str | None) -> int:
    """Cancel a job. Steps in flight are settled first, so that nothing is unaccounted for."""
    return asyncio.run(_cancel(place, job_id, reason))


async def _cancel(place: Place, job_id: str, reason: str | None) -> int:
    async with place.opened() as backend:
        stopped = await backend.jobs.stop(job_id, reason)
    tell_stopped(stopped)
    return OK


def tell_stopped(stopped: Stopped) -> None:
    """Say what has become of a job that was to stop."""
    if stopped.status is None:
        say(f"{stopped.job_id} is asked to stop; it ends when the process that executes it sees that")
    else:
        say(f"{stopped.job_id} is {stopped.status}")


@click.command()
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True)
@place_options
def unblock(place: Place, job_ids: tuple[str, ...]) -> int:
    """Have blocked jobs tried again, also by versions of the code that have blocked them.

    The workers that know their operators do that; without one, the jobs wait for it.
    """
    return asyncio.run(_unblock(place, job_ids))


async def _unblock(place: Place, job_ids: tuple[str, ...]) -> int:
    async with place.opened() as backend:
        for job_id in job_ids:
            job = await backend.jobs.unblock(job_id)
            known = await backend.knows(job.operator)
            follows = "is tried again" if known else f"waits for a worker that knows {job.operator!r}"
            say(f"{job_id} {follows}")
    return OK


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
