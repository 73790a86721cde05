"""Putting a job's questions to whoever watches it, while any other terminal may answer first."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from agent_runtime.cli.answers import how_to_answer, is_yes, items_of, prompt_for, understand
from agent_runtime.cli.output.printable import printable
from agent_runtime.cli.output.shown import show
from agent_runtime.cli.terminal import Lines, is_interactive, program
from agent_runtime.errors import ActionAlreadyResolved, InvalidInput
from agent_runtime.values.action import ActionRecord, ActionType
from llm_client.background import begin, ended, leave

if TYPE_CHECKING:
    from agent_runtime.cli.backends.backend import Questions as Asked
    from agent_runtime.cli.output.narrator import Say

SHOW_ALL: Final = "this is not all of it: [s]how the rest, then it can be answered: "


class Questions:
    """Asks, one question at a time.

    Args:
        asked: Where the questions are.
        say: Prints a line.
        flag: What `actions resolve` needs besides the id to find them.
        by: Who answers at this terminal; `None` where the service knows.
        answer_after: Seconds after which a yes-or-no question is answered with yes by itself; `None` never does.
    """

    def __init__(
        self,
        asked: Asked,
        say: Say,
        *,
        flag: str = "",
        by: str | None = None,
        answer_after: float | None = None,
    ) -> None:
        self._asked = asked
        self._say = say
        self._flag = flag
        self._by = by
        self._answer_after = answer_after
        self._lines = Lines(sys.stdin.fileno()) if is_interactive() and answer_after is None else None
        self._turn = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def ask(self, action_id: str) -> None:
        """Begin to ask, unless this question was asked before."""
        if action_id not in self._tasks:
            self._tasks[action_id] = begin(self._ask(action_id), name=f"question {action_id}")

    def settled(self, action_id: str) -> None:
        """Learn that a question needs no answer any more."""
        task = self._tasks.get(action_id)
        if task is not None:
            leave(task)

    async def close(self) -> None:
        """Ask nothing more.

        Raises:
            Exception: What went wrong with a question, other than an answer that somebody else gave first.
        """
        await ended(*self._tasks.values())
        for task in self._tasks.values():
            if not task.cancelled():
                task.result()

    async def _ask(self, action_id: str) -> None:
        async with self._turn:
            action = await self._asked.get(action_id)
            if not action.is_pending:
                return
            self._show(action)
            resolution, by = await self._answer(action)
            try:
                await self._asked.resolve_by_id(action_id, resolution, resolved_by=by)
            except ActionAlreadyResolved:
                return
            except InvalidInput as error:  # only others may answer, say, or more than one must
                self._say(f"  {error}; waiting for somebody else")

    def _show(self, action: ActionRecord) -> None:
        self._say("")
        for line in show(action, whole=self._lines is None).lines:  # nobody at a terminal asks for the rest
            self._say(line)
        command = f"{program()} actions resolve {action.action_id} {how_to_answer(action)}{self._flag}"
        self._say(f"  from any other terminal: {command}")

    async def _answer(self, action: ActionRecord) -> tuple[Mapping[str, Any], str | None]:
        """Return an answer and who gave it; waits for ever where only somebody else can answer."""
        if self._answer_after is not None and action.type in (ActionType.APPROVAL, ActionType.CONFIRM):
            self._say(f"  no terminal: in {self._answer_after:g} s this is answered with yes by itself")
            await asyncio.sleep(self._answer_after)
            self._say("  nobody has answered: answering yes, as nobody in particular")
            return understand(action, "yes"), "nobody (answered by itself)"
        if self._lines is not None:
            return await self._answer_of_person(action, self._lines), self._by
        self._say("  waiting for an answer")
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable: nobody completes the future")

    async def _answer_of_person(self, action: ActionRecord, lines: Lines) -> Mapping[str, Any]:
        """Return what a person answers to a question of which they have seen everything."""
        shown = show(action)
        lines.forget()  # what was typed before a question was there is no answer to it
        while not shown.is_whole:
            if (await self._typed(SHOW_ALL, lines)).lower() in ("s", "show"):
                shown = show(action, whole=True)
                for line in shown.lines:
                    self._say(line)
                lines.forget()
        while True:
            text = await self._typed(prompt_for(action), lines)
            try:
                if items_of(action) and text.lower() in ("e", "each"):
                    return await self._each(action, lines)
                return understand(action, text)
            except InvalidInput as error:
                self._say(f"  {error}")

    async def _each(self, action: ActionRecord, lines: Lines) -> Mapping[str, Any]:
        decisions = {}
        for name, what in items_of(action).items():
            while True:
                text = await self._typed(f"  {printable(name)}: {printable(what)} – [y]es or [n]o? ", lines)
                with contextlib.suppress(InvalidInput):
                    decisions[name] = "accept" if is_yes(text) else "reject"
                    break
        return {
            "confirmed": all(verdict == "accept" for verdict in decisions.values()),
            "decisions": decisions,
        }

    async def _typed(self, prompt: str, lines: Lines) -> str:
        click.echo(prompt, nl=False, err=not sys.stdout.isatty())
        text = await lines.next()
        if text is None:
            self._say("")
            self._say("  the terminal is closed; another one can still answer")
            await asyncio.get_running_loop().create_future()
            raise AssertionError("unreachable: nobody completes the future")
        return text
