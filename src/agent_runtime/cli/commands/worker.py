"""`agent-runtime worker`: execute jobs until told to stop."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import click

from agent_runtime.app import Runtime
from agent_runtime.cli.applications import Loaded, loaded_app, obeying_app
from agent_runtime.cli.database import db_option, settings_for
from agent_runtime.cli.exit_codes import FAILED, OK
from agent_runtime.cli.interruption import stop_signals
from agent_runtime.cli.operators import known_operators
from agent_runtime.cli.output.printable import say
from agent_runtime.errors import ConfigurationError
from agent_runtime.worker.garbage import few_collections

if TYPE_CHECKING:
    from agent_runtime.settings import Settings

GRACE_SECONDS: Final = 10.0
"""How much longer than its kernel may take the process has until it ends in any case: to close the storage, to leave."""
GIVE_UP_SECONDS: Final = 3.0
"""The same once it has been told twice."""


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
    stop = asyncio.Event()
    main_task = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def stop_or_give_up() -> None:
        """Stop; the second time without waiting. A process that cannot even do that ends all the same."""
        again = stop.is_set()
        stop.set()
        if again and main_task is not None:
            main_task.cancel()
        seconds = GIVE_UP_SECONDS if again else kernel.options.shutdown_seconds + GRACE_SECONDS
        loop.call_later(seconds, os._exit, FAILED)

    signals = stop_signals()
    for number in signals:
        loop.add_signal_handler(number, stop_or_give_up)
    try:
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
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
    return OK
