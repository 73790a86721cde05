"""`agent-runtime worker`: execute jobs until told to stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from agent_runtime.app import Runtime
from agent_runtime.cli.applications import Loaded, loaded_app, obeying_app
from agent_runtime.cli.database import db_option, settings_for
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.interruption import told_to_stop
from agent_runtime.cli.operators import known_operators
from agent_runtime.cli.output.printable import say
from agent_runtime.errors import ConfigurationError
from agent_runtime.worker.garbage import few_collections

if TYPE_CHECKING:
    from agent_runtime.settings import Settings


@click.command()
@click.option("--app", metavar="MODULE:ATTRIBUTE", help="The application (default: AGENT_RUNTIME_APP).")
@db_option
def worker(db: str | None, app: str | None) -> int:
    """Execute the jobs of an application's database, beside any number of other workers.

    The application is a `Runtime`, a `RuntimeKernel`, or a function (async or not) that returns one; its settings name the database of
    --db. Without it, jobs of `run` and of the settings' own agent are executed. SIGTERM, SIGHUP or Ctrl-C lets the steps in flight end and leaves the rest to other workers; a second one does
    not wait.
    """
    settings = settings_for(db, executes=True, app=app)
    if settings.app is None:
        return asyncio.run(_work(Runtime(settings, operators=known_operators()), settings, None))
    return asyncio.run(_work(loaded_app(settings.app, settings, db), settings, db))


async def _work(loaded: Loaded, settings: Settings, db: str | None) -> int:
    chosen = await obeying_app(loaded, settings, db)
    kernel = chosen.kernel if isinstance(chosen, Runtime) else chosen
    if not kernel.operators.names():
        raise ConfigurationError(
            "the application has no operators; give it some, or name another one with --app"
        )
    try:
        with told_to_stop(kernel.options.shutdown_seconds) as stop:
            async with chosen:
                names = ", ".join(sorted(kernel.operators.names()))
                if kernel.executes:
                    say(f"{kernel.worker_id} executes {names}")
                else:
                    say(f"{kernel.worker_id} waits: another process executes the jobs of this database")
                with few_collections():
                    await stop.wait()
                say("stopping: the steps in flight may end", err=True)
    except asyncio.CancelledError:
        say("stopped without waiting; other workers go on with the jobs", err=True)
    return OK
