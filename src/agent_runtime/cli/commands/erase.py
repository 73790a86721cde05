"""`agent-runtime erase`: delete the content of somebody's jobs, so that the audit still verifies."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from agent_runtime.cli.backends.database import database_backend
from agent_runtime.cli.commands.jobs_cancel import tell_stopped
from agent_runtime.cli.database import db_option, erasers_beside, existing, name_of, stored
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.output.amounts import counted
from agent_runtime.cli.output.printable import say
from agent_runtime.cli.terminal import user_name
from agent_runtime.errors import ExecutorBusy, InvalidTransition
from agent_runtime.values.context import DEFAULT_SCOPE

if TYPE_CHECKING:
    from agent_runtime.audit.erasure import ErasureReport, ErasureSubject
    from agent_runtime.settings import Settings
    from agent_runtime.values.job import JobRecord


@click.command()
@click.option("--principal", metavar="ID", help="The jobs of a person, and what else is kept under the name.")
@click.option("--session", metavar="ID", help="The jobs of a session, and what else is kept under the name.")
@click.option("--job", "job_id", metavar="JOB", help="One job, those that went on as it, and their children.")
@click.option("--scope", default=DEFAULT_SCOPE, show_default=True, metavar="SCOPE", help="Whose they are.")
@click.option(
    "--call-logs", "folders", multiple=True, type=click.Path(exists=True, file_okay=False), metavar="FOLDER",
    help="Delete the files of their calls in a folder of call logs, too. May be given several times.",
)  # fmt: skip
@click.option("--cancel", is_flag=True, help="Cancel jobs that have not ended; without it nothing is erased.")
@click.option("--reason", help="Why, for the trail. Name nobody here: it stays.")
@click.option("--by", metavar="NAME", help="Who erases, for the trail (default: your user name).")
@click.option("--full", is_flag=True, help="Postgres: write the tables anew, which locks each meanwhile.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@db_option
def erase(
    db: str | None,
    principal: str | None,
    session: str | None,
    job_id: str | None,
    scope: str,
    folders: tuple[str, ...],
    cancel: bool,
    reason: str | None,
    by: str | None,
    full: bool,
    yes: bool,
) -> int:
    """Delete what jobs were asked, did and answered, with their questions, messages and labels, for good.

    Times, states and what was spent stay, under a pseudonym, and the audit still verifies. What this does not reach – backups,
    archives of logs, brokers, exports, your own projections and files – is in the documentation.
    """
    from agent_runtime.audit.erasure import ErasureSubject

    settings = existing(db)
    subject = ErasureSubject(scope_id=scope, principal_id=principal, session_id=session, job_id=job_id)
    return asyncio.run(_erase(settings, subject, cancel, reason, by or user_name(), full, yes, folders))


async def _erase(
    settings: Settings,
    subject: ErasureSubject,
    cancel: bool,
    reason: str | None,
    by: str,
    full: bool,
    yes: bool,
    folders: tuple[str, ...],
) -> int:
    from agent_runtime.audit.erasure import Erasure

    async with stored(settings) as here:
        jobs = await Erasure(here.storage).family(subject)
    active = [job for job in jobs if job.status.is_active]
    if active and not cancel:
        raise InvalidTransition(
            f"{counted(len(active), 'job')} of {len(jobs)} have not ended; --cancel ends them first"
        )
    if not yes:
        await asyncio.to_thread(_confirm, len(jobs), len(active), subject.scope_id, name_of(settings))
    for job in _first_ones(active):
        async with database_backend(settings) as database:
            tell_stopped(await database.jobs.stop(job.job_id, reason))
    async with stored(settings) as here, erasers_beside(here.storage, folders) as erasers:
        report = await Erasure(here.storage, erasers=erasers).erase(subject, by=by, reason=reason)
    say(_what_went(report, subject))
    await _vacuum(settings, full)
    return OK


def _what_went(report: ErasureReport, subject: ErasureSubject) -> str:
    """Return what was erased; where nothing was, a name may be written wrong, or the scope another one."""
    if not report.jobs and not report.rows and not any(report.elsewhere.values()):
        return (
            f"nothing is kept of the {subject.kind} {subject.principal_id or subject.session_id!r} in the scope {subject.scope_id!r}: "
            "see whether both are written as they were given (--scope)"
        )
    said = f"{counted(report.jobs, 'job')} erased, {counted(report.entries, 'entry', 'entries')}"
    if report.rows:
        said += f", {counted(report.rows, 'other row')}"
    said += "".join(f", {count:,} {name}" for name, count in report.elsewhere.items() if count)
    return f"{said}; what they cost is kept under {report.pseudonym}"


def _confirm(jobs: int, active: int, scope: str, name: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to be asked; --yes erases without a question")
    cancelled = f", {active} of which are cancelled" if active else ""
    say(
        f"The content of {counted(jobs, 'job')}{cancelled} of the scope {scope!r} in {name} will be gone for good."
    )
    click.confirm("Erase it?", abort=True)


def _first_ones(jobs: list[JobRecord]) -> list[JobRecord]:
    """Return the jobs whose parent is not among them: children are asked to stop with it."""
    ids = {job.job_id for job in jobs}
    return [job for job in jobs if job.parent_job_id not in ids]


async def _vacuum(settings: Settings, full: bool) -> None:
    from agent_runtime.storage.opening import sqlite_path
    from agent_runtime.storage.vacuum import vacuum_postgres, vacuum_sqlite

    path = sqlite_path(settings.storage)
    if path is None:
        await vacuum_postgres(settings.storage, full=full)
        if not full:
            say(
                "bytes of it may be left in the tables' files until their pages are used anew; --full writes them anew"
            )
        return
    try:
        await vacuum_sqlite(path)
    except ExecutorBusy:
        raise ExecutorBusy(
            "no row holds it any more, but free pages of the file may: a process executes its jobs; stop it, and run "
            "`agent-runtime prune --vacuum`"
        ) from None
