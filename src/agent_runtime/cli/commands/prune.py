"""`agent-runtime prune`: delete what ended long ago, or its content."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import click

from agent_runtime.app import sqlite_path
from agent_runtime.cli.database import db_option, erasers_beside, existing, reading
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.amounts import counted
from agent_runtime.cli.output.printable import say
from agent_runtime.ports.retention import Forgettable
from agent_runtime.ports.storage import Storage
from agent_runtime.settings import Settings
from agent_runtime.storage.vacuum import vacuum_sqlite
from agent_runtime.values.checks import MAX_SECONDS

_MOST = timedelta(seconds=MAX_SECONDS)
"""Longer ago there is no date to compare with."""
JOBS_AT_ONCE: Final = 200
EVENTS_AT_ONCE: Final = 1000
LEAST_PAUSE: Final = 0.02
"""Seconds; who waits for SQLite's lock looks again as seldom."""
_NAMES: Final[Mapping[Forgettable, tuple[str, str]]] = {
    "ledger": ("ledger entry", "ledger entries"),
    "actions": ("question", "questions"),
    "policies": ("version of a policy", "versions of policies"),
    "messages": ("message", "messages"),
    "keys": ("API key", "API keys"),
    "fires": ("time of a schedule", "times of schedules"),
    "agent_messages": ("message of an agent", "messages of agents"),
    "agent_events": ("entry of a history of agents", "entries of histories of agents"),
}
"""What is deleted beside jobs, by its option."""


def _days(context: click.Context, option: click.Parameter, value: str | None) -> timedelta | None:
    """Read a number of days, `30` or `30d`."""
    del context
    if value is None:
        return None
    try:
        age = timedelta(days=float(value.removesuffix("d")))
    except (ValueError, OverflowError):
        age = timedelta(days=-1)
    if not timedelta(0) <= age <= _MOST:
        raise click.BadParameter(f"{value!r} is no number of days from 0 to {_MOST.days}", param=option)
    return age


@click.command()
@click.option(
    "--older-than", "jobs", callback=_days, metavar="DAYS", help="Delete jobs that ended so long ago."
)
@click.option(
    "--content-older-than", "content", callback=_days, metavar="DAYS",
    help="Delete the content of jobs that ended so long ago.",
)  # fmt: skip
@click.option(
    "--ledger-older-than", "ledger", callback=_days, metavar="DAYS",
    help="Delete ledger entries of so long ago: they count in no sum any more.",
)  # fmt: skip
@click.option(
    "--actions-older-than", "actions", callback=_days, metavar="DAYS",
    help="Delete questions that belong to no job and were answered so long ago.",
)  # fmt: skip
@click.option(
    "--policies-older-than", "policies", callback=_days, metavar="DAYS",
    help="Delete versions of policies that are so old and that no job is kept of.",
)  # fmt: skip
@click.option(
    "--messages-older-than", "messages", callback=_days, metavar="DAYS",
    help="Delete messages that were received so long ago, by jobs that are gone or have succeeded, and their keys.",
)  # fmt: skip
@click.option(
    "--keys-older-than", "keys", callback=_days, metavar="DAYS",
    help="Delete API keys that were revoked or expired so long ago.",
)  # fmt: skip
@click.option(
    "--fires-older-than", "fires", callback=_days, metavar="DAYS",
    help="Delete what became of times of schedules so long ago.",
)  # fmt: skip
@click.option(
    "--agent-messages-older-than", "agent_messages", callback=_days, metavar="DAYS",
    help="Delete messages of resident agents that were over so long ago, and their keys.",
)  # fmt: skip
@click.option(
    "--agent-events-older-than", "agent_events", callback=_days, metavar="DAYS",
    help="Delete what happened to resident agents so long ago.",
)  # fmt: skip
@click.option(
    "--call-logs", "folders", multiple=True, type=click.Path(exists=True, file_okay=False), metavar="FOLDER",
    help="With either of the first two: delete the files of calls of that time in a folder of call logs. May be given several times.",
)  # fmt: skip
@click.option("--vacuum", is_flag=True, help="Give the space of what is deleted back (SQLite).")
@db_option
def prune(
    db: str | None,
    jobs: timedelta | None,
    content: timedelta | None,
    folders: tuple[str, ...],
    vacuum: bool,
    **others: timedelta | None,
) -> int:
    """Delete jobs that ended long ago, with their journals and questions, or only their content.

    Without its content – inputs, messages, arguments, results – a job can be looked at and billed, and no longer be
    replayed. What jobs cost stays in the ledger. Jobs with an open question about a lost effect stay as they are.
    In the logs of the database the texts of that time go in either case, and the rows stay: `logs forget` is for these.
    """
    settings = existing(db)
    path = sqlite_path(settings.storage)
    if not vacuum and all(age is None for age in (jobs, content, *others.values())):
        raise click.UsageError("say what to delete: --older-than, --content-older-than, … or --vacuum")
    if folders and jobs is None and content is None:
        raise click.UsageError("--call-logs goes with --older-than or --content-older-than")
    if vacuum and path is None:
        raise click.UsageError("--vacuum is for SQLite; Postgres uses the space of deleted rows by itself")
    asyncio.run(_prune(settings, jobs, content, others, folders))
    if vacuum and path is not None:
        size, left = asyncio.run(vacuum_sqlite(path))
        say(f"{path}: {size:,} → {left:,} bytes")
    return OK


async def _prune(
    settings: Settings,
    jobs: timedelta | None,
    content: timedelta | None,
    others: Mapping[str, timedelta | None],
    folders: Sequence[str],
) -> None:
    async with reading(settings) as kernel:
        now, storage = kernel.clock.now(), kernel.storage
        if jobs is not None or content is not None:
            await _bring_logs_up_to_date(storage)
        if jobs is not None:
            before = now - jobs
            deleted = await _until_none(
                lambda: storage.prune(before=before, limit=JOBS_AT_ONCE, max_events=EVENTS_AT_ONCE)
            )
            say(f"{counted(deleted, 'job')} deleted")
        if content is not None:
            long_ago = now - content
            emptied = await _until_none(
                lambda: storage.prune_content(before=long_ago, limit=JOBS_AT_ONCE, max_events=EVENTS_AT_ONCE)
            )
            say(f"content of {counted(emptied, 'job')} deleted")
        if ages := [age for age in (jobs, content) if age is not None]:
            await _prune_beside(storage, now - min(ages), folders)
        for what, names in _NAMES.items():
            if (age := others.get(what)) is not None:
                count = await _until_none(partial(storage.forget, what, before=now - age))
                say(f"{counted(count, *names)} deleted")
        if jobs is not None or content is not None:
            await _tell_of_those_behind(storage)


async def _prune_beside(storage: Storage, before: datetime, folders: Sequence[str]) -> None:
    """Let the content go that is kept beside the journals: it is no younger than theirs."""
    async with erasers_beside(storage, folders) as erasers:
        for eraser in erasers:
            if count := await eraser.prune_content(before=before):
                say(f"content deleted in {eraser.name}: {count:,}")


async def _bring_logs_up_to_date(storage: Storage) -> None:
    """Write what the logs have not been told yet, if there are any: what goes could not be written any more, and is kept until it is."""
    from agent_runtime.observability.sql.catching_up import update_logs
    from agent_runtime.observability.sql.projection import PROJECTION, JournalLogs

    if any(cursor.name == PROJECTION for cursor in await storage.cursors()):
        logs = JournalLogs(storage)
        try:
            await update_logs(storage, logs)
        finally:
            await logs.aclose()


async def _tell_of_those_behind(storage: Storage) -> None:
    """Name the projections that nobody runs and that keep jobs from being deleted."""
    cursors = await storage.cursors()
    end = await storage.feed_end() if cursors else 0
    for cursor in cursors:
        if cursor.position < end and (cursor.held_until is None or cursor.held_until < storage.clock.now()):
            say(
                f"the projection {cursor.name!r}, which nobody follows now, is {end - cursor.position:,} positions behind; jobs it has "
                "not dealt with are kept (`agent-runtime projections drop` forgets it)",
                err=True,
            )


async def _until_none(batch: Callable[[], Awaitable[int]]) -> int:
    """Delete in small batches until nothing is left. Others write for as long again as each has taken: on SQLite they have to wait for it."""
    loop, total = asyncio.get_running_loop(), 0
    while True:
        began = loop.time()
        if not (count := await batch()):
            return total
        total += count
        await asyncio.sleep(max(LEAST_PAUSE, loop.time() - began))
