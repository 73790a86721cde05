"""`agent-runtime serve`: jobs over HTTP."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Unpack

import click

from agent_runtime.app import Runtime
from agent_runtime.cli.applications import Loaded, loaded_app, obeying_app
from agent_runtime.cli.database import db_option, flag_for, settings_for
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.identity_provider import Named, identity_provider, jwt_options
from agent_runtime.cli.interruption import told_to_stop
from agent_runtime.cli.operators import known_operators
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.terminal import program
from agent_runtime.extras import optional_packages
from agent_runtime.server.config import ServerConfig
from agent_runtime.server.mcp.config import McpConfig
from agent_runtime.worker.garbage import few_collections

if TYPE_CHECKING:
    from agent_runtime.kernel.kernel import Kernel
    from agent_runtime.settings import Settings

PORT = 8321


@click.command()
@click.option("--app", metavar="MODULE:ATTRIBUTE", help="The application (default: AGENT_RUNTIME_APP).")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="0: any.")
@click.option(
    "--no-auth", is_flag=True, help="Let everybody do everything; only on this machine's own addresses."
)
@click.option("--no-worker", is_flag=True, help="Execute no jobs here; workers do.")
@click.option("--no-mcp", is_flag=True, help="Leave out the MCP server, for which operators are tools.")
@click.option(
    "--trusted-proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Believe this proxy where a request came from. May be repeated.",
)
@click.option(
    "--cors-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of this origin read answers. May be repeated.",
)
@jwt_options
@db_option
def serve(
    db: str | None,
    app: str | None,
    host: str,
    port: int,
    no_auth: bool,
    no_worker: bool,
    no_mcp: bool,
    proxies: tuple[str, ...],
    origins: tuple[str, ...],
    **provider: Unpack[Named],
) -> int:
    """Serve the jobs of an application's database over HTTP, and execute them, beside any number of workers.

    The application is what `worker` takes. Whoever asks needs a key: see `keys create`; or a token of the identity provider that `--jwt-…` names. SIGTERM, SIGHUP or Ctrl-C ends the streams, lets requests
    and steps in flight end, and leaves the rest to other workers; a second one does not wait.
    """
    if no_auth and not _is_loopback(host):
        raise click.UsageError(
            "--no-auth is for addresses that only this machine can reach, such as 127.0.0.1"
        )
    with optional_packages():
        import agent_runtime.server.running  # noqa: F401 -- says what is missing before anything is opened
    settings = settings_for(db, executes=True, app=app)
    config = ServerConfig(
        authenticate=not no_auth,
        jwt=identity_provider(**provider),
        cors_origins=origins,
        mcp=None if no_mcp else McpConfig(),
    )
    if settings.app is None:
        runtime = Runtime(settings, operators=known_operators(), worker=not no_worker)
        return asyncio.run(_serve(runtime, settings, None, config, host, port, proxies))
    if no_worker:
        raise click.UsageError("an application says itself whether it executes: give it worker=False")
    loaded = loaded_app(settings.app, settings, db)
    return asyncio.run(_serve(loaded, settings, db, config, host, port, proxies))


async def _serve(
    loaded: Loaded,
    settings: Settings,
    db: str | None,
    config: ServerConfig,
    host: str,
    port: int,
    proxies: tuple[str, ...],
) -> int:
    from agent_runtime.server.app import create_app
    from agent_runtime.server.running import DRAIN_SECONDS, serving

    chosen = await obeying_app(loaded, settings, db)
    kernel: Kernel = chosen.kernel if isinstance(chosen, Runtime) else chosen
    app = create_app(chosen, config)
    try:
        with told_to_stop(kernel.options.shutdown_seconds + DRAIN_SECONDS) as stop:
            async with serving(app, host=host, port=port, trusted_proxies=proxies) as address:
                say(f"serving on {address}; {_work(kernel)}")
                if config.authenticate and not await kernel.keys.list(limit=1):
                    where = flag_for(db) if settings.app is None else f" --app {settings.app}"
                    say(
                        f"there is no key in this database yet: {program()} keys create NAME --role admin --all-scopes{where}",
                        err=True,
                    )
                with few_collections():
                    await stop.wait()
                say("stopping: requests and steps in flight may end", err=True)
    except asyncio.CancelledError:
        say("stopped without waiting; other workers go on with the jobs", err=True)
    return OK


def _work(kernel: Kernel) -> str:
    """Say what is done beside serving."""
    if not kernel.executes:
        return "other processes execute the jobs"
    names = ", ".join(sorted(kernel.operators.names()))
    return f"{kernel.worker_id} executes {names or 'nothing, for want of operators'}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
