"""`agent-runtime jobs resume`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from agent_runtime.app import Application, Runtime
from agent_runtime.cli.applications import Loaded, loaded_app, obeying_app
from agent_runtime.cli.backends.choice import Place, place_options, served
from agent_runtime.cli.chosen_jobs import ChosenJobs
from agent_runtime.cli.database import (
    existing_file,
    flag_for,
    opened,
    reading,
    settings_for,
)
from agent_runtime.cli.exit_codes import OK
from agent_runtime.cli.following import follow, print_unstored
from agent_runtime.cli.interruption import resumable
from agent_runtime.cli.operators import known_operators
from agent_runtime.cli.output.jobs import answer_of
from agent_runtime.cli.output.narrator import Narrator
from agent_runtime.cli.output.printable import say, say_text
from agent_runtime.cli.prompted import OPERATOR, ChosenAgent, agent_for
from agent_runtime.cli.questions import Questions
from agent_runtime.cli.terminal import user_name
from agent_runtime.errors import InvalidTransition, StorageError, StorageReadOnly, UnknownOperator
from agent_runtime.values.job import JobRecord, JobStatus

if TYPE_CHECKING:
    from agent_runtime.app import RuntimeKernel
    from agent_runtime.cli.backends.address import Server
    from agent_runtime.kernel.request import ExecutionResult
    from agent_runtime.settings import Settings


@click.command()
@click.argument("job_id", metavar="JOB")
@click.option(
    "--app", metavar="MODULE:ATTRIBUTE", help="The application whose job it is (or AGENT_RUNTIME_APP)."
)
@click.option("--model", metavar="VENDOR:MODEL", help="The model of a job of `run` (or AGENT_RUNTIME_MODEL).")
@click.option("--base-url", metavar="URL", help="The address of that model's server.")
@click.option("--tool", "tools", multiple=True, metavar="MODULE:FUNCTION", help="A tool. May be repeated.")
@click.option("--system", metavar="TEXT", help="The agent's instruction.")
@place_options
def resume(
    place: Place,
    job_id: str,
    app: str | None,
    model: str | None,
    base_url: str | None,
    tools: tuple[str, ...],
    system: str | None,
) -> int:
    """Go on with a job that was interrupted, waits, or is blocked, follow it to its end, and print its answer.

    What it has finished is not done again. An application goes on with everything that is due in its database. A job of `run` names its
    agent; what that is made of is what you ran on this machine, or what --model, --base-url, --tool and --system say now.
    With a --server nothing is executed here: a blocked job is tried again, and followed.
    """
    if place.server is not None:
        if any((app, model, base_url, tools, system)):
            raise click.UsageError(
                "a job of a service is executed by its workers: leave --app, --model, --base-url, --tool and --system out"
            )
        return asyncio.run(_watch(place.server, job_id))
    db = place.db
    settings = settings_for(db, executes=True, app=app, model=model, base_url=base_url)
    existing_file(db, settings)
    again = any((model, base_url, tools, system))
    if settings.app is not None:
        if again:
            raise click.UsageError(
                "--model, --base-url, --tool and --system are for jobs of `run`, not with --app"
            )
        application = loaded_app(settings.app, settings, db)
        return asyncio.run(_resume(settings, job_id, db, loaded=application))
    chosen = ChosenAgent.of(settings, tools, system) if again else None
    return asyncio.run(_resume(settings, job_id, db, chosen=chosen))


async def _watch(server: Server, job_id: str) -> int:
    """Follow a job of a service, and those that go on in its place, to the end."""
    async with served(server) as service:
        job, _ = await service.jobs.head(job_id)
        if job.status.is_terminal:
            _check_answered(job)
        if job.status is JobStatus.BLOCKED:
            await service.jobs.unblock(job.job_id)
        narrator = Narrator(lambda line: say(line, err=True))
        while job.status.is_active:
            questions = Questions(service.actions, narrator.line, flag=server.flags)
            with resumable(job.job_id, server.flags, narrator.line, executes=False):
                followed = service.jobs.followed(job.job_id)
                await follow(followed, narrator, questions, after_seq=job.last_seq)
            job, _ = await service.jobs.head(job.job_id)
        result, _ = await service.jobs.result(job.job_id)
    say_text(answer_of(result))
    return OK


async def _resume(
    settings: Settings,
    job_id: str,
    db: str | None,
    *,
    loaded: Loaded | None = None,
    chosen: ChosenAgent | None = None,
) -> int:
    application = None if loaded is None else await obeying_app(loaded, settings, db)
    if application is None and chosen is None:
        chosen = await _agent_of(settings, job_id)
    try:
        result = await _result(settings, job_id, db, application, chosen)
    except StorageReadOnly as refusal:  # nothing can go on there; what has ended can be read
        place = settings if application is None else _where(application, settings)
        result = await _ended_result(place, job_id, refusal)
    say_text(answer_of(result))
    return OK


async def _result(
    settings: Settings,
    job_id: str,
    db: str | None,
    application: Application | None,
    chosen: ChosenAgent | None,
) -> ExecutionResult:
    """Go on with a job to its end, and return what it has answered."""
    dispatcher = ChosenJobs()
    async with opened(
        settings, operators=known_operators(chosen), dispatcher=dispatcher, application=application
    ) as kernel:
        job = await kernel.jobs.head(job_id)
        if job.status.is_terminal:
            _check_answered(job)
        else:
            flags = flag_for(db) + ("" if application is None else f" --app {settings.app}")
            narrator = Narrator(lambda line: say(line, err=True))
            questions = Questions(kernel.actions, narrator.line, flag=flag_for(db), by=user_name())
            with resumable(job.job_id, flags, narrator.line):
                try:
                    await _go_on(kernel, job, narrator, questions, dispatcher)
                except StorageError:
                    print_unstored(narrator)
                    raise
        return await kernel.handle(job.job_id).result()


def _where(application: Application, settings: Settings) -> Settings:
    """Return settings that name the database of an application."""
    from agent_runtime.settings import storage_url

    if isinstance(application, Runtime):
        return application.settings
    path = getattr(application.storage, "path", None)
    return settings if path is None else settings.model_copy(update={"storage": storage_url(path)})


async def _ended_result(settings: Settings, job_id: str, refusal: StorageReadOnly) -> ExecutionResult:
    """Return what a job has answered that has ended, from a database that takes no writes.

    Raises:
        StorageReadOnly: It has not ended.
    """
    async with reading(settings) as kernel:
        job = await kernel.jobs.head(job_id)
        if not job.status.is_terminal:
            raise refusal
        _check_answered(job)
        return await kernel.handle(job.job_id).result()


async def _go_on(
    kernel: RuntimeKernel,
    job: JobRecord,
    narrator: Narrator,
    questions: Questions,
    dispatcher: ChosenJobs,
) -> None:
    """Execute a job, or follow who does, to its end."""
    _check_known(job, kernel)
    if job.status is JobStatus.BLOCKED:
        await kernel.jobs.resume(job.job_id)
    if not kernel.executes:
        narrator.line("another process executes the jobs of this database; following it")
    dispatcher.on_wait = partial(
        narrator.line,
        "another process executes the jobs of this database; this one goes on when that one is done",
    )
    begin = partial(dispatcher.choose, job.job_id)
    await follow(kernel.handle(job.job_id), narrator, questions, after_seq=job.last_seq, begin=begin)


def _check_answered(job: JobRecord) -> None:
    """See that a job that has ended has an answer. Raises `InvalidTransition`."""
    if job.status is not JobStatus.SUCCEEDED:
        why = f": {job.error}" if job.error else ""
        raise InvalidTransition(
            f"job {job.job_id!r} has ended: it is {job.status}{why}; jobs retry would have another go on"
        )


async def _agent_of(settings: Settings, job_id: str) -> ChosenAgent | None:
    """Return the agent that a job of `run` names, before anything of it is executed; `None` for other jobs.

    Raises:
        ConfigurationError: It is not known here.
    """
    async with reading(settings) as kernel:
        job = await kernel.jobs.head(job_id)
        if job.operator != OPERATOR or job.status.is_terminal:
            return None
        content = await _input_of(kernel, job.job_id)
    return await asyncio.to_thread(agent_for, content, settings=settings)


async def _input_of(kernel: RuntimeKernel, job_id: str) -> Mapping[str, Any]:
    events = await kernel.storage.events(job_id, limit=1)
    given = events[0].body() if events else None
    return given if isinstance(given, Mapping) else {}


def _check_known(job: JobRecord, kernel: RuntimeKernel) -> None:
    if job.operator not in kernel.operators:
        raise UnknownOperator(
            f"job {job.job_id!r} is executed by {job.operator!r}, which is not known here; name the application that "
            "knows it with --app"
        )
