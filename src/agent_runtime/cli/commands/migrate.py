"""`agent-runtime migrate`: make the tables, or bring them to another revision."""

from __future__ import annotations

import asyncio

import click

from agent_runtime.app import sqlite_path
from agent_runtime.cli.database import db_option, name_of, settings_for
from agent_runtime.cli.exit_codes import OK, USAGE
from agent_runtime.cli.output.printable import say
from agent_runtime.storage.migrate import migrate_postgres, migrate_sqlite


@click.command()
@click.option(
    "--to", "revision", default="head", show_default=True, help="A revision, `head`, or `base` for none."
)
@click.option("--yes", is_flag=True, help="Do remove tables, and what is in them.")
@db_option
def migrate(db: str | None, revision: str, yes: bool) -> int:
    """Make the tables of the database, or bring them to another revision.

    Running workers may go on while compatible tables are migrated. Going back to `base` removes everything.
    """
    settings = settings_for(db)
    if revision == "base" and not yes:
        say("agent-runtime: this removes all jobs and what they cost; say --yes", err=True)
        return USAGE
    path = sqlite_path(settings.storage)
    if path is not None:
        before, after = asyncio.run(migrate_sqlite(path, revision))
    elif settings.storage == "memory://":
        say("agent-runtime: what is in memory has no tables", err=True)
        return USAGE
    else:
        before, after = asyncio.run(migrate_postgres(settings.storage, revision))
    name = name_of(settings)
    if before == after:
        say(f"{name}: nothing to do, the schema is {after or 'none'}")
    else:
        say(f"{name}: schema {before or 'none'} → {after or 'none'}")
    return OK
