"""`agent-runtime keys`: make, list, rotate and revoke API keys."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Final

import click

from agent_runtime.cli.backends.choice import Place, place_options
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.filters import LENGTH
from agent_runtime.cli.output.amounts import moment
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.output.table import show_table
from agent_runtime.values.api_key import ApiKey, Role

_PAGE: Final = 1000
_ROLES: Final = [role.value for role in Role]
_scope_of_key = click.option("--scope", metavar="SCOPE", help="The key's scope, which must be the right one.")
_by = click.option(
    "--by",
    metavar="NAME",
    help="Who does it, for the trail (default: your user name; a service knows by the key).",
)


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke API keys."""


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), help="What may be done with it.")
@click.option("--scope", metavar="SCOPE", help="For one scope.")
@click.option("--all-scopes", is_flag=True, help="For every scope: for those who run the installation.")
@click.option("--principal", metavar="PERSON", help="Who is named as having done what is done with it.")
@click.option("--expires", type=LENGTH, metavar="TIME", help="How long it holds, such as 12h or 30d.")
@_by
@click.option(
    "--app",
    metavar="MODULE:ATTRIBUTE",
    help="The application whose database the key is for, where it names that itself.",
)
@place_options
def create(
    place: Place,
    app: str | None,
    name: str,
    role: str | None,
    scope: str | None,
    all_scopes: bool,
    principal: str | None,
    expires: timedelta | None,
    by: str | None,
) -> int:
    """Make a key and print its text, which is shown this once."""
    if role is None:
        raise click.UsageError(f"say what it is for: --role {', '.join(_ROLES[:-1])} or {_ROLES[-1]}")
    if (scope is None) != all_scopes:
        raise click.UsageError("say for which scope it is: --scope SCOPE or --all-scopes")
    place = place if app is None else _place_of(app, place)
    made = _create(place, name, Role(role), scope, principal, expires, by, makes=app is not None)
    return asyncio.run(made)


def _place_of(app: str, said: Place) -> Place:
    """Return the database of an application, which may not be there yet."""
    from agent_runtime.app import load_app
    from agent_runtime.cli.applications import database_of

    if said.is_said:
        raise click.UsageError("--app, --db or --server: each says where")
    return Place(db=asyncio.run(database_of(load_app(app))))


@keys.command("list")
@click.option("--scope", metavar="SCOPE", help="Only those for this scope.")
@click.option("--all", "everything", is_flag=True, help="Also those that hold no more.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--after", metavar="KEY", help="Go on after this key: the last one of the page before.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@place_options
def list_keys(
    place: Place, scope: str | None, everything: bool, limit: int, after: str | None, as_json: bool
) -> int:
    """List the keys that hold, the oldest first."""
    return asyncio.run(_list(place, scope, everything, limit, after, as_json))


@keys.command()
@click.argument("key_id", metavar="KEY")
@click.option(
    "--overlap", type=LENGTH, default=timedelta(0), metavar="TIME",
    help="How long the old key holds beside the new one, such as 1h; without, it ends at once.",
)  # fmt: skip
@_scope_of_key
@_by
@place_options
def rotate(place: Place, key_id: str, overlap: timedelta, scope: str | None, by: str | None) -> int:
    """Make a key in the place of another one, and print its text, which is shown this once."""
    return asyncio.run(_rotate(place, key_id, overlap, scope, by))


@keys.command()
@click.argument("key_id", metavar="KEY")
@_scope_of_key
@_by
@place_options
def revoke(place: Place, key_id: str, scope: str | None, by: str | None) -> int:
    """Let a key open nothing any more, in every process within a second."""
    return asyncio.run(_revoke(place, key_id, scope, by))


async def _create(
    place: Place,
    name: str,
    role: Role,
    scope: str | None,
    principal: str | None,
    expires: timedelta | None,
    by: str | None,
    *,
    makes: bool,
) -> int:
    async with place.opened(makes=makes) as backend:
        key, text = await backend.keys.create(
            name=name, role=role, scope_id=scope, principal_id=principal, expires_in=expires, by=by
        )
    _tell(key, text)
    return OK


async def _rotate(place: Place, key_id: str, overlap: timedelta, scope: str | None, by: str | None) -> int:
    async with place.opened() as backend:
        key, text, ends_at = await backend.keys.rotate(key_id, overlap=overlap, scope_id=scope, by=by)
    _tell(key, text)
    if ends_at is not None:
        say(f"it comes in the place of {key_id}, which ends at {moment(ends_at)}", err=True)
    return OK


def _tell(key: ApiKey, text: str) -> None:
    """Print the text alone, so that it can be piped to where it is kept."""
    say(text)
    until = "" if key.expires_at is None else f", until {moment(key.expires_at)}"
    say(
        f"key {key.key_id}: {key.role} of {_scope(key)}{until}; its text is shown this once, keep it where secrets are kept",
        err=True,
    )


async def _revoke(place: Place, key_id: str, scope: str | None, by: str | None) -> int:
    async with place.opened() as backend:
        key = await backend.keys.revoke(key_id, scope_id=scope, by=by)
    say(f"{key.key_id} is revoked; every process knows within a second")
    return OK


async def _list(
    place: Place, scope: str | None, everything: bool, limit: int, after: str | None, as_json: bool
) -> int:
    async with place.opened() as backend:
        now = await backend.keys.now()
        found: list[ApiKey] = []
        while page := await backend.keys.list(scope_id=scope, after=after, limit=_PAGE):
            found += [key for key in page if everything or key.holds_at(now)]
            after = page[-1].key_id
            if len(found) > limit:
                break
    shown = found[:limit]
    if as_json:
        click.echo(json.dumps([_key_json(key, now) for key in shown], indent=1))
        return OK
    if not shown:
        say("no keys" if everything else "no key holds")
        return OK
    headers = ("key", "name", "role", "scope", "principal", "made", "expires", "last used", "state")
    rows = [
        (
            key.key_id,
            key.name,
            str(key.role),
            _scope(key),
            key.principal_id or "",
            moment(key.created_at),
            "" if key.expires_at is None else moment(key.expires_at),
            "" if key.last_used_at is None else moment(key.last_used_at),
            _state(key, now),
        )
        for key in shown
    ]
    show_table(headers, rows, sparse=("principal", "expires", "last used"))
    if len(found) > limit:
        say(f"more: --after {shown[-1].key_id}", err=True)
    return OK


def _scope(key: ApiKey) -> str:
    return "every scope" if key.scope_id is None else key.scope_id


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if not key.holds_at(now):
        return "expired" if key.replaced_by is None else "replaced"
    return "holds" if key.replaced_by is None else "is replaced"


def _key_json(key: ApiKey, now: datetime) -> dict[str, str | None]:
    def text(value: datetime | None) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "key_id": key.key_id,
        "name": key.name,
        "role": key.role.value,
        "scope_id": key.scope_id,
        "principal_id": key.principal_id,
        "created_at": text(key.created_at),
        "created_by": key.created_by,
        "expires_at": text(key.expires_at),
        "revoked_at": text(key.revoked_at),
        "last_used_at": text(key.last_used_at),
        "replaced_by": key.replaced_by,
        "state": _state(key, now),
    }
