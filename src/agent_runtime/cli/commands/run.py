"""`agent-runtime run`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from agent_runtime.cli.applications import Loaded, loaded_app, obeying_app
from agent_runtime.cli.chosen_jobs import ChosenJobs
from agent_runtime.cli.database import db_option, flag_for, name_of, opened, settings_for
from agent_runtime.cli.exit_codes import OK, describe
from agent_runtime.cli.following import follow, print_unstored
from agent_runtime.cli.given import dollars, read_prompt
from agent_runtime.cli.interruption import resumable
from agent_runtime.cli.operators import known_operators
from agent_runtime.cli.output.amounts import counted, money, tokens
from agent_runtime.cli.output.narrator import Narrator
from agent_runtime.cli.output.printable import say, say_text
from agent_runtime.cli.prompted import OPERATOR, ChosenAgent
from agent_runtime.cli.questions import Questions
from agent_runtime.cli.terminal import program, user_name
from agent_runtime.errors import JobBlocked, JobFailed, StorageError
from agent_runtime.kernel.request import ExecutionRequest
from agent_runtime.trust import TrustStore
from agent_runtime.values.context import BudgetSpec
from agent_runtime.values.retry_policy import RetryPolicy
from llm_client.errors import ConnectionFailed

if TYPE_CHECKING:
    from agent_runtime.app import RuntimeKernel
    from agent_runtime.kernel.handle import ExecutionHandle
    from agent_runtime.settings import Settings


@click.command()
@click.argument("prompt", required=False)
@click.option("--file", "file", metavar="FILE", help="Read the prompt from a file; - is standard input.")
@click.option(
    "--model", metavar="VENDOR:MODEL", help="The model, such as openai:gpt-5.2 (or AGENT_RUNTIME_MODEL)."
)
@click.option(
    "--base-url", metavar="URL", help="A server compatible with OpenAI's; the vendor may be left out."
)
@click.option("--tool", "tools", multiple=True, metavar="MODULE:FUNCTION", help="A tool. May be repeated.")
@click.option("--system", metavar="TEXT", help="The agent's instruction.")
@click.option("--policy", metavar="FILE", help="A policy file that the run obeys (or AGENT_RUNTIME_POLICY).")
@click.option("--scope", metavar="NAME", help="Whose run it is (or AGENT_RUNTIME_SCOPE; default: default).")
@click.option("--principal", metavar="NAME", help="Who asks for it (or AGENT_RUNTIME_PRINCIPAL).")
@click.option("--max-cost", type=str, metavar="DOLLARS", help="What the run may cost.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Tokens the run may use, in and out.")
@click.option(
    "--deadline", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="When to give up."
)
@click.option(
    "--app", metavar="MODULE:ATTRIBUTE", help="Run the agent of an application (or AGENT_RUNTIME_APP)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the answer.")
@db_option
def run(
    db: str | None,
    prompt: str | None,
    file: str | None,
    model: str | None,
    base_url: str | None,
    tools: tuple[str, ...],
    system: str | None,
    policy: str | None,
    scope: str | None,
    principal: str | None,
    max_cost: str | None,
    max_tokens: int | None,
    deadline: float | None,
    app: str | None,
    as_json: bool,
) -> int:
    """Run an agent on a prompt, as a durable job, and print its answer.

    The prompt is the argument, a file, or standard input. The answer goes to standard output, everything else to standard
    error. Ctrl-C stops this process and loses nothing: `agent-runtime jobs resume` goes on, `jobs cancel` ends the job.
    """
    text = read_prompt(prompt, file)
    settings = settings_for(
        db,
        executes=True,
        model=model,
        base_url=base_url,
        app=app,
        policy=policy,
        scope=scope,
        principal=principal,
    )
    limits = BudgetSpec(max_cost=dollars(max_cost), max_tokens=max_tokens)
    asked = ExecutionRequest(
        prompt=text,
        scope_id=settings.scope,
        principal_id=settings.principal,
        budgets=limits if limits.to_dict() else None,
        deadline_seconds=deadline,
        retry=RetryPolicy.none(),  # somebody sits in front of it who sees what is wrong
    )
    command = _Command(request=asked, settings=settings, as_json=as_json, db=db)
    if settings.app is not None:
        own = (("--model", model), ("--tool", tools), ("--system", system), ("--policy", policy))
        refused = [name for name, given in own if given]
        if refused:
            raise click.UsageError(
                f"{refused[0]} is the application's own to say; it cannot be given with --app"
            )
        command.application = loaded_app(settings.app, settings, db)
        return asyncio.run(command.run())
    command.chosen = chosen = ChosenAgent.of(settings, tools, system)
    asyncio.run(chosen.check())  # what is wrong with it is said before there is a job
    _remember(chosen)
    command.request = replace(asked, prompt=None, operator=OPERATOR, input=chosen.input(text))
    return asyncio.run(command.run())


def _remember(chosen: ChosenAgent) -> None:
    """Keep what the agent is made of, so that its job can be resumed by its name alone."""
    try:
        TrustStore().remember_agent(chosen.parts)
    except OSError as error:
        _say(
            f"agent-runtime: the agent cannot be remembered ({error.strerror}); to resume its job, name model and tools again"
        )


@dataclass(slots=True, kw_only=True)
class _Command:
    """One invocation."""

    request: ExecutionRequest
    settings: Settings
    as_json: bool
    db: str | None
    """The database, where it was named."""
    application: Loaded | None = None
    """The user's application; without one, the command line's own."""
    chosen: ChosenAgent | None = None
    """The agent of the prompt, without an application."""

    async def run(self) -> int:
        """Execute the request and print what it gave."""
        dispatcher, application = ChosenJobs(), None
        if self.application is not None:
            application = await obeying_app(self.application, self.settings, self.db)
        async with opened(
            self.settings,
            operators=known_operators(self.chosen),
            dispatcher=dispatcher,
            application=application,
        ) as kernel:
            listening = kernel.bus.stream(
                event_types=()
            )  # a job with a listener streams, from its first call on
            handle = await kernel.execute(self.request)
            flags = flag_for(self.db) + ("" if application is None else f" --app {self.settings.app}")
            try:
                with resumable(handle.job_id, flags, _say):
                    return await self._follow(kernel, handle, dispatcher)
            finally:
                listening.detach()

    async def _follow(self, kernel: RuntimeKernel, handle: ExecutionHandle, dispatcher: ChosenJobs) -> int:
        aloud = sys.stdout.isatty() and not self.as_json
        narrator = Narrator(_say, speak=_speak if aloud else None)
        narrator.line(f"job: {handle.job_id}")
        dispatcher.on_wait = partial(
            narrator.line,
            f"another process executes the jobs in {name_of(self.settings)}; this one goes on when that one is done "
            "(with --db it would have a database of its own)",
        )
        if not kernel.executes:
            dispatcher.must_wait()
        questions = Questions(kernel.actions, narrator.line, flag=flag_for(self.db), by=user_name())
        try:
            await follow(handle, narrator, questions, begin=partial(dispatcher.choose, handle.job_id))
        except JobBlocked:
            pass  # the result tells it
        except StorageError as error:
            if self.as_json:
                told = {"job_id": handle.job_id, "status": None, "content": narrator.heard}
                _print_json({**told, "error": str(error), "error_code": error.code})
            else:
                print_unstored(narrator)
            narrator.line(f"go on with: {program()} jobs resume {handle.job_id}{flag_for(self.db)}")
            raise
        return await self._conclude(kernel, handle, narrator)

    async def _conclude(self, kernel: RuntimeKernel, handle: ExecutionHandle, narrator: Narrator) -> int:
        total = await kernel.ledger.total(job_id=handle.job_id)
        told: dict[str, Any] = {
            "job_id": handle.job_id,
            "cost": None if total.unpriced else str(total.cost),
            "input_tokens": total.input_tokens,
            "output_tokens": total.output_tokens,
            "requests": total.entries,
        }
        try:
            result = await handle.result()
        except Exception as error:
            if self.as_json:
                status, (sentence, _) = await handle.status(), describe(error)
                code = getattr(error, "error_code", getattr(error, "code", None))
                _print_json({**told, "status": str(status), "error": sentence, "error_code": code})
            if isinstance(error, JobFailed) and error.error_code == ConnectionFailed.code.upper():
                raise JobFailed(
                    f"{error} (is {self.settings.base_url or 'the network'} reachable from here?)",
                    job_id=error.job_id,
                    error_code=error.error_code,
                ) from error
            raise
        if self.as_json:
            _print_json(
                {**told, "status": str(result.status), "content": result.content, "output": result.output}
            )
        elif narrator.spoken != result.content:
            narrator.end_line()
            say_text(result.content)
        cost = money(None if total.unpriced else total.cost)
        narrator.line(f"{counted(result.turns, 'model call')} · {tokens(total.total_tokens)} tokens · {cost}")
        return OK


def _say(line: str) -> None:
    say(line, err=True)


def _speak(text: str) -> None:
    say_text(text, nl=False)


def _print_json(values: dict[str, Any]) -> None:
    click.echo(json.dumps(values, indent=1, default=str))
