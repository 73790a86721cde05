"""The database a command works on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from agent_runtime.cli.backends.address import no_server_option, refuse_server
from agent_runtime.cli.output.printable import say
from agent_runtime.errors import StorageError

if TYPE_CHECKING:
    from agent_runtime.app import Runtime, RuntimeKernel
    from agent_runtime.ports.dispatcher import Dispatcher
    from agent_runtime.ports.erasure import Eraser
    from agent_runtime.ports.storage import Storage
    from agent_runtime.settings import Settings

JOBS: Final = "runtime_jobs"
LOGS: Final = "execution_logs"
Command = TypeVar("Command", bound=Callable[..., object])


def db_option(command: Command) -> Command:
    """Add `--db` to a command that works on a database alone."""
    return named_database(no_server_option(command))


def named_database(command: Command) -> Command:
    """Add `--db`."""
    return click.option(
        "--db",
        metavar="FILE",
        help="SQLite file or storage URL (default: AGENT_RUNTIME_STORAGE, else one file per user).",
    )(command)


def settings_for(db: str | None, *, executes: bool = False, **values: object) -> Settings:
    """Return the settings, with the database that `--db` names.

    What of a file does not count is warned of by whoever reads it, in any command.

    Args:
        db: What `--db` names.
        executes: Whether code is going to run as the settings say: then it is said which file they are of.
        **values: Fields that win over the environment and the file, where they are not `None`.

    Raises:
        ConfigurationError: A setting is wrong.
        click.UsageError: A service is named, and this is about a database.
    """
    from agent_runtime.settings import Settings, settings_in_use, storage_url

    refuse_server(db)
    in_use = settings_in_use() if executes else None
    if in_use is not None and not in_use.ignored:
        say(f"agent-runtime: {in_use}", err=True)
    if db is not None:
        values["storage"] = db if "://" in db else storage_url(Path(db))
    return Settings.load(**{name: value for name, value in values.items() if value is not None})


def name_of(settings: Settings) -> str:
    """Return the database as people name it, without a password."""
    from agent_runtime.storage.opening import sqlite_path, url_parts

    path = sqlite_path(settings.storage)
    if path is not None:
        return str(path)
    parts = url_parts(settings.storage)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def flag_for(db: str | None) -> str:
    """Return the option that another command needs to find the database that `--db` named; empty without one.

    A password is left out: the server's client finds it in `PGPASSWORD` or a password file, and a terminal's history is no place.
    """
    import shlex

    if db is None:
        return ""
    return f" --db {shlex.quote(_without_password(db) if '://' in db else str(Path(db).absolute()))}"


def _without_password(url: str) -> str:
    """Return a storage URL that may be shown."""
    from urllib.parse import parse_qsl, urlencode

    from llm_client.redaction import kind_of_name

    scheme, _, rest = url.partition("://")
    user, at, rest = rest.rpartition("@")  # a password may hold anything
    place, mark, query = rest.partition("?")
    shown = urlencode([(name, value) for name, value in parse_qsl(query) if kind_of_name(name) is None])
    return f"{scheme}://{user.partition(':')[0]}{at}{place}{mark if shown else ''}{shown}"


def existing(db: str | None, *, holds: str = JOBS) -> Settings:
    """Return the settings for a command that only looks: it makes no file, and no tables in another program's.

    Args:
        db: What `--db` names.
        holds: The table that has to be in a file, if that of jobs is not.

    Raises:
        ConfigurationError: A setting is wrong.
        StorageError: There is no such file, or it is another program's.
    """
    settings = settings_for(db)
    existing_file(db, settings, holds=holds)
    return settings


def existing_file(db: str | None, settings: Settings, *, holds: str = JOBS) -> None:
    """See that a file is ours, and that the one that `--db` names is there: what the settings name may not be yet. Raises `StorageError`."""
    from agent_runtime.storage.opening import sqlite_path, sqlite_tables

    path = sqlite_path(settings.storage)
    if path is None:
        return
    if not path.exists():
        if db is not None:
            raise StorageError(f"there is no database {str(path)!r}")
    elif not sqlite_tables(path, {JOBS, holds}):
        raise StorageError(f"{str(path)!r} is no database of agent-runtime: no jobs are kept in it")


@asynccontextmanager
async def erasers_beside(storage: Storage, folders: Sequence[str]) -> AsyncIterator[tuple[Eraser, ...]]:
    """Give what keeps content beside the journals: the logs of a database, and folders of call logs."""
    from agent_runtime.app import erasers_of
    from agent_runtime.observability import ErasedCallLogs

    erasers = erasers_of(storage)
    try:
        yield (*erasers, *([ErasedCallLogs(folders)] if folders else ()))
    finally:
        for eraser in erasers:
            await eraser.aclose()


class Stored:
    """What a database holds, for commands that list and show: no kernel, which takes as long to import as everything else.

    Args:
        storage: The database, opened.
    """

    def __init__(self, storage: Storage) -> None:
        from agent_runtime.actions.manager import ActionManager
        from agent_runtime.jobs.manager import JobManager
        from agent_runtime.kernel.stores import StorageView

        view = StorageView(storage)
        self.storage = storage
        self.jobs = JobManager(view)
        self.actions = ActionManager(view)


@asynccontextmanager
async def stored(settings: Settings) -> AsyncIterator[Stored]:
    """Open the database to look at what it holds."""
    from agent_runtime.settings import make_default_folder
    from agent_runtime.storage.opening import open_storage

    storage = open_storage(settings.storage, durability=settings.durability, redis_url=settings.redis_url)
    await asyncio.to_thread(make_default_folder, settings.storage)
    try:
        await storage.open()
        yield Stored(storage)
    finally:
        await storage.aclose()


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[RuntimeKernel]:
    """Open the database without executing anything."""
    async with opened(settings, worker=False) as kernel:
        yield kernel


@asynccontextmanager
async def opened(
    settings: Settings,
    *,
    operators: Mapping[str, object] | None = None,
    dispatcher: Dispatcher | None = None,
    worker: bool = True,
    application: Runtime | RuntimeKernel | None = None,
) -> AsyncIterator[RuntimeKernel]:
    """Start a kernel: that of the user's application, or one with the operators of the command line."""
    from agent_runtime.app import Runtime

    if application is None:
        plain = settings.model_copy(update={"model": None, "base_url": None})
        application = await asyncio.to_thread(
            Runtime, plain, operators=operators or {}, dispatcher=dispatcher, worker=worker
        )
    async with application:
        yield application.kernel if isinstance(application, Runtime) else application
