"""`agent-runtime send`: a message to an identity, from the command line."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click

from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.printable import say


@click.command()
@click.argument("identity")
@click.argument("message", metavar="JSON")
@click.option("--dedupe-key", metavar="KEY", help="A second message with this key is not sent.")
@click.option(
    "--scope", metavar="SCOPE", help="The identity's scope (default: default; of a service, that of the key)."
)
@place_options
def send(place: Place, identity: str, message: str, dedupe_key: str | None, scope: str | None) -> int:
    """Send a message to an identity: to whichever job receives under that name, now or later."""
    try:
        body = json.loads(message)
    except (ValueError, RecursionError):
        raise click.UsageError(
            "the message is not JSON; a text is written in quotes: '\"like this\"'"
        ) from None
    return asyncio.run(_send(place, identity, body, dedupe_key, scope))


async def _send(place: Place, identity: str, body: Any, dedupe_key: str | None, scope: str | None) -> int:
    async with place.opened() as backend:
        sent = await backend.send(identity, body, dedupe_key=dedupe_key, scope_id=scope)
    say(sent.message_id)
    waits = "waits" if sent.waiting == 1 else "wait"
    say(f"number {sent.position} to {identity}; {sent.waiting} {waits}", err=True)
    return OK
