"""`agent-runtime jobs`: its commands are in modules of their own."""

from __future__ import annotations

from typing import Final

import click

from agent_runtime.cli.lazy_group import LazyGroup

_HERE: Final = "agent_runtime.cli.commands"
_COMMANDS: Final = {
    "cancel": (f"{_HERE}.jobs_cancel", "cancel", "cancel a job; steps in flight are settled first"),
    "list": (f"{_HERE}.jobs_list", "list_jobs", "list jobs, the newest first"),
    "result": (f"{_HERE}.jobs_show", "result", "print what a job gave"),
    "resume": (f"{_HERE}.jobs_resume", "resume", "go on with a job, follow it and print its answer"),
    "retry": (f"{_HERE}.jobs_cancel", "retry", "have another job go on in the place of one that has failed"),
    "show": (f"{_HERE}.jobs_show", "show", "show what a job was asked, waits for, did, gave and cost"),
    "submit": (f"{_HERE}.jobs_submit", "submit", "submit a job for an operator"),
    "unblock": (f"{_HERE}.jobs_cancel", "unblock", "have blocked jobs tried again"),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def jobs() -> None:
    """Submit, list, show, cancel, unblock, resume and retry jobs."""
