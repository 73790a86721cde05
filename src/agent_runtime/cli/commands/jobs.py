"""`agent-runtime jobs`: list, show, cancel, unblock, resume and retry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from agent_runtime.app import load_app
from agent_runtime.cli.chosen_jobs import ChosenJobs
from agent_runtime.cli.commands.jobs_retry import retry
from agent_runtime.cli.database import (
    db_option,
    existing,
    existing_file,
    flag_for,
    opened,
    reading,
    settings_for,
)
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.following import follow
from agent_runtime.cli.interruption import resumable
from agent_runtime.cli.operators import known_operators
from agent_runtime.cli.output.amounts import moment, money
from agent_runtime.cli.output.narrator import Narrator
from agent_runtime.cli.output.printable import say, say_text
from agent_runtime.cli.output.shown import question_of
from agent_runtime.cli.output.standing import standing
from agent_runtime.cli.output.table import show_table
from agent_runtime.cli.output.timeline import show_steps, steps_of
from agent_runtime.cli.prompted import OPERATOR, ChosenAgent, agent_for
from agent_runtime.cli.questions import Questions
from agent_runtime.errors import InvalidTransition, UnknownOperator
from agent_runtime.values.event import RuntimeEvent
from agent_runtime.values.job import JobFilter, JobRecord, JobStatus

if TYPE_CHECKING:
    from agent_runtime.app import Runtime, RuntimeKernel
    from agent_runtime.settings import Settings

CANCEL_SECONDS = 10.0
"""How long `cancel` waits for the job's end."""


@click.group()
def jobs() -> None:
    """List, show, cancel, unblock, resume and retry jobs."""


jobs.add_command(retry)


@jobs.command("list")
@click.option(
    "--status",
    multiple=True,
    type=click.Choice([str(status) for status in JobStatus]),
    help="May be repeated.",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@click.option("--before", metavar="JOB", help="Go on after this job: the last one of the page before.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@db_option
def list_jobs(db: str | None, status: tuple[str, ...], limit: int, before: str | None, as_json: bool) -> int:
    """List jobs, the newest first."""
    return asyncio.run(_list(existing(db), status, limit, before, as_json))


async def _list(
    settings: Settings, status: tuple[str, ...], limit: int, before: str | None, as_json: bool
) -> int:
    async with reading(settings) as kernel:
        wanted = frozenset(JobStatus(name) for name in status) or None
        if before is not None:
            await kernel.jobs.get(before)
        found = await kernel.jobs.list(JobFilter(status=wanted, limit=limit, before=before))
        workers = await kernel.storage.list_workers()
    if as_json:
        click.echo(json.dumps([_job_json(job, standing(job, workers)) for job in found], indent=1))
        return OK
    if not found:
        say("no jobs")
        return OK
    rows = [
        (job.job_id, standing(job, workers), job.operator or "–", moment(job.created_at), job.error or "")
        for job in found
    ]
    show_table(
        ("job", "status", "operator", "created", "error"), [(*row[:4], _short(row[4])) for row in rows]
    )
    if len(found) == limit:
        say(f"more: --before {found[-1].job_id}", err=True)
    return OK


@jobs.command()
@click.argument("job_id", metavar="JOB")
@click.option("--events", is_flag=True, help="Every entry of the journal instead of the steps.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@db_option
def show(db: str | None, job_id: str, events: bool, as_json: bool) -> int:
    """Show what a job did, step by step, and what it cost.

    --events --json includes the private content of the entries: messages, arguments, results.
    """
    return asyncio.run(_show(existing(db), job_id, events, as_json))


async def _show(settings: Settings, job_id: str, with_events: bool, as_json: bool) -> int:
    async with reading(settings) as kernel:
        job = await kernel.jobs.get(job_id)
        entries = await _journal(kernel, job_id)
        pending = await kernel.actions.list_pending(job_id=job_id)
        state = standing(job, await kernel.storage.list_workers())
    if as_json:
        told: dict[str, Any] = _job_json(job, state)
        if with_events:
            told["events"] = [_event_json(event) for event in entries]
        else:
            told["steps"] = [step.to_json() for step in steps_of(entries)]
        told["pending_actions"] = [action.action_id for action in pending]
        click.echo(json.dumps(told, indent=1, default=str))
        return OK
    _show_head(job, state)
    for action in pending:
        say(f"waits for: {action.action_id}: {question_of(action)}")
    say("")
    if with_events:
        rows = [
            (str(event.seq), moment(event.timestamp), event.type, _place(event), _data(event))
            for event in entries
        ]
        show_table(("seq", "time", "type", "operation", "data"), rows, right=("seq",))
    else:
        show_steps(steps_of(entries))
    return OK


def _show_head(job: JobRecord, state: str) -> None:
    say(f"job: {job.job_id}")
    say(f"status: {state}")
    say(f"operator: {job.operator or '–'}")
    if job.scope_id != "default":
        say(f"scope: {job.scope_id}")
    say(f"created: {moment(job.created_at)}")
    if job.completed_at is not None:
        say(f"ended: {moment(job.completed_at)}")
    if job.budgets is not None:
        limits = ", ".join(
            f"{name} {money(job.budgets.max_cost) if name == 'max_cost' else value}"
            for name, value in job.budgets.to_dict().items()
        )
        say(f"budget: {limits or 'none'}")
    if job.error:
        say(f"error: {job.error_code}: {job.error}")


async def _journal(kernel: RuntimeKernel, job_id: str) -> list[RuntimeEvent]:
    found: list[RuntimeEvent] = []
    while page := await kernel.storage.events(job_id, after_seq=len(found)):
        found += page
    return found


@jobs.command()
@click.argument("job_id", metavar="JOB")
@click.option("--reason", help="Is kept with the job.")
@db_option
def cancel(db: str | None, job_id: str, reason: str | None) -> int:
    """Cancel a job. Steps in flight are settled first, so that nothing is unaccounted for."""
    return asyncio.run(_cancel(existing(db), job_id, reason))


async def _cancel(settings: Settings, job_id: str, reason: str | None) -> int:
    async with reading(settings) as kernel:
        head = await kernel.jobs.head(job_id)
        job_id = (await kernel.jobs.cancel(head.job_id, reason)).job_id
    dispatcher = ChosenJobs()
    async with opened(settings, operators=known_operators(), dispatcher=dispatcher) as kernel:
        dispatcher.choose(job_id)
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                ended = await kernel.wait_for_end(job_id)
        except TimeoutError:
            say(f"{job_id} is asked to stop; it ends when the process that executes it sees that")
            return OK
    say(f"{job_id} is {ended.type.removeprefix('job.')}")
    return OK


@jobs.command()
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True)
@db_option
def unblock(db: str | None, job_ids: tuple[str, ...]) -> int:
    """Have blocked jobs tried again, also by versions of the code that have blocked them.

    The workers that know their operators do that; without one, the jobs wait for it.
    """
    return asyncio.run(_unblock(existing(db), job_ids))


async def _unblock(settings: Settings, job_ids: tuple[str, ...]) -> int:
    async with reading(settings) as kernel:
        for job_id in job_ids:
            job = await kernel.jobs.unblock(job_id)
            known = any(job.operator in worker.operators for worker in await kernel.storage.list_workers())
            follows = "is tried again" if known else f"waits for a worker that knows {job.operator!r}"
            say(f"{job_id} {follows}")
    return OK


@jobs.command()
@click.argument("job_id", metavar="JOB")
@click.option(
    "--app", metavar="MODULE:ATTRIBUTE", help="The application whose job it is (or AGENT_RUNTIME_APP)."
)
@click.option("--model", metavar="VENDOR:MODEL", help="The model of a job of `run` (or AGENT_RUNTIME_MODEL).")
@click.option("--base-url", metavar="URL", help="The address of that model's server.")
@click.option("--tool", "tools", multiple=True, metavar="MODULE:FUNCTION", help="A tool. May be repeated.")
@click.option("--system", metavar="TEXT", help="The agent's instruction.")
@db_option
def resume(
    db: str | None,
    job_id: str,
    app: str | None,
    model: str | None,
    base_url: str | None,
    tools: tuple[str, ...],
    system: str | None,
) -> int:
    """Go on with a job that was interrupted, waits, or is blocked, and follow it to its end.

    What it has finished is not done again. An application goes on with everything that is due in its database. A job of `run` names its
    agent; what that is made of is what you ran on this machine, or what --model, --base-url, --tool and --system say now.
    """
    settings = settings_for(db, app=app, model=model, base_url=base_url)
    existing_file(db, settings)
    again = any((model, base_url, tools, system))
    if settings.app is not None:
        if again:
            raise click.UsageError(
                "--model, --base-url, --tool and --system are for jobs of `run`, not with --app"
            )
        return asyncio.run(_resume(settings, job_id, flag_for(db), application=load_app(settings.app)))
    chosen = ChosenAgent.of(settings, tools, system) if again else None
    return asyncio.run(_resume(settings, job_id, flag_for(db), chosen=chosen))


async def _resume(
    settings: Settings,
    job_id: str,
    db_flag: str,
    *,
    application: Runtime | RuntimeKernel | None = None,
    chosen: ChosenAgent | None = None,
) -> int:
    if application is None and chosen is None:
        chosen = await _agent_of(settings, job_id)
    dispatcher = ChosenJobs()
    async with opened(
        settings, operators=known_operators(chosen), dispatcher=dispatcher, application=application
    ) as kernel:
        job = await kernel.jobs.get(job_id)
        _check_resumable(job, kernel)
        if job.status is JobStatus.BLOCKED:
            await kernel.jobs.resume(job_id)
        if not kernel.executes:
            say("another process executes the jobs of this database; following it", err=True)
        handle = kernel.handle(job_id)
        narrator = Narrator(lambda line: say(line, err=True))
        questions = Questions(kernel, narrator.line, db_flag=db_flag)
        begin = partial(dispatcher.choose, job_id)
        flags = db_flag if application is None else f" --app {settings.app}"
        with resumable(job_id, flags, narrator.line):
            await follow(handle, narrator, questions, after_seq=job.last_seq, begin=begin)
        result = await handle.result()
    say_text(result.content)
    return OK


async def _agent_of(settings: Settings, job_id: str) -> ChosenAgent | None:
    """Return the agent that a job of `run` names, before anything of it is executed; `None` for other jobs.

    Raises:
        ConfigurationError: It is not known here.
    """
    async with reading(settings) as kernel:
        job = await kernel.jobs.get(job_id)
        if job.operator != OPERATOR or job.status.is_terminal:
            return None
        content = await _input_of(kernel, job_id)
    return await asyncio.to_thread(agent_for, content, settings=settings)


async def _input_of(kernel: RuntimeKernel, job_id: str) -> Mapping[str, Any]:
    events = await kernel.storage.events(job_id, limit=1)
    given = events[0].body() if events else None
    return given if isinstance(given, Mapping) else {}


def _check_resumable(job: JobRecord, kernel: RuntimeKernel) -> None:
    if job.status.is_terminal:
        raise InvalidTransition(f"job {job.job_id!r} has ended: it is {job.status}")
    if job.operator not in kernel.operators:
        raise UnknownOperator(
            f"job {job.job_id!r} is executed by {job.operator!r}, which is not known here; name the application that "
            "knows it with --app"
        )


def _job_json(job: JobRecord, state: str) -> dict[str, Any]:
    def text(value: Any) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "job_id": job.job_id,
        "status": str(job.status),
        "standing": state,
        "operator": job.operator,
        "scope_id": job.scope_id,
        "principal_id": job.principal_id,
        "created_at": text(job.created_at),
        "started_at": text(job.started_at),
        "completed_at": text(job.completed_at),
        "deadline": text(job.deadline),
        "progress": job.progress,
        "budgets": None if job.budgets is None else job.budgets.to_dict(),
        "error": job.error,
        "error_code": job.error_code,
        "last_seq": job.last_seq,
    }


def _event_json(event: RuntimeEvent) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "type": event.type,
        "timestamp": event.timestamp.isoformat(),
        "operation_id": event.operation_id,
        "data": dict(event.data),
        "content": event.body(),
    }


def _place(event: RuntimeEvent) -> str:
    """Return an operation's place in its job: the part of its id that says something."""
    return (event.operation_id or "").partition(":")[2]


def _data(event: RuntimeEvent) -> str:
    return _short(json.dumps(dict(event.data), ensure_ascii=False, default=str) if event.data else "", 120)


def _short(text: str, length: int = 60) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"
