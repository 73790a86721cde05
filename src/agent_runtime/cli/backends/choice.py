"""The one place that decides what a command works on: a database or a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import click

from agent_runtime.cli.backends.address import Server, named_server, server_options
from agent_runtime.cli.database import JOBS, existing, flag_for, named_database, settings_for
from agent_runtime.cli.output.printable import say
from llm_client.network import is_private

if TYPE_CHECKING:
    from agent_runtime.cli.backends.backend import Backend
    from agent_runtime.cli.backends.server import ServerBackend
    from agent_runtime.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a command works on: a service, or else the database that `--db` or the settings name."""

    db: str | None = None
    server: Server | None = None
    is_said: bool = False
    """Whether options name it."""

    @property
    def flag(self) -> str:
        """The options that another command needs to work on the same."""
        return flag_for(self.db) if self.server is None else self.server.flags

    def settings(self, *, scope: str | None, principal: str | None) -> Settings:
        """Return the settings of this terminal, whatever it works on. Raises `ConfigurationError`."""
        if self.server is None:
            return settings_for(self.db, scope=scope, principal=principal)
        from agent_runtime.settings import Settings

        said = {"scope": scope, "principal": principal}
        return Settings.load(**{name: value for name, value in said.items() if value is not None})

    @asynccontextmanager
    async def opened(self, *, makes: bool = False, holds: str = JOBS) -> AsyncIterator[Backend]:
        """Open it.

        Args:
            makes: Whether a database that is not there is made.
            holds: The table that has to be in a file, if that of jobs is not.

        Raises:
            ConfigurationError: A setting is wrong.
            StorageError: There is no such database.
            ServiceError: The service has refused something.
        """
        if self.server is not None:
            async with served(self.server) as service:
                yield service
            return
        from agent_runtime.cli.backends.database import database_backend

        find = settings_for if makes else partial(existing, holds=holds)
        settings = await asyncio.to_thread(find, self.db)  # which reads files
        async with database_backend(settings) as database:
            yield database


@asynccontextmanager
async def served(server: Server) -> AsyncIterator[ServerBackend]:
    """Open a service. Raises `ServiceError` for what it refuses."""
    from agent_runtime.cli.backends.server import server_backend

    if not is_private(server.url):
        say(
            f"agent-runtime: {server.url} is not encrypted: whoever is on the way can read the key; use https",
            err=True,
        )
    async with server_backend(server) as service:
        yield service


def place_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add `--db`, `--server` and `--key-file`, and give the command the `place` that they name."""

    @named_database
    @server_options
    @wraps(command)
    def placed(*args: Any, db: str | None, server: str | None, key_file: str | None, **given: Any) -> object:
        is_said = any(one is not None for one in (db, server, key_file))
        context = click.get_current_context(silent=True)
        if context is not None and context.invoked_subcommand is not None:  # which has a place of its own
            return command(*args, place=Place(db=db, is_said=is_said), **given)
        place = Place(db=db, server=named_server(db, server, key_file), is_said=is_said)
        return command(*args, place=place, **given)

    return placed
