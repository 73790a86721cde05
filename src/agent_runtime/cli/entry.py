"""The entry point: finds the command, runs it, and turns every expected failure into one sentence and an exit code."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from agent_runtime.cli.backends.address import keep_server, server_options
from agent_runtime.cli.exit_codes import INTERRUPTED, OK, describe
from agent_runtime.cli.lazy_group import LazyGroup
from agent_runtime.cli.output.printable import printable, say

_COMMANDS = {
    "actions": (
        "agent_runtime.cli.commands.actions",
        "actions",
        "list and answer the questions that jobs ask people",
    ),
    "audit": ("agent_runtime.cli.commands.audit", "audit", "verify that entries are as they were written"),
    "budgets": (
        "agent_runtime.cli.commands.budgets",
        "budgets",
        "show the stored budgets and where they stand, and change them",
    ),
    "costs": ("agent_runtime.cli.commands.costs", "costs", "show what was spent"),
    "demo": (
        "agent_runtime.cli.commands.demo",
        "demo",
        "watch an agent do a real job, and survive being killed",
    ),
    "doctor": (
        "agent_runtime.cli.commands.doctor",
        "doctor",
        "check the installation, the database and the keys",
    ),
    "erase": (
        "agent_runtime.cli.commands.erase",
        "erase",
        "delete the content of a person's, a session's or a job's work",
    ),
    "jobs": ("agent_runtime.cli.commands.jobs", "jobs", "submit, list, show, resume, retry and cancel jobs"),
    "keys": (
        "agent_runtime.cli.commands.keys",
        "keys",
        "make, list, rotate and revoke API keys",
    ),
    "logs": (
        "agent_runtime.cli.commands.logs",
        "logs",
        "show what agents did and models were asked, and what it adds up to",
    ),
    "migrate": (
        "agent_runtime.cli.commands.migrate",
        "migrate",
        "make the tables, or bring them to another revision",
    ),
    "policy": (
        "agent_runtime.cli.commands.policy",
        "policy",
        "check a policy file, and explain what it would decide",
    ),
    "projections": (
        "agent_runtime.cli.commands.projections",
        "projections",
        "show how far projections of the journals are, and forget one",
    ),
    "prune": ("agent_runtime.cli.commands.prune", "prune", "delete jobs that ended long ago"),
    "run": ("agent_runtime.cli.commands.run", "run", "run an agent on a prompt, as a durable job"),
    "schedules": (
        "agent_runtime.cli.commands.schedules",
        "schedules",
        "list, show, pause, resume and remove schedules",
    ),
    "send": ("agent_runtime.cli.commands.send", "send", "send a message to an identity"),
    "serve": ("agent_runtime.cli.commands.serve", "serve", "serve jobs over HTTP"),
    "trust": ("agent_runtime.cli.commands.trust", "trust", "agree to the settings file of a folder"),
    "worker": ("agent_runtime.cli.commands.worker", "worker", "execute jobs until told to stop"),
}


def _show_version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    del parameter
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        from llm_client.errors import DISTRIBUTION

        click.echo(f"agent-runtime {version(DISTRIBUTION)}")
        ctx.exit()


@click.group(cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
@server_options
@click.pass_context
def commands(context: click.Context, server: str | None, key_file: str | None) -> None:
    """Run LLM agents as durable jobs.

    Every command works on a database (--db, or AGENT_RUNTIME_STORAGE); by default there is one per user. Those that look at jobs and
    change them work on a service as well (--server, or AGENT_RUNTIME_SERVER), with its key in AGENT_RUNTIME_API_KEY or a --key-file.

    Exit codes: 0 done, 1 the job or the operation failed, 2 wrong usage or input, 3 the database or the service cannot be used, 4 a
    limit was reached (budget, policy, deadline), 130 interrupted.
    """
    keep_server(context, server, key_file)


class _Printable(logging.Formatter):
    """Keeps what a warning repeats of others' words from writing to the terminal what they like."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


def _prepare_streams() -> None:
    """Let nothing be lost that was paid for: what an output cannot show is written as its code, and one that is closed takes nothing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 -- open as long as the process lives
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Instead of those of the process.
    """
    _prepare_streams()
    if logging.lastResort is not None:  # what shows warnings where nobody has set logging up
        logging.lastResort.setFormatter(_Printable())
    try:
        result = commands.main(
            None if arguments is None else list(arguments), prog_name="agent-runtime", standalone_mode=False
        )
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        for line in said.getvalue().rstrip("\n").split("\n"):  # it may repeat what somebody else wrote
            say(line, err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:
        sentence, code = describe(error)
        if sentence is None:
            raise
        for line in f"agent-runtime: {sentence}".split("\n"):  # a policy has one for each of its problems
            say(line, err=True)
        return code
    except BaseException as error:
        from asyncio import CancelledError

        if isinstance(error, CancelledError):  # by SIGTERM, or SIGHUP
            return INTERRUPTED
        raise
    return result if isinstance(result, int) else OK
