"""`agent-runtime projections`: how far what follows the journals is, and forgetting it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from agent_runtime.cli.database import db_option, existing, stored
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.amounts import moment
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.output.table import in_a_cell, show_table
from agent_runtime.errors import InvalidInput

if TYPE_CHECKING:
    from agent_runtime.settings import Settings


@click.group()
def projections() -> None:
    """Show how far the projections of a database are, and forget one."""


@projections.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@db_option
def list_projections(db: str | None, as_json: bool) -> int:
    """List projections: up to where each has dealt with the feed, how many positions are left, and which process follows."""
    return asyncio.run(_list(existing(db), as_json))


@projections.command()
@click.argument("name")
@db_option
def drop(db: str | None, name: str) -> int:
    """Forget how far a projection is: the next process that runs it hands it everything anew.

    What it has not dealt with is kept when old jobs are pruned; of one that nobody runs any more, that ends with this.
    """
    return asyncio.run(_drop(existing(db), name))


async def _list(settings: Settings, as_json: bool) -> int:
    async with stored(settings) as here:
        cursors = await here.storage.cursors()
        end = await here.storage.feed_end() if cursors else 0
    left = [max(0, end - cursor.position) for cursor in cursors]
    if as_json:
        told = [
            {
                "name": cursor.name,
                "position": cursor.position,
                "behind": behind,
                "holder": cursor.holder,
                "updated_at": cursor.updated_at.isoformat(),
            }
            for cursor, behind in zip(cursors, left, strict=True)
        ]
        click.echo(json.dumps(told, indent=1))
    elif not cursors:
        say("no projections")
    else:
        rows = [
            (
                in_a_cell(cursor.name),
                f"{cursor.position:,}",
                f"{behind:,}",
                in_a_cell(cursor.holder or "nobody"),
                moment(cursor.updated_at),
            )
            for cursor, behind in zip(cursors, left, strict=True)
        ]
        show_table(("projection", "position", "behind", "followed by", "last moved"), rows)
    return OK


async def _drop(settings: Settings, name: str) -> int:
    async with stored(settings) as here:
        if not await here.storage.drop_cursor(name):
            raise InvalidInput(
                f"there is no projection {name!r}; `agent-runtime projections list` shows them"
            )
    say(f"{name}: forgotten; it begins anew")
    return OK
