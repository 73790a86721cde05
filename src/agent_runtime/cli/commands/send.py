"""`agent-runtime send`: a message to an identity, from the command line."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click

from agent_runtime.cli.database import db_option, existing, reading
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.printable import say
from agent_runtime.settings import Settings
from agent_runtime.values.context import DEFAULT_SCOPE


@click.command()
@click.argument("identity")
@click.argument("message", metavar="JSON")
@click.option("--dedupe-key", metavar="KEY", help="A second message with this key is not sent.")
@click.option(
    "--scope", default=DEFAULT_SCOPE, show_default=True, metavar="SCOPE", help="The identity's scope."
)
@db_option
def send(db: str | None, identity: str, message: str, dedupe_key: str | None, scope: str) -> int:
    """Send a message to an identity: to whichever job receives under that name, now or later."""
    try:
        body = json.loads(message)
    except (ValueError, RecursionError):
        raise click.UsageError(
            "the message is not JSON; a text is written in quotes: '\"like this\"'"
        ) from None
    return asyncio.run(_send(existing(db), identity, body, dedupe_key, scope))


async def _send(settings: Settings, identity: str, body: Any, dedupe_key: str | None, scope: str) -> int:
    async with reading(settings) as kernel:
        sent = await kernel.send(identity, body, dedupe_key=dedupe_key, scope_id=scope)
        waiting = await kernel.inbox.count(identity, scope_id=scope)
    say(sent.message_id)
    waits = "waits" if waiting == 1 else "wait"
    say(f"number {sent.position} to {identity}; {waiting} {waits}", err=True)
    return OK
