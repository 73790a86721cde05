"""The service that options or the environment name, and the key that opens it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import click

from agent_runtime.errors import ConfigurationError
from llm_client.private_files import bounded_content

SERVER: Final = "AGENT_RUNTIME_SERVER"
API_KEY: Final = "AGENT_RUNTIME_API_KEY"
API_KEY_FILE: Final = "AGENT_RUNTIME_API_KEY_FILE"
_MAX_KEY_BYTES: Final = 4096
_BEFORE: Final = "agent_runtime.server"
Command = TypeVar("Command", bound=Callable[..., object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A service, and the key that opens it."""

    url: str
    key: str | None = field(default=None, repr=False)
    key_from: str = ""
    """Where the key was found."""
    flags: str = ""
    """What another command needs to find the same service; empty where the environment names it."""


def server_options(command: Command) -> Command:
    """Add `--server` and `--key-file`."""
    for option in (
        click.option("--key-file", metavar="FILE", help=f"The file that holds its key (or {API_KEY})."),
        click.option("--server", metavar="URL", help=f"Work on a service, over HTTP (or {SERVER})."),
    ):
        command = option(command)
    return command


def no_server_option(command: Command) -> Command:
    """Take `--server` and say that this command works on a database alone, where it opens one."""
    return click.option("--server", hidden=True, expose_value=False, callback=_keep_server)(command)


def _keep_server(context: click.Context, option: click.Parameter, server: str | None) -> None:
    del option
    if server is not None:
        keep_server(context, server, None)


def keep_server(context: click.Context, server: str | None, key_file: str | None) -> None:
    """Keep what is said before the name of a command."""
    context.meta[_BEFORE] = (server, key_file)


def _kept() -> tuple[str | None, str | None]:
    context = click.get_current_context(silent=True)
    kept: tuple[str | None, str | None] = (
        (None, None) if context is None else context.meta.get(_BEFORE, (None, None))
    )
    return kept


def refuse_server(db: str | None) -> None:
    """See that nobody wants a service where only a database will do.

    Args:
        db: What `--db` names, which wins over the environment.

    Raises:
        click.UsageError: Somebody does.
    """
    context = click.get_current_context(silent=True)
    what = "this" if context is None else context.command_path
    if _kept()[0] is not None:
        raise click.UsageError(
            f"{what} works on a database, not over HTTP: leave --server out, where the database is"
        )
    if db is None and os.environ.get(SERVER):
        raise click.UsageError(
            f"{what} works on a database, not over HTTP, and {SERVER} is set: name the database with --db, or unset it"
        )


def named_server(db: str | None, server: str | None, key_file: str | None) -> Server | None:
    """Return the service that is named; `None` where a database is.

    Args:
        db: What `--db` names.
        server: What `--server` names.
        key_file: What `--key-file` names.

    Raises:
        click.UsageError: It is no address, or more than one, or a database is named as well.
        ConfigurationError: The key cannot be read.
    """
    kept, kept_file = _kept()
    said, said_file = server or kept, key_file or kept_file
    if db is not None and said is not None:
        raise click.UsageError("--db and --server exclude each other: a command works on one of them")
    url = said or (os.environ.get(SERVER) if db is None else None)
    if not url:
        if said_file is not None:
            raise click.UsageError(f"--key-file goes with --server, or {SERVER}")
        return None
    url = _checked(url)
    key, key_from = _key(said_file)
    flags = f" --server {shlex.quote(url)}" if said else ""
    if said_file is not None:
        flags += f" --key-file {shlex.quote(str(Path(said_file).absolute()))}"
    return Server(url=url, key=key, key_from=key_from, flags=flags)


def _checked(url: str) -> str:
    """Return an address. Raises `click.UsageError`, which does not repeat it: it may hold a secret."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, say
        parts, is_address = None, False
    if parts is None or not is_address:
        raise click.UsageError("--server is an address such as https://agents.example.com")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise click.UsageError(
            f"--server is an address and nothing else, since others can read it: a key belongs into {API_KEY} or a --key-file"
        )
    return url


def _key(file: str | None) -> tuple[str | None, str]:
    """Return the key, and where it was found. It is never an argument: everybody on a machine can read those."""
    if file is None and (key := os.environ.get(API_KEY)):
        return key.strip(), API_KEY
    named = file or os.environ.get(API_KEY_FILE)
    if not named:
        return None, ""
    try:
        content = bounded_content(Path(named), _MAX_KEY_BYTES)
    except OSError as error:
        raise ConfigurationError(f"the key cannot be read from {named!r}: {error.strerror}") from None
    key = content.decode("utf-8-sig", "replace").strip()
    if not key or len(content) > _MAX_KEY_BYTES or len(key.split()) > 1:
        raise ConfigurationError(f"{named!r} does not hold a key, which is one line and nothing else")
    return key, named
