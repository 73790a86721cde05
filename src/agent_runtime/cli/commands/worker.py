"""`agent-runtime worker`: execute jobs until told to stop."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import click

from agent_runtime.app import Runtime, load_app
from agent_runtime.cli.database import db_option, settings_for
from agent_runtime.cli.exit_codes import FAILED, OK, USAGE
from agent_runtime.cli.interruption import stop_signals
from agent_runtime.cli.output.printable import say
from agent_runtime.worker.garbage import few_collections

if TYPE_CHECKING:
    from agent_runtime.app import RuntimeKernel

GRACE_SECONDS: Final = 10.0
"""How much longer than its kernel may take the process has until it ends in any case: to close the storage, to leave."""
GIVE_UP_SECONDS: Final = 3.0
"""The same once it has been told twice."""


@click.command()
@click.option("--app", metavar="MODULE:ATTRIBUTE", help="The application (default: AGENT_RUNTIME_APP).")
@db_option
def worker(db: str | None, app: str | None) -> int:
    """Execute the jobs of an application's database, beside any number of other workers.

    The application is a `Runtime`, a `RuntimeKernel`, or a function that returns one; without it, one is made of the
    settings, on the database that --db names. SIGTERM, SIGHUP or Ctrl-C lets the steps in flight end and leaves the rest to other workers; a second one does
    not wait.
    """
    settings = settings_for(db, app=app)
    path = settings.app
    if db is not None and path is not None:
        raise click.UsageError(
            "--db is for a worker without an application; an application names its database itself"
        )
    chosen = Runtime(settings) if path is None else load_app(path)
    kernel = chosen.kernel if isinstance(chosen, Runtime) else chosen
    if not kernel.operators.names():
        say(
            "agent-runtime: the application has no operators; name one with --app, or set AGENT_RUNTIME_MODEL",
            err=True,
        )
        return USAGE
    asyncio.run(_work(chosen, kernel))
    return OK


async def _work(chosen: Runtime | RuntimeKernel, kernel: RuntimeKernel) -> None:
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
