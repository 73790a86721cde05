"""`agent-runtime demo`."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent_runtime.cli.chosen_jobs import ChosenJobs
from agent_runtime.cli.database import db_option, flag_for, name_of, opened, settings_for
from agent_runtime.cli.exit_codes import FAILED, OK
from agent_runtime.cli.following import follow
from agent_runtime.cli.interruption import resumable
from agent_runtime.cli.operators import known_operators
from agent_runtime.cli.output.narrator import Narrator
from agent_runtime.cli.output.printable import say, say_text
from agent_runtime.cli.output.timeline import show_steps, steps_of
from agent_runtime.cli.questions import Questions
from agent_runtime.cli.terminal import is_interactive, program, user_name
from agent_runtime.errors import ExecutorBusy
from agent_runtime.values.context import BudgetSpec

if TYPE_CHECKING:
    from agent_runtime.app import RuntimeKernel
    from agent_runtime.kernel.handle import ExecutionHandle
    from agent_runtime.kernel.request import ExecutionRequest
    from agent_runtime.settings import Settings

BUDGET = BudgetSpec(max_cost=Decimal("0.50"), max_turns=100)
UNATTENDED_SECONDS = 3.0
KILLS = 2


@click.command()
@click.option(
    "--crash", is_flag=True, help="Kill the process twice on the way, and show that nothing was lost."
)
@click.option("--out", default="demo-out", metavar="FOLDER", show_default=True, help="Where the report goes.")
@click.option("--model", metavar="VENDOR:MODEL", help="A real model instead of the built-in one.")
@click.option("--base-url", metavar="URL", help="Where the model's API is.")
@click.option(
    "--answer-after",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help=f"Answer the question with yes after so long (default: {UNATTENDED_SECONDS:g} without a terminal).",
)
@db_option
def demo(
    db: str | None, crash: bool, out: str, model: str | None, base_url: str | None, answer_after: float | None
) -> int:
    """Watch an agent audit the licences of the installed Python packages.

    It reads their metadata, asks you about the doubtful ones, writes a report, and shows what each step cost. The model is
    a built-in function with a made-up price; no key and no network is needed. With --model a real one does the same.
    """
    from agent_runtime.app import make_provider
    from agent_runtime.demo.audit import OPERATOR, AuditInput
    from agent_runtime.kernel.request import ExecutionRequest
    from agent_runtime.trust import TrustStore

    if model is not None:
        make_provider(model, base_url)
    given = AuditInput(folder=str(Path(out).resolve()), model=model, base_url=base_url)
    TrustStore().remember_agent(given.to_json())
    budget = BUDGET if model is None else BudgetSpec(max_turns=BUDGET.max_turns)
    if answer_after is None and not is_interactive():
        answer_after = UNATTENDED_SECONDS
    show = _Show(
        settings=settings_for(db),
        request=ExecutionRequest(operator=OPERATOR, input=given.to_json(), budgets=budget),
        db_flag=flag_for(db),
        answer_after=answer_after,
    )
    return asyncio.run(show.crash() if crash else show.run())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Show:
    """One showing of the demo."""

    settings: Settings
    request: ExecutionRequest
    db_flag: str
    """What another command needs to find the database."""
    answer_after: float | None

    async def run(self) -> int:
        """Do the job in this process."""
        dispatcher = ChosenJobs()
        async with opened(self.settings, operators=known_operators(), dispatcher=dispatcher) as kernel:
            handle = await self._begin(kernel)
            if not kernel.executes:
                say("another process executes jobs here; this one begins when that one is done")
            begin = partial(dispatcher.choose, handle.job_id)
            with resumable(handle.job_id, self.db_flag, say):
                await follow(handle, Narrator(say), self._questions(kernel), begin=begin)
            return await _conclude(handle)

    async def crash(self) -> int:
        """Let a child process do the job, kill it twice, and prove from the journal what that did: nothing."""
        from agent_runtime.demo.crash import Killer
        from agent_runtime.settings import environment_for

        storage = self.settings.storage
        await _check_free(self.settings)
        async with opened(self.settings, operators=known_operators(), worker=False) as kernel:
            handle = await self._begin(kernel)
            narrator = Narrator(say)
            # Nothing of the folder one stands in is imported (-P), and no password of a database is on a command line.
            command = [sys.executable, "-P", "-m", "agent_runtime.cli", "jobs", "resume", handle.job_id]
            with resumable(handle.job_id, self.db_flag, say):
                async with Killer(command, say=narrator.line, environment=environment_for(storage)) as killer:
                    await killer.guard(follow(handle, narrator, self._questions(kernel), see=killer.see))
            code = await _conclude(handle)
            return max(code, await self._prove(kernel, handle, killer.kills))

    async def _begin(self, kernel: RuntimeKernel) -> ExecutionHandle:
        handle = await kernel.execute(self.request)
        say("An agent audits the licences of the Python packages that are installed.")
        say(f"job: {handle.job_id}")
        say(f"database: {name_of(self.settings)}")
        return handle

    def _questions(self, kernel: RuntimeKernel) -> Questions:
        return Questions(
            kernel.actions, say, flag=self.db_flag, by=user_name(), answer_after=self.answer_after
        )

    async def _prove(self, kernel: RuntimeKernel, handle: ExecutionHandle, kills: int) -> int:
        from agent_runtime.demo.proof import prove

        say("")
        say(f"the process was killed with SIGKILL {kills} times; the journal and the ledger say:")
        checks = await prove(kernel, handle.job_id)
        for check in checks:
            say(f"  {'ok ' if check.holds else 'NOT'}  {check.claim}: {check.detail}")
        say(f"  see it yourself: {program()} jobs show {handle.job_id} --events{self.db_flag}")
        return OK if kills == KILLS and all(check.holds for check in checks) else FAILED


async def _conclude(handle: ExecutionHandle) -> int:
    """Show what the job has given and what it cost; raises what ended it if it did not succeed."""
    from agent_runtime.demo.proof import report_of

    result = await handle.result()
    events = [event async for event in handle.events()]
    say("")
    say_text(result.content)
    say("")
    say("what each step cost:")
    show_steps(steps_of(events))
    say("")
    report = report_of(events)
    if report is None:
        say("the agent wrote no report", err=True)
        return FAILED
    say(f"report: {report.path}")
    return OK


async def _check_free(settings: Settings) -> None:
    """Refuse to demonstrate a crash where the process that would be killed is not the one that executes."""
    async with opened(settings, dispatcher=ChosenJobs()) as kernel:
        if not kernel.executes:
            raise ExecutorBusy(
                f"another process executes the jobs in {name_of(settings)}; stop it, or give the demo a database of its "
                "own with --db"
            )
